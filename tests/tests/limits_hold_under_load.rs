//! Many clients, few slots, faults: no account ever has more open than it takes, everybody gets an
//! answer, and nothing is left behind.

use std::time::Duration;

use sluice_runtime_tokio::mock::{Behaviour, Fault};
use sluice_tests::{Plan, hello, named, run, together};

const CLIENTS: usize = 64;
const REQUESTS: usize = 6;
const SLOTS: u32 = 4;

fn behaviour(name: &str) -> Behaviour {
    let faults = vec![
        (30, Fault::Status(500, "api_error", None)),
        (30, Fault::Reset),
        (20, Fault::ErrorEvent("api_error")),
        (20, Fault::Truncate),
    ];
    Behaviour { faults, latency: Duration::from_millis(1), ..named(name) }
}

#[test]
fn no_account_has_more_open_than_it_takes() {
    let plan = Plan::default().user("alice", 1000, "").user("bob", 10, "").settings(
        // Ejections would only make the test slower.
        "[policy]\nfailures_to_eject = 1000\nserver_error_switches_max = 10\n\
         extra_wait_slots = 100\n",
    );
    let names = ["one", "two", "three"];
    let plan =
        names.into_iter().fold(plan, |plan, name| plan.account(name, SLOTS, behaviour(name), ""));
    run(plan, async |world| {
        let client = |n: usize| {
            let world = world.clone();
            let user = if n.is_multiple_of(4) { "bob" } else { "alice" };
            async move {
                let mut statuses = Vec::new();
                for request in 0..REQUESTS {
                    let mut reply = world.ask(user, &hello((n + request).is_multiple_of(2))).await;
                    statuses.push(reply.status());
                    reply.body().await;
                }
                statuses
            }
        };
        let statuses = together((0..CLIENTS).map(client).collect()).await.concat();
        assert_eq!(statuses.len(), CLIENTS * REQUESTS);
        // All three accounts may fail one request, each once: one in a thousand, give or take.
        let bad: Vec<_> = statuses.iter().filter(|&&status| status != 200).collect();
        assert!(bad.iter().all(|&&status| status == 502) && bad.len() <= 10, "{bad:?}");
        for name in ["mock-one", "mock-two", "mock-three"] {
            let stats = world.mock.stats(name);
            // That all its slots are at the upstream in the same moment is likely, but not certain.
            let used = (1..=SLOTS).contains(&stats.open_max);
            assert!(used, "{name} had {} open at once", stats.open_max);
        }
        let counters = world.store.with_ledger(|ledger| {
            assert_eq!(ledger.check_invariants(), Vec::<String>::new());
            ledger.counters()
        });
        assert_eq!((counters.over_limit, counters.leases_orphaned), (0, 0));
        world
    });
}
