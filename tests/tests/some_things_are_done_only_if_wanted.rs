//! What is off unless the configuration says so: naming beta features for clients, and trying another
//! account after a 400.

use serde_json::json;
use sluice_runtime_tokio::mock::{Behaviour, Fault};
use sluice_tests::{Plan, hello, named, post, run};

fn plan(settings: &str, fault: Option<Fault>) -> Plan {
    let faults = fault.map(|fault| (1000, fault)).into_iter().collect();
    let bad = Behaviour { faults, ..named("bad") };
    Plan::default()
        .user("alice", 9, "")
        .account("bad", 9, bad, "priority = 0")
        .account("good", 9, named("good"), "priority = 1")
        .settings(settings)
}

#[test]
fn beta_features_are_named_for_who_needs_them_and_names_none() {
    let mut body = hello(false);
    body["thinking"] = json!({"type": "enabled", "budget_tokens": 1024});
    body["tools"] = json!([{"name": "x", "input_schema": {"type": "object"}}]);
    for (settings, own, want) in [
        ("", None, None),
        ("[anthropic]\ninject_betas = true\n", None, Some("interleaved-thinking-2025-05-14")),
        ("[anthropic]\ninject_betas = true\n", Some("mine"), Some("mine")),
    ] {
        let body = body.clone();
        run(plan(settings, None), async move |world| {
            let mut request = post("alice", &body);
            if let Some(own) = own {
                request.headers_mut().insert("anthropic-beta", own.parse().expect("a header"));
            }
            assert_eq!(world.send(request).await.status(), 200);
            let seen = world.mock.seen();
            let named = seen[0].headers.get("anthropic-beta").map(|v| v.to_str().expect("text"));
            assert_eq!(named, want);
            world
        });
    }
}

#[test]
fn another_account_is_tried_after_a_400_that_may_be_the_accounts_doing() {
    let on = "[anthropic]\nfailover_on_400 = true\n";
    let about = |message: &'static str| Some(Fault::Refusal(400, vec![], message));
    let signature = "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\
                     \"message\":\"Invalid signature in thinking block\"}}";
    let long = "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\
                \"message\":\"prompt is too long\"}}";
    for (settings, body, status) in [("", signature, 400), (on, long, 400), (on, signature, 200)] {
        run(plan(settings, about(body)), async move |world| {
            for n in 1..=2 {
                let mut body = hello(n == 1);
                // Of another conversation, which has no home yet.
                body["messages"][0]["content"] = format!("Hello {n}").into();
                assert_eq!(world.ask("alice", &body).await.status(), status);
                assert_eq!(world.mock.stats("mock-bad").requests, n, "nothing is noted of it");
            }
            world
        });
    }
    let alone = Behaviour { faults: vec![(1000, about(signature).expect("one"))], ..named("bad") };
    let plan = Plan::default().user("alice", 9, "").account("bad", 9, alone, "").settings(on);
    run(plan, async |world| {
        let mut reply = world.ask("alice", &hello(false)).await;
        assert_eq!(reply.status(), 400);
        let message = "Invalid signature in thinking block";
        assert_eq!(reply.json().await["error"]["message"], message);
        world
    });
}
