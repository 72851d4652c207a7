//! A request without `stream` gets the upstream's answer, and only what may pass passes.

use sluice_tests::{Plan, hello, named, post, run};

fn plan() -> Plan {
    Plan::default().user("alice", 2, "").account("one", 2, named("one"), "")
}

#[test]
fn the_answer_is_the_upstreams() {
    run(plan(), async |world| {
        let mut request = post("alice", &hello(false));
        request.headers_mut().insert("x-request-id", "mine-1".parse().expect("a header"));
        request.headers_mut().insert("authorization", "Basic abc".parse().expect("a header"));
        let mut reply = world.send(request).await;
        assert_eq!((reply.status(), reply.header("content-type")), (200, "application/json"));
        assert_eq!(
            (reply.header("x-request-id"), reply.header("request-id")),
            ("mine-1", "req_mock")
        );
        let body = reply.body().await;
        assert_eq!(reply.header("content-length"), body.len().to_string());
        let answer: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(answer["content"][0]["text"], "I am one. the river runs through");
        assert_eq!(answer["model"], "claude-test");
        let seen = world.mock.seen();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].body, hello(false).to_string());
        assert_eq!(seen[0].headers["anthropic-version"], "2023-06-01");
        assert!(!seen[0].headers.contains_key("authorization"), "no client credential passes");
        world
    });
}

#[test]
fn connections_to_the_upstream_are_used_again() {
    run(plan(), async |world| {
        for stream in [false, true, false, true, false] {
            let mut reply = world.ask("alice", &hello(stream)).await;
            assert_eq!(reply.status(), 200);
            reply.body().await;
            world.until_quiet().await;
        }
        assert_eq!(world.mock.connections(), 1);
        world
    });
}

#[test]
fn a_model_has_the_clients_name_on_both_ways_back_and_the_upstreams_on_the_way_there() {
    let models = "models = { \"claude-test\" = \"vendor-1\" }";
    let plan = Plan::default().user("alice", 2, "").account("one", 2, named("one"), models);
    run(plan, async |world| {
        let answer = world.ask("alice", &hello(false)).await.json().await;
        assert_eq!(answer["model"], "claude-test");
        let events = world.ask("alice", &hello(true)).await.events().await;
        assert_eq!(events[0].1["message"]["model"], "claude-test");
        for seen in world.mock.seen() {
            let body: serde_json::Value = serde_json::from_slice(&seen.body).expect("JSON");
            assert_eq!(body["model"], "vendor-1");
        }
        world
    });
}
