//! `POST /v1beta/models/MODEL:ACTION`: Google's protocol, to accounts that speak it and to no others.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use sluice_runtime_tokio::mock::{Behaviour, Fault};
use sluice_tests::{Plan, Reply, World, named, run, user_key};

const GEMINI: &str = "platform = \"gemini\"";
const PLAIN: &str = "/v1beta/models/gemini-test:generateContent";
const EVENTS: &str = "/v1beta/models/gemini-test:streamGenerateContent?alt=sse";
const ARRAY: &str = "/v1beta/models/gemini-test:streamGenerateContent";
const COUNT: &str = "/v1beta/models/gemini-test:countTokens";

fn plan() -> Plan {
    Plan::default()
        .user("alice", 9, "")
        .account("claude", 9, named("claude"), "")
        .account("one", 9, named("one"), GEMINI)
        .account("two", 9, named("two"), GEMINI)
}

fn asked(said: &str) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": said}]}]})
}

async fn ask(world: &World, path: &str, body: &str) -> Reply {
    let request = Request::post(path).header("x-goog-api-key", user_key("alice"));
    let body = Full::from(Bytes::copy_from_slice(body.as_bytes()));
    world.send(request.body(body).expect("a good request")).await
}

fn text_of<'a>(chunks: impl IntoIterator<Item = &'a Value>) -> String {
    let text = |chunk: &'a Value| chunk["candidates"][0]["content"]["parts"][0]["text"].as_str();
    chunks.into_iter().filter_map(text).collect()
}

async fn streamed(world: &World, path: &str) -> Vec<Value> {
    let mut reply = ask(world, path, &asked("Hello").to_string()).await;
    assert_eq!(reply.status(), 200);
    if path == ARRAY {
        assert_eq!(reply.header("content-type"), "application/json");
        let array = reply.json().await;
        return array.as_array().expect("an array").clone();
    }
    assert_eq!(reply.header("content-type"), "text/event-stream");
    reply.events().await.into_iter().map(|(_, data)| data).collect()
}

#[test]
fn every_action_is_answered_as_the_client_reads_it() {
    run(plan(), async |world| {
        let plain = ask(&world, PLAIN, &asked("Hello").to_string()).await.json().await;
        assert!(!text_of([&plain]).starts_with("I am claude."), "{plain}");
        for path in [EVENTS, ARRAY] {
            let chunks = streamed(&world, path).await;
            assert!(chunks.len() > 2 && text_of(&chunks).starts_with("I am "), "{chunks:?}");
            assert_eq!(chunks.last().expect("some")["candidates"][0]["finishReason"], "STOP");
        }
        let count = ask(&world, COUNT, &asked("Hello").to_string()).await.json().await;
        assert!(count["totalTokens"].as_u64() > Some(0), "{count}");
        assert_eq!(world.mock.stats("mock-claude").requests, 0);
        let lines = world.access_log();
        let written: Vec<_> = lines.iter().map(|line| line["output_tokens"].as_u64()).collect();
        assert!(written[..3].iter().all(|tokens| *tokens > Some(0)), "{written:?}");
        world
    });
}

#[test]
fn the_upstream_is_sent_the_bytes_that_came_and_its_own_name_of_the_model() {
    let plan = Plan::default().user("alice", 9, "").account(
        "one",
        9,
        named("one"),
        "platform = \"gemini\"\nmodels = { \"gemini-test\" = \"up 1/x\" }",
    );
    run(plan, async |world| {
        let body = "{\"contents\": [ ], \"n\":9007199254740993}";
        // Of no use to the mock upstream, which knows no such model.
        assert_eq!(ask(&world, PLAIN, body).await.status(), 404);
        world
    });
    run(
        Plan::default().user("alice", 9, "").account(
            "one",
            9,
            named("one"),
            "platform = \"gemini\"\nmodels = { \"gemini-test\" = \"up-1\" }",
        ),
        async |world| {
            let body = "{\"contents\": [ ], \"n\":9007199254740993}";
            let answer = ask(&world, PLAIN, body).await.json().await;
            assert_eq!(answer["modelVersion"], "gemini-test");
            for path in [EVENTS, ARRAY] {
                let chunks = streamed(&world, path).await;
                assert!(chunks.iter().all(|chunk| chunk["modelVersion"] == "gemini-test"));
            }
            assert_eq!(world.mock.seen()[0].body, body);
            world
        },
    );
}

#[test]
fn a_growing_conversation_is_served_by_one_account() {
    run(plan(), async |world| {
        let served = async |body: &Value| {
            let answer = ask(&world, PLAIN, &body.to_string()).await.json().await;
            text_of([&answer]).split('.').next().expect("a name").to_owned()
        };
        let mut body = asked("Hello");
        let home = served(&body).await;
        for turn in 0..5 {
            served(&asked(&format!("other {turn}"))).await;
            let contents = body["contents"].as_array_mut().expect("a list");
            contents.push(json!({"role": "model", "parts": [{"text": "Hi"}]}));
            assert_eq!(served(&body).await, home);
        }
        world
    });
}

fn one_fails(fault: Fault) -> Plan {
    let bad = Behaviour { faults: vec![(1000, fault)], ..named("bad") };
    let first = "platform = \"gemini\"\npriority = 0";
    let second = "platform = \"gemini\"\npriority = 1";
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
        Fault::Status(429, "x", None),
        Fault::Status(403, "x", None),
        Fault::Status(503, "x", None),
        Fault::Reset,
        Fault::ErrorEvent("x"),
    ] {
        for path in [EVENTS, ARRAY] {
            run(one_fails(fault.clone()), async |world| {
                let chunks = streamed(&world, path).await;
                assert!(text_of(&chunks).starts_with("I am good."), "{chunks:?}");
                assert_eq!(world.mock.stats("mock-bad").requests, 1);
                world
            });
        }
    }
}

#[test]
fn a_stream_that_breaks_off_ends_with_an_error() {
    for path in [EVENTS, ARRAY] {
        run(one_fails(Fault::Truncate), async |world| {
            let chunks = streamed(&world, path).await;
            let error = &chunks.last().expect("some")["error"];
            assert_eq!((&error["code"], &error["status"]), (&json!(502), &json!("UNAVAILABLE")));
            assert!(chunks.len() > 1);
            world
        });
    }
}

#[test]
fn whatever_is_wrong_the_client_is_told_in_its_shape() {
    run(plan(), async |world| {
        for (path, body, status, name, message) in [
            ("/v1beta/models/x", "{}", 400, "INVALID_ARGUMENT", "Invalid model action path"),
            (
                "/v1beta/models/../x:countTokens",
                "{}",
                400,
                "INVALID_ARGUMENT",
                "Invalid model action path",
            ),
            ("/v1beta/models/x:embedContent", "", 404, "NOT_FOUND", "Unsupported action"),
            (PLAIN, "", 400, "INVALID_ARGUMENT", "Request body is empty"),
        ] {
            let mut reply = ask(&world, path, body).await;
            assert_eq!(reply.status(), status, "{path}");
            let want = json!({"error": {"code": status, "message": message, "status": name}});
            assert_eq!(reply.json().await, want);
        }
        let request = Request::post(PLAIN).body(Full::default()).expect("a good request");
        let error = world.send(request).await.json().await;
        assert_eq!(error["error"]["status"], "UNAUTHENTICATED");
        world
    });
    let plan = Plan::default().user("alice", 9, "").account("claude", 9, named("claude"), "");
    run(plan, async |world| {
        let mut reply = ask(&world, PLAIN, "{}").await;
        assert_eq!(
            (reply.status(), reply.json().await["error"]["code"].clone()),
            (400, json!(400))
        );
        world
    });
}
