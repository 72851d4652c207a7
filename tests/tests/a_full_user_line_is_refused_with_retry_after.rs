//! A user runs so many, so many more wait, and the next is told to come back.

use std::rc::Rc;

use sluice_runtime_tokio::mock::Behaviour;
use sluice_tests::{Plan, hello, named, run};
use tokio::sync::Semaphore;

#[test]
fn the_third_of_two_is_refused_and_the_others_are_served() {
    let hold = Rc::new(Semaphore::new(0));
    let held = Behaviour { hold: Some(hold.clone()), ..named("one") };
    let plan = Plan::default()
        .user("alice", 1, "")
        .user("bob", 1, "")
        .account("one", 5, held, "")
        .settings("[policy]\nextra_wait_slots = 1\n");
    run(plan, async |world| {
        let ask = || {
            let world = world.clone();
            tokio::task::spawn_local(
                async move { world.ask("alice", &hello(false)).await.status() },
            )
        };
        let running = ask();
        world.until(|world| world.held_and_waiting("alice") == (1, 0)).await;
        let waiting = ask();
        world.until(|world| world.held_and_waiting("alice") == (1, 1)).await;
        let mut refused = world.ask("alice", &hello(true)).await;
        assert_eq!(refused.status(), 429);
        assert!(refused.header("retry-after").parse::<u64>().expect("seconds") >= 1);
        let error = refused.json().await["error"].clone();
        assert_eq!(error["type"], "rate_limit_error");
        assert_eq!(error["message"], "Too many pending requests, please retry later");
        hold.add_permits(3);
        assert_eq!(
            world.ask("bob", &hello(false)).await.status(),
            200,
            "bob has a line of his own"
        );
        assert_eq!(running.await.expect("no panic"), 200);
        assert_eq!(waiting.await.expect("no panic"), 200);
        world
    });
}
