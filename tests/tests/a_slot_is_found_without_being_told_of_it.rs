//! A gateway that hears nothing of grants: a slot that is free for a request of it is used as soon as the
//! request looks again, which is within the cap of its back-off.

use std::rc::Rc;
use std::time::Duration;

use sluice_engine::Policy;
use sluice_runtime_tokio::mock::Behaviour;
use sluice_storage::redis::protocol::Script;
use sluice_tests::fleet::{self, FleetPlan, Stopwatch};
use sluice_tests::named;
use sluice_tests::road::{Grants, Road};
use tokio::sync::Semaphore;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sluice-under-test");
/// What a busy machine may take longer; less than from the cap to when a grant passes on, so that nothing
/// else is seen.
const SLACK: Duration = Duration::from_millis(900);
/// After so many looks, of which two are its first, the next one is as late as it ever is.
const LOOKS: usize = 10;

fn enters(road: &Road) -> usize {
    road.of_requests().iter().filter(|script| **script == Script::Enter).count()
}

fn while_grants_are(grants: Grants, listening: usize) {
    let hold = Rc::new(Semaphore::new(0));
    let held = Behaviour { hold: Some(hold.clone()), ..named("one") };
    // It waits at its session's home to the end: in another line it would look sooner again.
    let settings = "[redis]\ntimeout_ms = 5000\n[policy]\nsticky_patience_ms = 60000\n";
    let plan = FleetPlan::default().account("one", 1, held).settings(settings);
    fleet::run(&format!("grants-{grants:?}"), PROGRAM, plan, async |fleet| {
        let (road, begin) = Road::to(&fleet.redis).await;
        let left = fleet.gateway("left").await;
        let right = fleet.gateway_at("right", &format!("redis://{begin}")).await;
        road.grants(grants);
        // At its start a gateway runs every script once.
        let looks = {
            let before = enters(&road);
            let road = road.clone();
            move || enters(&road) - before
        };
        let holds = tokio::task::spawn_local(left.whole(true));
        fleet.mock.until("mock-one", |stats| stats.open == 1).await;
        let waits = tokio::task::spawn_local(right.whole(true));
        fleet::until(async || looks() >= LOOKS).await;
        let listens = fleet.redis.ask(&["PUBSUB", "CHANNELS", "*grant:*"]);
        assert_eq!(listens.lines().count(), listening, "{listens}");
        let (looked, untold) = (looks(), road.untold());
        hold.add_permits(1);
        assert_eq!(holds.await.expect("no panic").0, 200);
        let free = Stopwatch::start();
        fleet.mock.until("mock-one", |stats| stats.requests == 2).await;
        eprintln!("used after {:?}", free.shows());
        assert!(free.shows() <= cap() + SLACK, "{:?}", free.shows());
        // One look may have come while the slot was given back.
        assert!(looks() - looked <= 2);
        assert_eq!(road.untold() > untold, grants == Grants::Untold, "it would have been told");
        hold.add_permits(1);
        assert_eq!(waits.await.expect("no panic").0, 200);
        assert_eq!(fleet.mock.stats("mock-one").open_max, 1);
    });
}

fn cap() -> Duration {
    Duration::from_micros(Policy::default().backoff_max.0)
}

#[test]
fn when_their_connection_is_cut() {
    while_grants_are(Grants::Cut, 1);
}

#[test]
fn when_nothing_comes_on_their_connection() {
    while_grants_are(Grants::Untold, 2);
}
