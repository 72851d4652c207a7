//! An upstream's words reach clients that read them in another form, too; its credential never does.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use sluice_runtime_tokio::mock::{Behaviour, Fault};
use sluice_tests::{Plan, hello, named, run, user_key};

const GEMINI: &str = "platform = \"gemini\"";
const CODE_ASSIST: &str = "platform = \"gemini\"\nproject = \"p-1\"";
const MESSAGES: &str = "/v1/messages";
const COUNT: &str = "/v1/messages/count_tokens";
const GENERATE: &str = "/v1beta/models/claude-test:generateContent";
const CONTENTS: &str = "{\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"Hello\"}]}]}";
/// What `named("one")` is reached with, in the words of an upstream that tells it, one of whose
/// characters JSON can write in two ways.
const TOLD: &str =
    r#"{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"mock\u002done may not"}}"#;
const TOLD_IN_A_STREAM: &str = "data: {\"response\":{\"error\":{\"code\":400,\
    \"status\":\"INVALID_ARGUMENT\",\"message\":\"mock-one may not\"}}}\n\n";

/// What a client is told that asks at this path.
fn told(account: &'static str, fault: Fault, path: &'static str) {
    told_if(false, account, fault, path);
}

/// The same of one that may want a stream.
fn told_if(stream: bool, account: &'static str, fault: Fault, path: &'static str) {
    let one = Behaviour { faults: vec![(1000, fault)], ..named("one") };
    let plan = Plan::default().user("alice", 2, "").account("one", 2, one, account);
    run(plan, async move |world| {
        let asked = if path == GENERATE { CONTENTS.to_owned() } else { hello(stream).to_string() };
        let request = Request::post(path).header("x-api-key", user_key("alice"));
        let request = request.body(Full::from(Bytes::from(asked))).expect("a good request");
        let mut reply = world.send(request).await;
        let status = reply.status();
        let text = String::from_utf8_lossy(&reply.body().await).into_owned();
        assert_eq!(status, 400, "{text}");
        assert!(text.contains("*** may not"), "{text}");
        assert!(!text.contains("mock-one"), "{text}");
        world
    });
}

#[test]
fn by_a_count() {
    told(GEMINI, Fault::Refusal(400, vec![], TOLD), COUNT);
}

#[test]
fn by_a_plain_answer_that_is_translated() {
    told(GEMINI, Fault::Refusal(400, vec![], TOLD), MESSAGES);
    told(GEMINI, Fault::Refusal(200, vec![], TOLD), MESSAGES);
}

#[test]
fn by_a_stream_that_begins_with_it() {
    let stream = vec![("content-type", "text/event-stream")];
    for account in [GEMINI, CODE_ASSIST] {
        told_if(true, account, Fault::Refusal(200, stream.clone(), TOLD_IN_A_STREAM), MESSAGES);
    }
}

#[test]
fn by_a_plain_answer_that_is_put_together_from_a_stream() {
    for path in [MESSAGES, GENERATE] {
        let stream = vec![("content-type", "text/event-stream")];
        told(CODE_ASSIST, Fault::Refusal(200, stream, TOLD_IN_A_STREAM), path);
    }
}
