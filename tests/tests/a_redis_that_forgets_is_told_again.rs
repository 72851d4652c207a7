//! Redis forgets everything under running requests: the gateways join anew and tell it what they hold.
//! Until all have, what runs on the others is not in its count: that is the declared bound.

use std::rc::Rc;

use sluice_runtime_tokio::mock::Behaviour;
use sluice_tests::fleet::{self, FleetPlan};
use sluice_tests::{named, together};
use tokio::sync::Semaphore;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sluice-under-test");
const SLOTS: u32 = 4;
/// On each of two gateways.
const RUNNING: u32 = 2;

fn plan() -> (FleetPlan, Rc<Semaphore>) {
    let hold = Rc::new(Semaphore::new(0));
    let held = Behaviour { hold: Some(hold.clone()), ..named("one") };
    let settings = "[redis]\ntimeout_ms = 5000\n";
    (FleetPlan::default().account("one", SLOTS, held).settings(settings), hold)
}

fn forgets(name: &str, forget: impl AsyncFnOnce(&mut fleet::Fleet)) {
    let (plan, hold) = plan();
    fleet::run(name, PROGRAM, plan, async |mut fleet| {
        let (left, right) = (fleet.gateway("left").await, fleet.gateway("right").await);
        let running = [&left, &right, &left, &right].map(|gateway| gateway.whole(true));
        let running = tokio::task::spawn_local(together(running.into()));
        fleet.mock.until("mock-one", |stats| stats.open == SLOTS).await;
        forget(&mut fleet).await;
        // They wait, whatever the store still knows.
        let waiting = (0..6).map(|n| [&left, &right][n % 2].whole(true)).collect();
        let waiting = tokio::task::spawn_local(together(waiting));
        // All that runs is in its count again.
        fleet::until(async || {
            let gates = left.gates().await;
            let all =
                gates["gates"].as_array().map(|gates| gates.iter().find(|g| g["name"] == "one"));
            all.flatten().is_some_and(|one| {
                one["held"].as_array().is_some_and(|held| held.len() >= SLOTS as usize)
            })
        })
        .await;
        hold.add_permits(10);
        let answers = [running.await.expect("no panic"), waiting.await.expect("no panic")].concat();
        assert_eq!(answers.len(), 10);
        for (status, body) in answers {
            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        }
        let most = fleet.mock.stats("mock-one").open_max;
        assert!(most <= SLOTS + RUNNING, "{most} were open at once");
        fleet::until(async || left.held_and_waiting("one").await == (0, 0)).await;
        // From here on it is exact again.
        let asked = (0..12).map(|n| [&left, &right][n % 2].whole(true)).collect();
        let asked = tokio::task::spawn_local(together(asked));
        fleet.mock.until("mock-one", |stats| stats.open == SLOTS).await;
        fleet::until(async || left.held_and_waiting("main/anthropic/*").await.1 == 8).await;
        assert_eq!(fleet.mock.stats("mock-one").open, SLOTS);
        hold.add_permits(12);
        assert!(asked.await.expect("no panic").iter().all(|(status, _)| *status == 200));
    });
}

#[test]
fn after_flushall() {
    forgets("flushall", async |fleet| drop(fleet.redis.ask(&["FLUSHALL"])));
}

#[test]
fn after_a_restart_without_data() {
    forgets("restart-empty", async |fleet| {
        fleet.redis.kill();
        fleet.redis.restart();
    });
}
