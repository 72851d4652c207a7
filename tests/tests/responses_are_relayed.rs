//! `POST /v1/responses`: OpenAI's protocol, to accounts that speak it and to no others.

use std::rc::Rc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use sluice_runtime_tokio::mock::{Behaviour, Fault};
use sluice_tests::{Plan, Reply, World, named, run, user_key};

const OPENAI: &str = "platform = \"openai\"";
const PATHS: [&str; 3] = ["/v1/responses", "/responses", "/openai/v1/responses"];

fn plan() -> Plan {
    Plan::default()
        .user("alice", 9, "")
        .account("claude", 9, named("claude"), "")
        .account("one", 9, named("one"), OPENAI)
        .account("two", 9, named("two"), OPENAI)
}

fn asked(stream: bool) -> Value {
    json!({"model": "gpt-test", "stream": stream, "input": "Hello"})
}

async fn ask(world: &World, path: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
    let key = format!("Bearer {}", user_key("alice"));
    let mut request = Request::post(path).header("authorization", key);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Full::from(Bytes::from(body.to_string()));
    world.send(request.body(body).expect("a good request")).await
}

fn text_of(answer: &Value) -> &str {
    answer["output"][0]["content"][0]["text"].as_str().unwrap_or_default()
}

#[test]
fn every_path_is_answered_plain_and_streaming() {
    run(plan(), async |world| {
        for path in PATHS {
            let mut reply = ask(&world, path, &[], &asked(false)).await;
            assert_eq!((reply.status(), reply.header("content-type")), (200, "application/json"));
            let answer = reply.json().await;
            assert!(!text_of(&answer).starts_with("I am claude."), "{answer}");
            let mut reply = ask(&world, path, &[], &asked(true)).await;
            assert_eq!((reply.status(), reply.header("content-type")), (200, "text/event-stream"));
            let events = reply.events().await;
            let (first, last) = (events.first().expect("some"), events.last().expect("some"));
            assert_eq!((&*first.0, &*last.0), ("response.created", "response.completed"));
            assert!(text_of(&last.1["response"]).starts_with("I am "), "{}", last.1);
        }
        assert_eq!(world.mock.stats("mock-claude").requests, 0);
        let lines = world.access_log();
        assert!(lines.iter().all(|line| line["output_tokens"].as_u64() > Some(0)), "{lines:?}");
        world
    });
}

#[test]
fn the_upstream_is_sent_its_own_credential_and_the_bytes_that_came() {
    run(plan(), async |world| {
        let body = json!({"model": "gpt-test", "input": [], "big": 9_007_199_254_740_993_u64});
        let headers = [("user-agent", "mine/1"), ("x-api-key", "no"), ("cookie", "a=b")];
        ask(&world, PATHS[0], &headers, &body).await.json().await;
        let seen = world.mock.seen();
        let seen = seen.last().expect("a request");
        assert_eq!(seen.body, body.to_string());
        assert_eq!(seen.headers["user-agent"], "mine/1");
        assert!(!seen.headers.contains_key("cookie"));
        world
    });
}

#[test]
fn instructions_of_the_operator_are_for_clients_that_have_none() {
    let plan = plan().settings("[openai]\ndefault_instructions = \"Be brief.\"\n");
    run(plan, async |world| {
        let told = async |agent: &str, body: &Value| {
            ask(&world, PATHS[0], &[("user-agent", agent)], body).await.json().await;
            let seen = world.mock.seen();
            let body = &seen.last().expect("a request").body;
            serde_json::from_slice::<Value>(body).expect("JSON")["instructions"].clone()
        };
        let mut own = asked(false);
        own["instructions"] = "Mine.".into();
        assert_eq!(told("curl/8", &asked(false)).await, "Be brief.");
        assert_eq!(told("curl/8", &own).await, "Mine.");
        assert_eq!(told("codex_cli_rs/0.1", &asked(false)).await, Value::Null);
        world
    });
}

#[test]
fn a_session_that_the_client_names_stays_at_home() {
    run(plan(), async |world| {
        let served = async |headers: &[(&str, &str)], body: &Value| {
            let answer = ask(&world, PATHS[0], headers, body).await.json().await;
            text_of(&answer).split('.').next().expect("a name").to_owned()
        };
        let mut cached = asked(false);
        cached["prompt_cache_key"] = "conversation".into();
        for header in ["session_id", "session-id", "x-session-id"] {
            let session = [(header, header)];
            let home = served(&session, &asked(false)).await;
            for _ in 0..5 {
                served(&[], &asked(false)).await;
                assert_eq!(served(&session, &asked(false)).await, home, "{header}");
            }
        }
        let home = served(&[], &cached).await;
        for _ in 0..5 {
            served(&[], &asked(false)).await;
            assert_eq!(served(&[], &cached).await, home);
        }
        world
    });
}

#[test]
fn the_clients_name_of_the_model_is_kept() {
    let plan = Plan::default().user("alice", 9, "").account(
        "one",
        9,
        named("one"),
        "platform = \"openai\"\nmodels = { \"gpt-test\" = \"up-1\" }",
    );
    run(plan, async |world| {
        assert_eq!(
            ask(&world, PATHS[0], &[], &asked(false)).await.json().await["model"],
            "gpt-test"
        );
        let events = ask(&world, PATHS[0], &[], &asked(true)).await.events().await;
        let models = events.iter().filter_map(|(_, data)| data["response"]["model"].as_str());
        assert!(models.clone().count() >= 2 && models.clone().all(|model| model == "gpt-test"));
        let seen = world.mock.seen();
        assert!(seen.iter().all(|s| s.body.windows(6).any(|part| part == b"\"up-1\"")));
        world
    });
}

fn one_fails(fault: Fault) -> Plan {
    let bad = Behaviour { faults: vec![(1000, fault)], ..named("bad") };
    let first = "platform = \"openai\"\npriority = 0";
    let second = "platform = \"openai\"\npriority = 1";
    Plan::default().user("alice", 9, "").account("bad", 9, bad, first).account(
        "good",
        9,
        named("good"),
        second,
    )
}

#[test]
fn a_failing_account_is_passed_over() {
    for fault in [
        Fault::Status(429, "rate_limit_exceeded", Some(7)),
        Fault::Status(402, "insufficient_quota", None),
        Fault::Status(503, "server_error", None),
        Fault::Reset,
        Fault::ErrorEvent("server_error"),
    ] {
        run(one_fails(fault), async |world| {
            let events = ask(&world, PATHS[0], &[], &asked(true)).await.events().await;
            let last = events.last().expect("some");
            assert!(text_of(&last.1["response"]).starts_with("I am good."), "{events:?}");
            assert_eq!(world.mock.stats("mock-bad").requests, 1);
            world
        });
    }
}

#[test]
fn a_stream_that_breaks_off_ends_with_an_error_event() {
    run(one_fails(Fault::Truncate), async |world| {
        let events = ask(&world, PATHS[0], &[], &asked(true)).await.events().await;
        let (name, data) = events.last().expect("some");
        assert_eq!((&**name, data["error"]["type"].as_str()), ("error", Some("upstream_error")));
        assert!(events.iter().all(|(name, _)| name != "response.completed"));
        world
    });
}

const NO_WAY: &str = "The accounts of this API key's group cannot serve this protocol: use the path \
                      of a protocol that they speak";

#[test]
fn whatever_is_wrong_the_client_is_told_in_its_shape() {
    let wrong = |world: Rc<World>| async move {
        for (body, status, kind, message) in [
            (json!({}), 400, "invalid_request_error", "model is required"),
            (json!([]), 400, "invalid_request_error", "Failed to parse request body"),
            (asked(false), 400, "invalid_request_error", NO_WAY),
        ] {
            let mut reply = ask(&world, PATHS[0], &[], &body).await;
            assert_eq!(reply.status(), status);
            let want = json!({"error": {"type": kind, "message": message}});
            assert_eq!(reply.json().await, want);
        }
        let request = Request::post(PATHS[1]).body(Full::default()).expect("a good request");
        let mut reply = world.send(request).await;
        assert_eq!((reply.status(), reply.json().await["type"].clone()), (401, Value::Null));
        world
    };
    run(Plan::default().user("alice", 9, "").account("claude", 9, named("claude"), ""), wrong);
}
