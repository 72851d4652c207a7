//! With `on_disconnect = "drain"`: the client's leaving does not end the attempt, so that what it
//! used is known; within limits, and with the slots held until it is over.

use std::rc::Rc;
use std::time::Duration;

use sluice_runtime_tokio::mock::Behaviour;
use sluice_tests::{Plan, hello, named, run};
use tokio::sync::Semaphore;

const WORDS: usize = 40;

fn plan(limits: &str) -> Plan {
    let slow = Behaviour { words: WORDS, pace: Duration::from_millis(2), ..named("one") };
    Plan::default()
        .user("alice", 1, "")
        .account("one", 1, slow, "")
        .settings(&format!("[upstream]\non_disconnect = \"drain\"\n{limits}\n"))
}

#[test]
fn of_a_stream_to_its_end() {
    run(plan(""), async |world| {
        let mut reply = world.ask("alice", &hello(true)).await;
        reply.chunk().await.expect("a first piece");
        drop(reply);
        world.until(|world| world.mock.stats("mock-one").open == 0).await;
        world.until_quiet().await;
        assert_eq!(world.mock.stats("mock-one").left, 0, "the upstream was heard to its end");
        let line = &world.access_log()[0];
        assert_eq!((&line["verdict"], &line["owner"]), (&"abandoned".into(), &"client".into()));
        assert_eq!(line["output_tokens"], WORDS);
        world
    });
}

#[test]
fn of_a_plain_answer_that_has_not_come_yet() {
    let hold = Rc::new(Semaphore::new(0));
    let held = Behaviour { hold: Some(hold.clone()), words: WORDS, ..named("one") };
    let plan = Plan::default().user("alice", 1, "").account("one", 1, held, "");
    let plan = plan.settings("[upstream]\non_disconnect = \"drain\"\n");
    run(plan, async |world| {
        let body = hello(false);
        {
            let mut asked = std::pin::pin!(world.ask("alice", &body));
            tokio::select! {
                biased;
                _ = asked.as_mut() => panic!("the answer is held"),
                () = world.until(|world| world.mock.stats("mock-one").open == 1) => {}
            }
        }
        // The gateway has noticed when its only connection is gone.
        while world.look("/debug/runtime").await["workers"][0]["connections"] != 0 {}
        hold.add_permits(1);
        world.until_quiet().await;
        let line = &world.access_log()[0];
        assert_eq!(line["output_tokens"], WORDS);
        world
    });
}

#[test]
fn but_not_beyond_so_many_bytes() {
    run(plan("drain_bytes_max = 500"), async |world| {
        let mut reply = world.ask("alice", &hello(true)).await;
        reply.chunk().await.expect("a first piece");
        drop(reply);
        world.mock.until("mock-one", |stats| stats.left == 1).await;
        world
    });
}

#[test]
fn but_not_for_longer_than_so_long() {
    run(plan("drain_time_max_ms = 10"), async |world| {
        let mut reply = world.ask("alice", &hello(true)).await;
        reply.chunk().await.expect("a first piece");
        drop(reply);
        world.mock.until("mock-one", |stats| stats.left == 1).await;
        world
    });
}

#[test]
fn who_waits_in_line_just_leaves() {
    run(plan(""), async |world| {
        let mut runs = world.ask("alice", &hello(true)).await;
        runs.chunk().await.expect("a first piece");
        let body = hello(true);
        {
            let mut waits = std::pin::pin!(world.ask("alice", &body));
            tokio::select! {
                biased;
                _ = waits.as_mut() => panic!("there is no slot"),
                () = world.until(|world| world.held_and_waiting("alice").1 == 1) => {}
            }
        }
        world.until(|world| world.held_and_waiting("alice").1 == 0).await;
        assert_eq!(world.mock.stats("mock-one").requests, 1);
        runs.body().await;
        world
    });
}
