//! What a request costs the store that gateways share: two awaited round trips before it is forwarded,
//! none once its answer has begun; and an idle stream nothing at all.
//!
//! `SLUICE_IDLE_STREAMS` (200) is how many idle streams there are.

use std::collections::BTreeMap;
use std::time::Duration;

use sluice_runtime_tokio::mock::Behaviour;
use sluice_storage::redis::protocol::Script;
use sluice_test_redis::Server;
use sluice_tests::fleet::{self, FleetPlan, Stopwatch};
use sluice_tests::road::Road;
use sluice_tests::{named, together};
use tokio::time::sleep;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sluice-under-test");

#[test]
fn before_it_is_forwarded_and_not_once_afterwards() {
    // Longer than answers are kept back.
    let plan = FleetPlan::default().account("one", 3, named("one"));
    let plan = plan.settings("[redis]\ntimeout_ms = 60000\n");
    fleet::run("round-trips", PROGRAM, plan, async |fleet| {
        let (road, begin) = Road::to(&fleet.redis).await;
        let gateway = fleet.gateway_at("one", &format!("redis://{begin}")).await;
        for stream in [false, true] {
            let before = fleet.mock.stats("mock-one").requests;
            road.arm();
            let answer = tokio::task::spawn_local(gateway.whole(stream));
            road.until_asked(2).await;
            assert_eq!(fleet.mock.stats("mock-one").requests, before);
            road.let_go();
            road.until_asked(3).await;
            assert_eq!(fleet.mock.stats("mock-one").requests, before);
            assert_eq!(road.of_requests(), [Script::Enter, Script::Survey, Script::Enter]);
            road.let_go();
            fleet.mock.until("mock-one", |stats| stats.requests == before + 1).await;
            // From here on nothing of what it asks is answered.
            let (status, body) = answer.await.expect("no panic");
            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
            road.until_asked(6).await;
            let asked = road.of_requests();
            // Its session is bound meanwhile, which nothing waits for either.
            assert_eq!(asked[3..], [Script::Session, Script::Leave, Script::Leave], "{asked:?}");
            road.open();
        }
    });
}

/// The commands that three beats of a gateway take, each with a reap, and whatever else comes meanwhile.
async fn calls_of_beats(redis: &Server) -> BTreeMap<String, u64> {
    // Who has just been served may still have something to say. Between two beats there is a second
    // of silence.
    let mut before = redis.calls();
    fleet::until(async || {
        sleep(Duration::from_secs(1)).await;
        let now = redis.calls();
        std::mem::replace(&mut before, now.clone()) == now
    })
    .await;
    let (scripts, begun) = (redis.scripts_run(), Stopwatch::start());
    fleet::until(async || redis.scripts_run() >= scripts + 6).await;
    // Were there more, it would have been sooner: beats come every three seconds.
    assert!(begun.shows() > Duration::from_secs(5), "{:?}", begun.shows());
    let mut calls = redis.calls();
    for (name, count) in before {
        calls.entry(name).and_modify(|calls| *calls -= count);
    }
    calls.retain(|_, count| *count > 0);
    eprintln!("{calls:?}");
    calls
}

#[test]
fn idle_streams_add_nothing_to_the_beat() {
    let streams = std::env::var("SLUICE_IDLE_STREAMS").ok().and_then(|text| text.parse().ok());
    let streams: u32 = streams.unwrap_or(200);
    let idle = Behaviour { pace: Duration::from_secs(3600), ..named("one") };
    let plan = FleetPlan::default().account("one", streams, idle);
    let plan = plan.settings("[redis]\ntimeout_ms = 5000\n");
    fleet::run("idle", PROGRAM, plan, async |fleet| {
        let gateway = fleet.gateway("one").await;
        let alone = calls_of_beats(&fleet.redis).await;
        let asked = (0..streams).map(|_| gateway.ask(true));
        let mut replies = together(asked.collect()).await;
        for reply in &mut replies {
            assert_eq!(reply.status(), 200);
            assert!(reply.chunk().await.is_some(), "its answer begins");
        }
        assert_eq!(calls_of_beats(&fleet.redis).await, alone);
        assert_eq!(fleet.mock.stats("mock-one").open, streams);
    });
}
