//! Gateways as processes of their own that name one Redis: limits count for all of them together, and
//! scripts that Redis has forgotten are sent again.

use std::time::Duration;

use sluice_runtime_tokio::mock::Behaviour;
use sluice_tests::fleet::{self, Fleet, FleetPlan};
use sluice_tests::{named, together};

const PROGRAM: &str = env!("CARGO_BIN_EXE_sluice-under-test");
const SLOTS: u32 = 3;

fn plan() -> FleetPlan {
    let quick = Behaviour { latency: Duration::from_millis(2), ..named("one") };
    // Machines that run tests are busy.
    FleetPlan::default().account("one", SLOTS, quick).settings("[redis]\ntimeout_ms = 5000\n")
}

async fn all_are_answered(fleet: &Fleet, gateways: [&fleet::Gateway; 2], count: usize) {
    let before = fleet.mock.stats("mock-one").requests;
    let asked = (0..count).map(|n| gateways[n % 2].whole(n.is_multiple_of(3)));
    for (status, body) in together(asked.collect()).await {
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    }
    assert_eq!(fleet.mock.stats("mock-one").requests - before, count as u64);
}

#[test]
fn a_limit_counts_for_all_together() {
    fleet::run("share", PROGRAM, plan(), async |fleet| {
        let (left, right) = (fleet.gateway("left").await, fleet.gateway("right").await);
        all_are_answered(&fleet, [&left, &right], 60).await;
        assert_eq!(fleet.mock.stats("mock-one").open_max, SLOTS);
    });
}

#[test]
fn forgotten_scripts_are_sent_again() {
    fleet::run("script-flush", PROGRAM, plan(), async |fleet| {
        let (left, right) = (fleet.gateway("left").await, fleet.gateway("right").await);
        let asked = (0..60).map(|n| [&left, &right][n % 2].whole(true));
        let asked = tokio::task::spawn_local(together(asked.collect()));
        for wanted in [10, 20, 30] {
            fleet.mock.until("mock-one", |stats| stats.requests >= wanted).await;
            fleet.redis.ask(&["SCRIPT", "FLUSH"]);
        }
        assert!(asked.await.expect("no panic").iter().all(|(status, _)| *status == 200));
        assert_eq!(fleet.mock.stats("mock-one").open_max, SLOTS);
    });
}
