//! The store answers late, never, twice, or too late: requests are served or told to come back, no
//! account has more open than it takes, and in the end nothing is left behind.

use sluice_engine::Span;
use sluice_engine::rng::Seed;
use sluice_runtime_tokio::mock::Behaviour;
use sluice_storage::fate::Rates;
use sluice_storage::{FaultyStore, MemoryStore};
use sluice_tests::{Plan, hello, named, run_on, together};

const SLOTS: u32 = 3;

fn rates() -> Rates {
    Rates {
        refused: 30,
        lost: 30,
        late: 20,
        twice: 50,
        timeout: Span::from_ms(20),
        late_max: Span::from_ms(60),
        ..Rates::healthy(Span::from_ms(3))
    }
}

#[test]
fn every_request_gets_an_answer_within_the_limits() {
    let quick = |name| Behaviour { latency: std::time::Duration::from_millis(2), ..named(name) };
    let plan = Plan::default()
        .user("alice", 20, "")
        .account("one", SLOTS, quick("one"), "")
        .account("two", SLOTS, quick("two"), "");
    let store = |start| FaultyStore::new(MemoryStore::new(start), start, Seed(3), rates());
    run_on(plan, store, async |world| {
        let client = |n: usize| {
            let world = world.clone();
            async move {
                let mut statuses = Vec::new();
                for request in 0..4 {
                    let mut reply =
                        world.ask("alice", &hello((n + request).is_multiple_of(2))).await;
                    statuses.push(reply.status());
                    reply.body().await;
                }
                statuses
            }
        };
        let statuses = together((0..16).map(client).collect()).await.concat();
        let served = statuses.iter().filter(|&&status| status == 200).count();
        assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
        assert!(served > statuses.len() / 2, "{statuses:?}");
        for name in ["mock-one", "mock-two"] {
            assert!(world.mock.stats(name).open_max <= SLOTS, "{name}");
        }
        let broken = world.store.inner().with_ledger(|ledger| ledger.check_invariants());
        assert_eq!(broken, Vec::<String>::new());
        world
    });
}
