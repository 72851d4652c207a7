//! Which tier an account of Code Assist has is asked of its upstream beside requests, or configured; it
//! is shown, and changes nothing.

use serde_json::{Value, json};
use sluice_runtime_tokio::mock::Behaviour;
use sluice_tests::{Plan, World, hello, named, run};

const CODE_ASSIST: &str = "platform = \"gemini\"\nproject = \"p-1\"";
const MIXED: &str = "platform = \"antigravity\"\nproject = \"p-1\"\nmixed = true";

fn with_tier(tier: &str) -> Behaviour {
    Behaviour { tier: tier.to_owned(), ..named("one") }
}

fn plan(tier: &str, more: &str) -> Plan {
    Plan::default().user("alice", 9, "").account("one", 9, with_tier(tier), more)
}

async fn served(world: &World) {
    assert_eq!(world.ask("alice", &hello(false)).await.status(), 200);
}

async fn asked(world: &World) {
    world.mock.until("mock-one", |stats| stats.tier_calls == 1).await;
}

/// What is shown of the account, once something is.
async fn shown(world: &World) -> Value {
    loop {
        let quotas = world.look("/debug/quotas").await["quotas"].take();
        if quotas != json!([]) {
            return quotas;
        }
    }
}

fn of_one(id: &str, name: &str) -> Value {
    json!([{"account": "one", "tier": {"id": id, "name": name}, "told": null}])
}

#[test]
fn it_is_asked_for_once_when_the_account_has_served() {
    for (account, tier, name) in [
        (CODE_ASSIST, "free-tier", "Free"),
        (MIXED, "g1-pro-tier", "Pro"),
        (CODE_ASSIST, "x/1", "x/1"),
    ] {
        run(plan(tier, account), async |world| {
            assert_eq!(world.look("/debug/quotas").await, json!({"quotas": []}));
            served(&world).await;
            assert_eq!(shown(&world).await, of_one(tier, name));
            served(&world).await;
            world.reload(&world.config, 2);
            served(&world).await;
            assert_eq!(shown(&world).await, of_one(tier, name));
            let stats = world.mock.stats("mock-one");
            assert_eq!((stats.tier_calls, stats.requests), (1, 3));
            world
        });
    }
}

#[test]
fn with_the_access_token_that_was_good_for_the_request() {
    let plan = Plan::default().user("alice", 9, "");
    run(plan.token_account("one", 9, with_tier("PRO"), None, CODE_ASSIST), async |world| {
        served(&world).await;
        assert_eq!(shown(&world).await, of_one("PRO", "Pro"));
        assert_eq!(world.token_calls("one"), 1);
        world
    });
}

#[test]
fn what_the_configuration_says_comes_first() {
    run(plan("free-tier", &format!("{CODE_ASSIST}\ntier = \"ULTRA\"")), async |world| {
        assert_eq!(shown(&world).await, of_one("ULTRA", "Ultra"));
        served(&world).await;
        assert_eq!(shown(&world).await, of_one("ULTRA", "Ultra"));
        assert_eq!(world.mock.stats("mock-one").tier_calls, 0);
        // Without it, the upstream is asked.
        world.reload(&world.config.replace("tier = \"ULTRA\"", ""), 2);
        served(&world).await;
        assert_eq!(shown(&world).await, of_one("free-tier", "Free"));
        world
    });
}

#[test]
fn an_upstream_that_does_not_tell_is_asked_as_before() {
    for told in ["", "<b>"] {
        run(plan(told, CODE_ASSIST), async |world| {
            served(&world).await;
            asked(&world).await;
            served(&world).await;
            assert_eq!(world.look("/debug/quotas").await, json!({"quotas": []}));
            let gates = world.gates();
            let closed = |gate: &Value| gate["closed"] != json!([]);
            assert!(!gates["gates"].as_array().expect("gates").iter().any(closed), "{gates}");
            world
        });
    }
}

#[test]
fn others_have_none() {
    run(plan("PRO", "platform = \"gemini\""), async |world| {
        served(&world).await;
        assert_eq!(world.look("/debug/quotas").await, json!({"quotas": []}));
        assert_eq!(world.mock.stats("mock-one").tier_calls, 0);
        world
    });
}
