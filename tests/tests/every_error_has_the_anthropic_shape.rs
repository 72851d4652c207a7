//! Whatever is wrong, the client is told in the shape of its protocol, under a request id.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use sluice_tests::{Plan, hello, named, post, run, user_key};

fn plan() -> Plan {
    Plan::default()
        .user("alice", 2, "")
        .user("carol", 2, "balance_cents = 0")
        .account("one", 2, named("one"), "models = { \"claude-test\" = \"claude-test\" }")
        .settings("[limits]\nbody_bytes_max = 4096\n")
}

fn raw(method: &str, path: &str, key: Option<&str>, body: &[u8]) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    request.body(Full::from(body.to_vec())).expect("a good request")
}

#[test]
fn whatever_is_wrong() {
    let alice = &*user_key("alice");
    let bad_json = "Failed to parse request body";
    let messages = "/v1/messages";
    let large = vec![b' '; 5000];
    let other = hello(false).to_string().replace("claude-test", "claude-other");
    let table = [
        (raw("POST", messages, None, b"{}"), 401, "authentication_error", "API key is required"),
        (raw("POST", messages, Some("no"), b"{}"), 401, "authentication_error", "Invalid API key"),
        (
            raw("POST", messages, Some(alice), b""),
            400,
            "invalid_request_error",
            "Request body is empty",
        ),
        (raw("POST", messages, Some(alice), b"[1,2]"), 400, "invalid_request_error", bad_json),
        (
            raw("POST", messages, Some(alice), b"null"),
            400,
            "invalid_request_error",
            "model is required",
        ),
        (
            raw("POST", messages, Some(alice), &large),
            413,
            "invalid_request_error",
            "Request body too large, limit is 4096B",
        ),
        (
            raw("POST", messages, Some(alice), other.as_bytes()),
            503,
            "api_error",
            "No available accounts",
        ),
        (post("carol", &hello(true)), 403, "billing_error", "insufficient balance"),
        (
            raw("GET", messages, Some(alice), b""),
            405,
            "invalid_request_error",
            "Method not allowed",
        ),
        (raw("POST", "/nowhere", Some(alice), b""), 404, "not_found_error", "Not found"),
    ];
    run(plan(), async |world| {
        for (request, status, kind, message) in table {
            let mut reply = world.send(request).await;
            assert_eq!(
                (reply.status(), reply.header("content-type")),
                (status, "application/json")
            );
            assert!(!reply.header("x-request-id").is_empty());
            let again = !reply.header("retry-after").is_empty();
            assert_eq!(again, status == 429 || status == 503, "{message}");
            let body = reply.json().await;
            assert_eq!(body["type"], "error");
            assert_eq!(
                (&body["error"]["type"], &body["error"]["message"]),
                (&kind.into(), &message.into())
            );
        }
        assert_eq!(world.mock.stats("mock-one").requests, 0);
        world
    });
}

#[test]
fn a_key_is_found_wherever_clients_put_it() {
    run(plan(), async |world| {
        let body = hello(false).to_string();
        for name in ["x-api-key", "x-goog-api-key"] {
            let mut request = raw("POST", "/v1/messages", None, body.as_bytes());
            request.headers_mut().insert(name, user_key("alice").parse().expect("a header"));
            assert_eq!(world.send(request).await.status(), 200, "{name}");
        }
        for name in ["key", "api_key"] {
            let path = format!("/v1/messages?beta=true&{name}={}", user_key("alice"));
            let request = raw("POST", &path, None, body.as_bytes());
            assert_eq!(world.send(request).await.status(), 200, "{name}");
        }
        world
    });
}

#[test]
fn life_and_readiness_can_be_asked_for() {
    run(plan(), async |world| {
        for path in ["/livez", "/readyz"] {
            assert_eq!(world.send(raw("GET", path, None, b"")).await.status(), 200, "{path}");
        }
        world.phase.send_replace(sluice_runtime_tokio::gateway::Phase::Leaving);
        assert_eq!(world.send(raw("GET", "/readyz", None, b"")).await.status(), 503);
        assert_eq!(world.send(raw("GET", "/livez", None, b"")).await.status(), 200);
        let gates = raw("GET", "/debug/gates", None, b"");
        let mut reply = sluice_tests::send(world.admin, gates).await;
        assert_eq!(reply.status(), 200);
        assert!(reply.json().await["gates"].is_array());
        world
    });
}
