//! Clients of the Messages protocol, served by accounts that speak Gemini's.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use sluice_runtime_tokio::mock::{Behaviour, Fault};
use sluice_tests::{Plan, World, hello, named, run, text_of, user_key};

const GEMINI: &str = "platform = \"gemini\"\nmodels = { \"claude-test\" = \"gemini-up\" }";

fn plan(fault: Option<Fault>) -> Plan {
    let faults = fault.map(|fault| (1000, fault)).into_iter().collect();
    let one = Behaviour { faults, ..named("one") };
    Plan::default().user("alice", 2, "").account("one", 2, one, GEMINI)
}

fn seen(world: &World, n: usize) -> Value {
    serde_json::from_slice(&world.mock.seen()[n].body).expect("JSON")
}

#[test]
fn a_plain_message_is_asked_and_answered_in_the_words_of_each() {
    run(plan(None), async |world| {
        let mut reply = world.ask("alice", &hello(false)).await;
        assert_eq!((reply.status(), reply.header("content-type")), (200, "application/json"));
        assert!(!reply.header("request-id").is_empty());
        let message = reply.json().await;
        assert_eq!(
            (&message["type"], &message["model"]),
            (&json!("message"), &json!("claude-test"))
        );
        assert!(message["content"][0]["text"].as_str().is_some_and(|t| t.starts_with("I am one.")));
        assert_eq!(message["stop_reason"], "end_turn");
        let contents = json!([{"role": "user", "parts": [{"text": "Hello"}]}]);
        assert_eq!(seen(&world, 0)["contents"], contents);
        let line = &world.access_log()[0];
        assert_eq!(line["input_tokens"], message["usage"]["input_tokens"]);
        assert!(
            line["output_tokens"].as_u64() > Some(0) && line["input_tokens"].as_u64() > Some(0)
        );
        assert_eq!(line["model"], "claude-test");
        world
    });
}

#[test]
fn a_stream_has_the_events_of_messages_in_their_order() {
    run(plan(None), async |world| {
        let mut reply = world.ask("alice", &hello(true)).await;
        assert_eq!(reply.header("content-type"), "text/event-stream");
        let events = reply.events().await;
        let names: Vec<_> = events.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names[..2], ["message_start", "content_block_start"]);
        assert_eq!(
            names[names.len() - 3..],
            ["content_block_stop", "message_delta", "message_stop"]
        );
        assert_eq!(events[0].1["message"]["model"], "claude-test");
        assert!(text_of(&events).starts_with("I am one. the river"));
        assert!(world.access_log()[0]["output_tokens"].as_u64() > Some(0));
        world
    });
}

#[test]
fn a_tool_is_called_and_its_result_understood() {
    let willing = Behaviour { tool: true, ..named("one") };
    let plan = Plan::default().user("alice", 2, "").account("one", 2, willing, GEMINI);
    run(plan, async |world| {
        for stream in [false, true] {
            let mut body = hello(stream);
            body["tools"] = json!([{"name": "find", "input_schema": {
                "type": "object", "properties": {"pattern": {"type": "string"}}}}]);
            let mut reply = world.ask("alice", &body).await;
            if stream {
                let events = reply.events().await;
                let parts = events.iter().filter_map(|(_, e)| e["delta"]["partial_json"].as_str());
                assert_eq!(parts.collect::<String>(), "{\"pattern\":\"river\"}");
            } else {
                let message = reply.json().await;
                assert_eq!(message["content"][0]["input"], json!({"pattern": "river"}));
                assert_eq!(message["stop_reason"], "tool_use");
            }
        }
        world
    });
}

#[test]
fn tokens_are_counted_with_all_that_belongs_to_them() {
    run(plan(None), async |world| {
        let request = Request::post("/v1/messages/count_tokens")
            .header("x-api-key", user_key("alice"))
            .body(Full::from(Bytes::from(hello(false).to_string())));
        let counted = world.send(request.expect("a good request")).await.json().await;
        assert!(counted["input_tokens"].as_u64() > Some(0), "{counted}");
        let asked = &seen(&world, 0)["generateContentRequest"];
        assert_eq!(asked["model"], "models/gemini-up");
        assert_eq!(asked["contents"][0]["parts"][0]["text"], "Hello");
        world
    });
}

#[test]
fn the_list_of_models_has_what_is_translated() {
    run(plan(None), async |world| {
        let request = Request::get("/v1/models").header("x-api-key", user_key("alice"));
        let list = world.send(request.body(Full::default()).expect("a good request")).await;
        let list = { list }.json().await;
        assert_eq!(list["data"][0]["id"], "claude-test");
        world
    });
}

#[test]
fn a_failing_account_is_passed_over() {
    for fault in [
        Fault::Status(429, "x", None),
        Fault::Status(403, "x", None),
        Fault::Status(503, "x", None),
        Fault::Reset,
        Fault::ErrorEvent("x"),
        Fault::Truncate,
        Fault::Html,
    ] {
        let second = GEMINI.replace("platform", "priority = 1\nplatform");
        let after = matches!(fault, Fault::Truncate);
        let plan = plan(Some(fault)).account("good", 2, named("good"), &second);
        run(plan, async move |world| {
            let plain = world.ask("alice", &hello(false)).await.json().await;
            let text = plain["content"][0]["text"].as_str().expect("text");
            assert!(text.starts_with("I am good."), "{plain}");
            if !after {
                let events = world.ask("alice", &hello(true)).await.events().await;
                assert!(text_of(&events).starts_with("I am good."));
            }
            world
        });
    }
}

#[test]
fn a_stream_that_breaks_off_ends_with_an_error() {
    run(plan(Some(Fault::Truncate)), async |world| {
        let events = world.ask("alice", &hello(true)).await.events().await;
        let (name, data) = events.last().expect("some");
        assert_eq!(
            (&**name, &data["error"]["type"]),
            ("error", &json!("upstream_error")),
            "{data}"
        );
        assert_eq!(world.access_log()[0]["verdict"], "truncated");
        world
    });
}

#[test]
fn errors_are_told_in_the_shape_of_messages() {
    for (fault, status, kind, message) in [
        (Fault::Status(400, "x", None), 400, "invalid_request_error", "the upstream says so"),
        (Fault::Status(404, "x", None), 404, "not_found_error", "the upstream says so"),
        (
            Fault::Status(429, "x", Some(7)),
            429,
            "rate_limit_error",
            "Upstream rate limit exceeded, please retry later",
        ),
        (
            Fault::Status(401, "x", None),
            502,
            "upstream_error",
            "Upstream authentication failed, please contact administrator",
        ),
    ] {
        for stream in [false, true] {
            run(plan(Some(fault.clone())), async move |world| {
                let mut reply = world.ask("alice", &hello(stream)).await;
                let error = json!({"type": kind, "message": message});
                let told = json!({"type": "error", "error": error});
                assert_eq!(reply.status(), status);
                assert_eq!(reply.json().await, told);
                world
            });
        }
    }
}

#[test]
fn what_cannot_be_said_in_the_other_protocol_is_refused_without_an_attempt() {
    run(plan(None), async |world| {
        let mut body = hello(false);
        body["messages"][0]["content"] = json!([{"type": "text", "text": 7}]);
        let mut reply = world.ask("alice", &body).await;
        assert_eq!(reply.status(), 400);
        let error = reply.json().await["error"].clone();
        assert_eq!(error["type"], "invalid_request_error");
        let message = error["message"].as_str().expect("text");
        assert!(message.starts_with("messages.0.content.0.text"), "{message}");
        assert_eq!(world.mock.stats("mock-one").requests, 0);
        let line = &world.access_log()[0];
        assert_eq!((&line["status"], &line["owner"]), (&json!(400), &json!("client")));
        world
    });
}

#[test]
fn a_pair_of_protocols_without_a_way_is_refused() {
    let openai = |plan: Plan| plan.account("gpt", 1, named("gpt"), "platform = \"openai\"");
    run(openai(Plan::default().user("alice", 1, "")), async |world| {
        for path in ["/v1/messages", "/v1/messages/count_tokens"] {
            let request = Request::post(path).header("x-api-key", user_key("alice"));
            let body = Full::from(Bytes::from(hello(false).to_string()));
            let mut reply = world.send(request.body(body).expect("a good request")).await;
            let error = reply.json().await;
            assert_eq!(
                (reply.status(), &error["error"]["type"]),
                (400, &json!("invalid_request_error"))
            );
        }
        assert_eq!(world.mock.stats("mock-gpt").requests, 0);
        world
    });
    run(plan(None), async |world| {
        let request = Request::post("/v1/responses").header("x-api-key", user_key("alice"));
        let body = Full::from("{\"model\":\"claude-test\",\"input\":\"Hello\"}");
        let mut reply = world.send(request.body(body).expect("a good request")).await;
        assert_eq!((reply.status(), &reply.json().await["type"]), (400, &Value::Null));
        world
    });
}

#[test]
fn accounts_that_speak_the_clients_protocol_come_first() {
    let plan = plan(None).account("claude", 2, named("claude"), "priority = 9");
    run(plan, async |world| {
        let message = world.ask("alice", &hello(false)).await.json().await;
        assert!(
            message["content"][0]["text"].as_str().is_some_and(|t| t.starts_with("I am claude."))
        );
        world
    });
}

#[test]
fn a_name_that_leads_elsewhere_is_no_model() {
    let open = Plan::default().user("alice", 2, "");
    run(open.account("one", 2, named("one"), "platform = \"gemini\""), async |world| {
        for name in ["../../x", "a/../b", "a//b", "."] {
            for path in ["/v1/messages", "/v1/messages/count_tokens"] {
                let body = hello(false).to_string().replace("claude-test", name);
                let request = Request::post(path).header("x-api-key", user_key("alice"));
                let request = request.body(Full::from(Bytes::from(body))).expect("a good request");
                let mut reply = world.send(request).await;
                assert_eq!(reply.status(), 400, "{name} at {path}");
                assert_eq!(reply.json().await["error"]["type"], "invalid_request_error");
            }
        }
        assert_eq!(world.mock.stats("mock-one").requests, 0);
        world
    });
}
