//! Told to stop, the gateway takes no new connection and brings what runs to its end.

use std::rc::Rc;

use sluice_runtime_tokio::gateway::Phase;
use sluice_runtime_tokio::mock::Behaviour;
use sluice_tests::{Plan, hello, named, run};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

#[test]
fn what_runs_ends_and_nothing_new_begins() {
    let hold = Rc::new(Semaphore::new(0));
    let held = Behaviour { hold: Some(hold.clone()), ..named("one") };
    let plan = Plan::default().user("alice", 2, "").account("one", 2, held, "");
    run(plan, async |world| {
        let running = tokio::task::spawn_local({
            let world = world.clone();
            async move { world.ask("alice", &hello(true)).await.events().await }
        });
        world.mock.until("mock-one", |stats| stats.open == 1).await;
        world.phase.send_replace(Phase::Draining);
        // The listener goes as soon as its task has seen the signal.
        while TcpStream::connect(world.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        hold.add_permits(1);
        let events = running.await.expect("no panic");
        assert_eq!(events.last().expect("events").0, "message_stop");
        world
    });
}
