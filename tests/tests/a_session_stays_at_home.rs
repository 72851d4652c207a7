//! Requests of one conversation go to one account; those of others go where there is room.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sluice_tests::{Plan, World, named, run};

fn plan() -> Plan {
    let plan = Plan::default().user("alice", 9, "").user("bob", 9, "");
    ["one", "two", "three"]
        .into_iter()
        .fold(plan, |plan, name| plan.account(name, 9, named(name), ""))
}

async fn served_by(world: &World, user: &str, body: &Value) -> String {
    let answer = world.ask(user, body).await.json().await;
    let text = answer["content"][0]["text"].as_str().expect("text");
    text.split('.').next().expect("a name").to_owned()
}

fn conversation(first: &str, turns: usize) -> Value {
    let mut messages = vec![json!({"role": "user", "content": first})];
    for turn in 1..turns {
        messages.push(json!({"role": "assistant", "content": format!("answer {turn}")}));
        messages.push(json!({"role": "user", "content": format!("question {turn}")}));
    }
    json!({"model": "claude-test", "system": "Be brief.", "messages": messages})
}

#[test]
fn a_growing_conversation_is_served_by_one_account() {
    run(plan(), async |world| {
        let home = served_by(&world, "alice", &conversation("Hello", 1)).await;
        for turns in 2..9 {
            // Others take their turns in between, and would move the next to another account.
            served_by(&world, "bob", &conversation(&format!("no {turns}"), 1)).await;
            assert_eq!(served_by(&world, "alice", &conversation("Hello", turns)).await, home);
        }
        world
    });
}

#[test]
fn conversations_are_spread_over_the_accounts() {
    run(plan(), async |world| {
        let mut served: BTreeMap<String, usize> = BTreeMap::new();
        for n in 0..9 {
            let by = served_by(&world, "alice", &conversation(&format!("topic {n}"), 1)).await;
            *served.entry(by).or_default() += 1;
        }
        assert_eq!(served.into_values().collect::<Vec<_>>(), [3, 3, 3]);
        world
    });
}
