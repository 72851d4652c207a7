//! A token that is about to end is renewed beside the requests that still go with it.

use std::rc::Rc;

use sluice_runtime_tokio::mock::Client;
use sluice_tests::tokens::{client, client_id, stored};
use sluice_tests::{Plan, World, hello, named, run, text_of};
use tokio::sync::Semaphore;

/// Users, and an account whose issuer waits to be let go.
fn plan() -> Plan {
    let plan = Plan::default().user("alice", 9, "").user("bob", 9, "");
    plan.token_account("one", 1, named("one"), None, "priority = 0")
}

fn held(world: &World) -> Rc<Semaphore> {
    let hold = Rc::new(Semaphore::new(0));
    let held = Client { hold: Some(hold.clone()), ..client("one") };
    world.mock.know(&client_id("one"), held);
    hold
}

async fn says(world: &World, user: &str) -> String {
    let mut reply = world.ask(user, &hello(true)).await;
    assert_eq!(reply.status(), 200);
    text_of(&reply.events().await)
}

#[test]
fn and_no_client_notices() {
    run(plan(), async |world| {
        let hold = held(&world);
        world.put_tokens("one", 100);
        for _ in 0..3 {
            assert!(says(&world, "alice").await.starts_with("I am one."), "with the old token");
        }
        world.until(|world| world.token_calls("one") == 1).await;
        let old = stored(&world.file("one"));
        // From here on only what the call brings is good.
        world.mock.expire(&client_id("one"));
        hold.add_permits(1);
        world.until(|world| stored(&world.file("one")) != old).await;
        assert!(says(&world, "alice").await.starts_with("I am one."), "with the new token");
        let stats = world.mock.stats("mock-one");
        assert_eq!((stats.requests, stats.answers.get(&401)), (4, None));
        assert_eq!(world.token_calls("one"), 1);
        world
    });
}

#[test]
fn and_one_that_is_good_for_long_is_not() {
    run(plan(), async |world| {
        world.put_tokens("one", 1000);
        for _ in 0..3 {
            says(&world, "alice").await;
        }
        assert_eq!(world.token_calls("one"), 0);
        world
    });
}

#[test]
fn who_finds_none_waits_for_it_and_others_do_not() {
    run(plan().account("two", 1, named("two"), "priority = 1"), async |world| {
        let hold = held(&world);
        let waits = world.clone();
        let waits = tokio::task::spawn_local(async move { says(&waits, "alice").await });
        world.until(|world| world.token_calls("one") == 1).await;
        assert!(says(&world, "bob").await.starts_with("I am two."));
        assert_eq!(world.mock.stats("mock-one").requests, 0);
        hold.add_permits(1);
        assert!(waits.await.expect("no panic").starts_with("I am one."));
        world
    });
}

#[test]
fn a_client_that_leaves_does_not_stop_it() {
    run(plan(), async |world| {
        let hold = held(&world);
        let leaves = world.clone();
        let leaves = tokio::task::spawn_local(async move { says(&leaves, "alice").await });
        world.until(|world| world.token_calls("one") == 1).await;
        leaves.abort();
        world.until(|world| world.held_and_waiting("one") == (0, 0)).await;
        hold.add_permits(1);
        world.until(|world| stored(&world.file("one"))["access_token"].is_string()).await;
        says(&world, "alice").await;
        assert_eq!(world.token_calls("one"), 1);
        world
    });
}
