//! Accounts that want Code Assist's envelope: asked natively, translated for, by a path of their own,
//! and mixed into the groups of others.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request};
use serde_json::{Value, json};
use sluice_runtime_tokio::mock::{Behaviour, Fault};
use sluice_tests::{Plan, Reply, World, hello, named, run, text_of, user_key};

const CODE_ASSIST: &str = "platform = \"gemini\"\nproject = \"p-1\"\n\
                           models = { \"gemini-test\" = \"up-1\", \"claude-test\" = \"up-2\" }";
const ANTIGRAVITY: &str = "platform = \"antigravity\"\nproject = \"p-1\"";
const MIXED: &str = "platform = \"antigravity\"\nproject = \"p-1\"\nmixed = true";
const PLAIN: &str = "/v1beta/models/gemini-test:generateContent";
const EVENTS: &str = "/v1beta/models/gemini-test:streamGenerateContent?alt=sse";
const ARRAY: &str = "/v1beta/models/gemini-test:streamGenerateContent";
const COUNT: &str = "/v1beta/models/gemini-test:countTokens";
const BODY: &str = "{\"contents\": [{\"role\":\"user\",\"parts\":[{\"text\":\"Hello\"}]}], \"n\":9007199254740993}";

fn plan(more: &str, fault: Option<Fault>) -> Plan {
    let faults = fault.map(|fault| (1000, fault)).into_iter().collect();
    let one = Behaviour { faults, ..named("one") };
    Plan::default().user("alice", 9, "").account("one", 9, one, more)
}

async fn send(world: &World, method: Method, path: &str, body: &str) -> Reply {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("x-api-key", user_key("alice"));
    let body = Full::from(Bytes::copy_from_slice(body.as_bytes()));
    world.send(request.body(body).expect("a good request")).await
}

async fn post(world: &World, path: &str, body: &str) -> Reply {
    send(world, Method::POST, path, body).await
}

fn said(chunk: &Value) -> &str {
    chunk["candidates"][0]["content"]["parts"][0]["text"].as_str().unwrap_or_default()
}

#[test]
fn a_native_request_is_put_in_and_its_answer_taken_out() {
    run(plan(CODE_ASSIST, None), async |world| {
        let mut reply = post(&world, PLAIN, BODY).await;
        assert_eq!((reply.status(), reply.header("content-type")), (200, "application/json"));
        let answer = reply.json().await;
        assert_eq!(said(&answer), "I am one. the river runs through", "all chunks of the stream");
        assert_eq!(answer["candidates"][0]["finishReason"], "STOP");
        assert_eq!(answer["modelVersion"], "gemini-test");
        assert!(answer["response"].is_null() && answer["traceId"].is_null());
        let asked = format!("{{\"model\":\"up-1\",\"project\":\"p-1\",\"request\":{BODY}}}");
        assert_eq!(world.mock.seen()[0].body, asked);
        assert_eq!(world.mock.seen()[0].headers.get("x-goog-api-key"), None);
        let mut streamed = post(&world, EVENTS, BODY).await.events().await;
        let array = post(&world, ARRAY, BODY).await.json().await;
        let events: Vec<_> = streamed.drain(..).map(|(_, data)| data).collect();
        for chunks in [&events, array.as_array().expect("an array")] {
            assert!(chunks.len() > 2);
            let text: String = chunks.iter().map(said).collect();
            assert_eq!(text, "I am one. the river runs through");
            assert!(chunks.iter().all(|chunk| chunk["modelVersion"] == "gemini-test"));
        }
        let lines = world.access_log();
        assert!(lines.iter().all(|line| line["output_tokens"].as_u64() > Some(0)), "{lines:?}");
        world
    });
}

#[test]
fn an_upstream_that_has_said_all_is_not_waited_for() {
    run(plan(CODE_ASSIST, Some(Fault::Linger)), async |world| {
        let hello = hello(false);
        let (mut merged, translated) =
            tokio::join!(post(&world, PLAIN, BODY), world.ask("alice", &hello));
        assert_eq!((merged.status(), translated.status()), (200, 200));
        assert_eq!(said(&merged.json().await), "I am one. the river runs through");
        assert_eq!(world.mock.stats("mock-one").requests, 2);
        world
    });
}

#[test]
fn nothing_can_be_said_outside_the_place_of_a_body() {
    run(plan(CODE_ASSIST, None), async |world| {
        let mut reply = post(&world, PLAIN, "{},\"project\":\"another\"").await;
        assert_eq!(reply.status(), 400);
        assert_eq!(reply.json().await["error"]["message"], "Failed to parse request body");
        assert_eq!(world.mock.stats("mock-one").requests, 0);
        world
    });
}

#[test]
fn what_it_cannot_count_is_estimated() {
    run(plan(CODE_ASSIST, None), async |world| {
        let counted = post(&world, COUNT, BODY).await.json().await;
        assert_eq!(counted, json!({"totalTokens": 2}));
        let path = "/v1/messages/count_tokens";
        let counted = post(&world, path, &hello(false).to_string()).await.json().await;
        assert_eq!(counted, json!({"input_tokens": 2}));
        assert_eq!(world.mock.stats("mock-one").requests, 0);
        world
    });
}

#[test]
fn a_message_is_translated_into_the_envelope_and_out_of_it() {
    run(plan(CODE_ASSIST, None), async |world| {
        let message = world.ask("alice", &hello(false)).await.json().await;
        assert_eq!(message["content"][0]["text"], "I am one. the river runs through");
        assert_eq!(message["model"], "claude-test");
        let asked: Value = serde_json::from_slice(&world.mock.seen()[0].body).expect("JSON");
        assert_eq!((&asked["model"], &asked["project"]), (&json!("up-2"), &json!("p-1")));
        assert_eq!(asked["request"]["contents"][0]["parts"][0]["text"], "Hello");
        let events = world.ask("alice", &hello(true)).await.events().await;
        assert_eq!(text_of(&events), "I am one. the river runs through");
        assert_eq!(events.last().expect("some").0, "message_stop");
        world
    });
}

#[test]
fn a_failing_account_is_passed_over_and_its_errors_told() {
    for fault in [
        Fault::Status(429, "x", None),
        Fault::Status(503, "x", None),
        Fault::Reset,
        Fault::ErrorEvent("x"),
        Fault::EndAfter(2),
    ] {
        let second = format!("priority = 1\n{CODE_ASSIST}");
        run(
            plan(CODE_ASSIST, Some(fault)).account("two", 9, named("two"), &second),
            async |world| {
                let answer = post(&world, PLAIN, BODY).await.json().await;
                assert!(said(&answer).starts_with("I am two."), "{answer}");
                world
            },
        );
    }
    run(plan(CODE_ASSIST, Some(Fault::Status(400, "x", None))), async |world| {
        let mut reply = post(&world, PLAIN, BODY).await;
        assert_eq!(reply.status(), 400);
        assert_eq!(reply.json().await["error"]["message"], "the upstream says so");
        world
    });
    run(plan(CODE_ASSIST, Some(Fault::Truncate)), async |world| {
        let events = post(&world, EVENTS, BODY).await.events().await;
        assert_eq!(events.last().expect("some").1["error"]["code"], 502);
        world
    });
}

#[test]
fn a_path_can_name_whose_accounts_are_to_serve_it() {
    let plan = plan(ANTIGRAVITY, None).account("claude", 9, named("claude"), "").account(
        "gemini",
        9,
        named("gemini"),
        "platform = \"gemini\"",
    );
    run(plan, async |world| {
        let native = post(&world, &format!("/antigravity{PLAIN}"), BODY).await.json().await;
        assert!(said(&native).starts_with("I am one."), "{native}");
        let body = hello(false).to_string();
        let message = post(&world, "/antigravity/v1/messages", &body).await.json().await;
        assert!(message["content"][0]["text"].as_str().is_some_and(|t| t.starts_with("I am one.")));
        let path = "/antigravity/v1/messages/count_tokens";
        assert_eq!(post(&world, path, &body).await.json().await["input_tokens"], 2);
        for (path, list, first) in [
            ("/antigravity/v1beta/models", "models", "models/gemini-3-pro-preview"),
            ("/antigravity/v1/models", "data", "claude-opus-4-5-20251101"),
        ] {
            let models = send(&world, Method::GET, path, "").await.json().await;
            let entry = &models[list][0];
            assert!(entry["name"] == first || entry["id"] == first, "{models}");
        }
        assert_eq!(post(&world, "/antigravity/v1/responses", "{}").await.status(), 404);
        for others in ["mock-claude", "mock-gemini"] {
            assert_eq!(world.mock.stats(others).requests, 0);
        }
        assert_eq!(world.access_log()[1]["path"], "/antigravity/v1/messages");
        world
    });
}

#[test]
fn a_group_without_such_accounts_is_told_so() {
    run(plan("", None), async |world| {
        for path in [&format!("/antigravity{PLAIN}"), "/antigravity/v1/messages"] {
            let mut reply = post(&world, path, &hello(false).to_string()).await;
            let error = reply.json().await;
            let message = "API key group has no antigravity accounts";
            assert_eq!((reply.status(), &error["error"]["message"]), (400, &json!(message)));
        }
        assert_eq!(world.mock.stats("mock-one").requests, 0);
        world
    });
}

#[test]
fn accounts_are_mixed_into_the_groups_of_others_only_if_they_say_so() {
    let claude =
        Behaviour { faults: vec![(1000, Fault::Status(429, "x", None))], ..named("claude") };
    let plan = |more: &str| {
        plan(&format!("priority = 1\n{more}"), None).account("claude", 9, claude.clone(), "")
    };
    run(plan(MIXED), async |world| {
        let message = world.ask("alice", &hello(false)).await.json().await;
        assert!(message["content"][0]["text"].as_str().is_some_and(|t| t.starts_with("I am one.")));
        let native = post(&world, PLAIN, BODY).await.json().await;
        assert!(said(&native).starts_with("I am one."), "{native}");
        world
    });
    run(plan(ANTIGRAVITY), async |world| {
        assert_eq!(world.ask("alice", &hello(false)).await.status(), 429);
        assert_eq!(post(&world, PLAIN, BODY).await.status(), 400);
        assert_eq!(world.mock.stats("mock-one").requests, 0);
        world
    });
}
