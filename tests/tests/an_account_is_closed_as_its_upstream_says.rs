//! What an upstream says when it refuses closes its account for as long as it said, and for what it
//! said; what is no fault of the account closes nothing.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use sluice_runtime_tokio::mock::{Behaviour, Fault};
use sluice_tests::{Plan, Reply, World, named, run, user_key};

const MODEL: &str = "models = { \"m\" = \"m\" }";

fn plan(platform: &str, fault: Fault) -> Plan {
    let bad = Behaviour { faults: vec![(1000, fault)], ..named("bad") };
    let first = format!("platform = \"{platform}\"\npriority = 0\n{MODEL}");
    let second = format!("platform = \"{platform}\"\npriority = 1\n{MODEL}");
    Plan::default().user("alice", 9, "").account("bad", 9, bad, &first).account(
        "good",
        9,
        named("good"),
        &second,
    )
}

async fn ask(world: &World, platform: &str) -> Reply {
    let (path, body) = match platform {
        "anthropic" => ("/v1/messages", json!({"model": "m", "max_tokens": 1, "messages": []})),
        "openai" => ("/v1/responses", json!({"model": "m", "input": "Hello"})),
        _ => ("/v1beta/models/m:generateContent", json!({"contents": []})),
    };
    let request = Request::post(path).header("x-api-key", user_key("alice"));
    let body = Full::from(Bytes::from(body.to_string()));
    world.send(request.body(body).expect("a good request")).await
}

fn closed(world: &World) -> Value {
    let gates = world.gates();
    let all = gates["gates"].as_array().expect("a list");
    let bad = all.iter().find(|gate| gate["name"] == "bad");
    bad.map(|gate| gate["closed"].clone()).unwrap_or_default()
}

#[test]
fn for_so_long_and_for_that_model() {
    let violation = r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"no","details":[
        {"violations":[{"quotaId":"PerMinutePerModel"}]},{"retryDelay":"50s"}]}}"#;
    for (platform, headers, body, secs, model) in [
        (
            "anthropic",
            vec![
                ("retry-after", "1"),
                ("anthropic-ratelimit-unified-5h-status", "rejected"),
                ("anthropic-ratelimit-unified-5h-reset", "9999999999"),
            ],
            "{}",
            8 * 24 * 3600,
            Value::Null,
        ),
        (
            "openai",
            vec![("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "1m30s")],
            "{}",
            90,
            json!("m"),
        ),
        ("gemini", vec![], violation, 50, json!("m")),
    ] {
        run(plan(platform, Fault::Refusal(429, headers, body)), async move |world| {
            assert_eq!(ask(&world, platform).await.status(), 200);
            let closed = closed(&world);
            assert_eq!(closed[0]["model"], model, "{platform}: {closed}");
            assert_eq!(closed[0]["cause"], "RateLimited");
            let ms = closed[0]["opens_in_ms"].as_u64().expect("a number");
            assert!((secs * 1000 - 20_000..=secs * 1000).contains(&ms), "{platform}: {ms}");
            world
        });
    }
}

#[test]
fn a_credential_that_lacks_a_scope_closes_nothing() {
    let headers = vec![("www-authenticate", "Bearer error=insufficient_scope")];
    run(plan("gemini", Fault::Refusal(403, headers, "{}")), async |world| {
        for n in 1..=2 {
            assert_eq!(ask(&world, "gemini").await.status(), 200);
            assert_eq!(world.mock.stats("mock-bad").requests, n, "it is asked again");
        }
        assert!(closed(&world).as_array().is_none_or(Vec::is_empty));
        let count =
            Request::post("/v1beta/models/m:countTokens").header("x-api-key", user_key("alice"));
        let body = Full::from("{\"contents\":[{\"parts\":[{\"text\":\"hello world\"}]}]}");
        let counted = world.send(count.body(body).expect("a good request")).await.json().await;
        assert_eq!(counted, json!({"totalTokens": 3}), "estimated");
        world
    });
}

#[test]
fn a_key_that_is_called_a_wrong_request_is_the_accounts_fault() {
    let body = r#"{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"API key not valid.",
        "details":[{"reason":"API_KEY_INVALID"}]}}"#;
    run(plan("gemini", Fault::Refusal(400, vec![], body)), async |world| {
        assert_eq!(ask(&world, "gemini").await.status(), 200);
        assert_eq!(closed(&world)[0]["cause"], "Quarantined");
        world
    });
}

#[test]
fn what_is_left_of_its_quotas_is_shown() {
    let headers = vec![
        ("anthropic-ratelimit-unified-5h-utilization", "0.5"),
        ("anthropic-ratelimit-unified-5h-reset", "9999999999"),
    ];
    run(plan("anthropic", Fault::Refusal(429, headers, "{}")), async |world| {
        assert_eq!(world.look("/debug/quotas").await, json!({"quotas": []}));
        assert_eq!(ask(&world, "anthropic").await.status(), 200);
        let shown = world.look("/debug/quotas").await["quotas"][0].clone();
        assert_eq!(shown["account"], "bad");
        let window = &shown["told"]["windows"][0];
        assert_eq!((&window["name"], &window["used_pct"]), (&json!("5h"), &json!(50.0)));
        assert!(window["resets_in_ms"].as_u64() > Some(0));
        world
    });
}

#[test]
fn a_new_configuration_keeps_what_was_said_of_quotas_in_the_same_place_to_the_same_key() {
    for (former, new, kept) in [
        ("priority = 0", "priority = 2", true),
        ("base_url = \"http://127.0.0.1", "base_url = \"http://127.0.0.2", false),
        ("api_key = \"", "api_key = \"another-", false),
    ] {
        let headers = vec![("anthropic-ratelimit-unified-5h-utilization", "0.5")];
        run(plan("anthropic", Fault::Refusal(429, headers, "{}")), async move |world| {
            assert_eq!(ask(&world, "anthropic").await.status(), 200);
            let text = world.config.replace(former, new);
            assert_ne!(text, world.config);
            world.reload(&text, 2);
            let shown = world.look("/debug/quotas").await;
            let name = &shown["quotas"][0]["told"]["windows"][0]["name"];
            assert_eq!(name, &if kept { json!("5h") } else { json!(null) }, "{new}");
            world
        });
    }
}
