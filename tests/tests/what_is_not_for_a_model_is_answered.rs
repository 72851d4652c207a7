//! Browsers that ask before they ask, clients' telemetry, and whoever asks how we are.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use sluice_tests::{Plan, hello, named, post, run};

fn raw(method: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(path);
    request.body(Full::from(body.to_owned())).expect("a good request")
}

fn plan() -> Plan {
    Plan::default().user("alice", 1, "").account("one", 1, named("one"), "")
}

#[test]
fn a_browser_may_send_what_clients_send() {
    run(plan(), async |world| {
        let mut reply = world.send(raw("OPTIONS", "/v1/messages", "")).await;
        assert_eq!((reply.status(), reply.header("access-control-allow-origin")), (204, "*"));
        let allowed = reply.header("access-control-allow-headers").to_owned();
        let allowed: Vec<_> = allowed.split(", ").collect();
        for name in [
            "content-type",
            "x-api-key",
            "anthropic-version",
            "anthropic-beta",
            "x-goog-api-key",
            "authorization",
            "x-stainless-retry-count",
        ] {
            assert!(allowed.contains(&name), "{name} in {allowed:?}");
        }
        assert!(reply.body().await.is_empty());
        let mut request = post("alice", &hello(false));
        assert_eq!(world.send(request.clone()).await.header("access-control-allow-origin"), "");
        request.headers_mut().insert("origin", "https://a.example".parse().expect("a header"));
        let reply = world.send(request).await;
        assert_eq!((reply.status(), reply.header("access-control-allow-origin")), (200, "*"));
        world
    });
}

#[test]
fn telemetry_is_taken_and_forgotten() {
    run(plan(), async |world| {
        let path = "/api/event_logging/batch";
        for size in [0, 10, 5 << 20] {
            let mut reply = world.send(raw("POST", path, &"x".repeat(size))).await;
            assert_eq!((reply.status(), reply.body().await.len()), (200, 0));
        }
        assert_eq!(world.send(raw("GET", path, "")).await.status(), 405);
        world
    });
}

#[test]
fn health_is_as_it_always_was() {
    run(plan(), async |world| {
        let mut reply = world.send(raw("GET", "/health", "")).await;
        assert_eq!((reply.status(), reply.header("content-type")), (200, "application/json"));
        assert_eq!(reply.json().await, serde_json::json!({"status": "ok"}));
        world
    });
}
