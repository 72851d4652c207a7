//! Wherever a request is when its client goes away, everything it held is free at once.

use std::rc::Rc;
use std::time::Duration;

use sluice_runtime_tokio::mock::Behaviour;
use sluice_tests::{Plan, World, hello, named, run};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

fn plan(behaviour: Behaviour) -> Plan {
    // Nothing but the client's leaving ends a wait.
    let patience = "[policy]\nuser_patience_ms = 3600000\nwait_total_max_ms = 3600000\n";
    Plan::default().user("alice", 1, "").account("one", 1, behaviour, "").settings(patience)
}

fn asking(world: &Rc<World>, stream: bool) -> JoinHandle<u16> {
    let world = world.clone();
    tokio::task::spawn_local(async move { world.ask("alice", &hello(stream)).await.status() })
}

#[test]
fn while_the_upstream_thinks() {
    let hold = Rc::new(Semaphore::new(0));
    run(plan(Behaviour { hold: Some(hold.clone()), ..named("one") }), async |world| {
        let asked = asking(&world, false);
        world.mock.until("mock-one", |stats| stats.open == 1).await;
        asked.abort();
        world.until_quiet().await;
        // The upstream's own side ends with it.
        world.mock.until("mock-one", |stats| stats.open == 0 && stats.left == 1).await;
        hold.add_permits(1);
        assert_eq!(world.ask("alice", &hello(false)).await.status(), 200);
        world
    });
}

#[test]
fn in_the_middle_of_its_stream() {
    let forever =
        Behaviour { words: usize::MAX / 2, pace: Duration::from_millis(1), ..named("one") };
    run(plan(forever), async |world| {
        for n in 1..=3 {
            let mut reply = world.ask("alice", &hello(true)).await;
            assert!(reply.chunk().await.is_some());
            drop(reply);
            world.until_quiet().await;
            world.mock.until("mock-one", |stats| stats.open == 0 && stats.left == n).await;
        }
        world
    });
}

#[test]
fn while_it_waits_in_line() {
    let hold = Rc::new(Semaphore::new(0));
    run(plan(Behaviour { hold: Some(hold.clone()), ..named("one") }), async |world| {
        let running = asking(&world, false);
        world.until(|world| world.held_and_waiting("alice") == (1, 0)).await;
        let waiting = asking(&world, true);
        world.until(|world| world.held_and_waiting("alice") == (1, 1)).await;
        waiting.abort();
        world.until(|world| world.held_and_waiting("alice") == (1, 0)).await;
        hold.add_permits(1);
        assert_eq!(running.await.expect("no panic"), 200);
        assert_eq!(world.mock.stats("mock-one").requests, 1);
        world
    });
}

#[test]
fn when_it_stops_reading() {
    // More than all buffers on the way to a client can hold.
    let long = Behaviour { greeting: "x".repeat(14 << 20), ..named("one") };
    let plan = plan(long).settings("[limits]\nclient_stall_timeout_ms = 50\n");
    run(plan, async |world| {
        let reply = world.ask("alice", &hello(true)).await;
        assert_eq!(reply.status(), 200);
        // The connection stays open, but nobody reads.
        world.until_quiet().await;
        drop(reply);
        world
    });
}
