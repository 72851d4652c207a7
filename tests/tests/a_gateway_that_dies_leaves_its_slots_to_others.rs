//! A gateway is killed with all slots in its hands. Others have them when its session has ended, or at
//! once when it is started again.

use std::rc::Rc;

use sluice_engine::store::{CLAIM_WINDOW, SESSION};
use sluice_runtime_tokio::mock::Behaviour;
use sluice_tests::fleet::{self, FleetPlan};
use sluice_tests::{named, together};
use tokio::sync::Semaphore;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sluice-under-test");
const SLOTS: u32 = 3;
/// How often a node beats, and reaps.
const BEAT_MS: u64 = 3_000;
/// What a busy machine may take longer.
const SLACK_MS: u64 = 5_000;

/// Whose requests wait to be let go, and whose others wait so long for a slot.
fn plan(patience_ms: u64) -> (FleetPlan, Rc<Semaphore>) {
    let hold = Rc::new(Semaphore::new(0));
    let held = Behaviour { hold: Some(hold.clone()), ..named("one") };
    let settings = format!(
        "[redis]\ntimeout_ms = 5000\n[policy]\nfallback_patience_ms = {patience_ms}\n\
         wait_total_max_ms = {patience_ms}\n"
    );
    (FleetPlan::default().account("one", SLOTS, held).settings(&settings), hold)
}

#[test]
fn when_its_session_has_ended() {
    // Who waits longer than this is refused.
    let patience = CLAIM_WINDOW.as_ms() + SESSION.as_ms() + BEAT_MS + SLACK_MS;
    let (plan, hold) = plan(patience);
    fleet::run("dies", PROGRAM, plan, async |fleet| {
        let (mut dying, living) = (fleet.gateway("dying").await, fleet.gateway("living").await);
        let lost: Vec<_> =
            (0..SLOTS).map(|_| tokio::task::spawn_local(dying.whole(true))).collect();
        fleet.mock.until("mock-one", |stats| stats.open == SLOTS).await;
        dying.kill();
        fleet.mock.until("mock-one", |stats| stats.open == 0).await;
        hold.add_permits(SLOTS as usize);
        let asked = (0..SLOTS).map(|_| living.whole(true)).collect();
        for (status, body) in together(asked).await {
            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        }
        assert_eq!(fleet.mock.stats("mock-one").open_max, SLOTS);
        lost.into_iter().for_each(|lost| lost.abort());
    });
}

#[test]
fn at_once_when_it_is_started_again() {
    // Much shorter than a session.
    let (plan, hold) = plan(CLAIM_WINDOW.as_ms());
    fleet::run("restarts", PROGRAM, plan, async |fleet| {
        let (mut dying, living) = (fleet.gateway("dying").await, fleet.gateway("living").await);
        let lost: Vec<_> =
            (0..SLOTS).map(|_| tokio::task::spawn_local(dying.whole(true))).collect();
        fleet.mock.until("mock-one", |stats| stats.open == SLOTS).await;
        assert_eq!(living.held_and_waiting("one").await, (SLOTS as usize, 0));
        dying.kill();
        fleet.mock.until("mock-one", |stats| stats.open == 0).await;
        dying.restart().await;
        assert_eq!(living.held_and_waiting("one").await, (0, 0));
        hold.add_permits(SLOTS as usize);
        let asked = (0..SLOTS).map(|_| living.whole(true)).collect();
        for (status, body) in together(asked).await {
            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        }
        assert_eq!(fleet.mock.stats("mock-one").open_max, SLOTS);
        lost.into_iter().for_each(|lost| lost.abort());
    });
}

/// A gateway that is stopped where it is for longer than its session has to be told so when it goes
/// on, and its requests end.
#[test]
fn when_it_is_only_stopped_it_joins_again() {
    let patience = CLAIM_WINDOW.as_ms() + SESSION.as_ms() + BEAT_MS + SLACK_MS;
    let (plan, hold) = plan(patience);
    fleet::run("stops", PROGRAM, plan, async |fleet| {
        let (stopped, living) = (fleet.gateway("stopped").await, fleet.gateway("living").await);
        let kept: Vec<_> =
            (0..SLOTS).map(|_| tokio::task::spawn_local(stopped.whole(true))).collect();
        fleet.mock.until("mock-one", |stats| stats.open == SLOTS).await;
        stopped.pause();
        // The slots count as free when the session has ended; what is still open at the upstream is
        // beyond the limit until it ends: that is the declared bound.
        let asked = (0..SLOTS).map(|_| living.whole(true)).collect();
        let asked = tokio::task::spawn_local(together(asked));
        fleet.mock.until("mock-one", |stats| stats.open > SLOTS).await;
        stopped.resume();
        hold.add_permits(2 * SLOTS as usize + 1);
        for (status, body) in asked.await.expect("no panic") {
            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        }
        for kept in kept {
            let (status, body) = kept.await.expect("no panic");
            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        }
        assert!(fleet.mock.stats("mock-one").open_max <= 2 * SLOTS);
        stopped.until_ready().await;
        fleet::until(async || living.held_and_waiting("one").await == (0, 0)).await;
        assert_eq!(stopped.whole(false).await.0, 200);
    });
}
