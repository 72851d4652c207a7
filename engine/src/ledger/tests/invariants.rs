//! A ledger that has been spoilt is found out.

use super::*;
use crate::ledger::Lease;
use crate::ledger::gate::{Gate, Hot, LineIx};

/// Requests 1 and 2 hold A's slots, 3 waits for it, 4 for the pool; B is full, and its other model
/// half-open with request 6 as its probe.
fn busy() -> Store {
    let mut store = Store::new(2, 2);
    for request in [1, 2] {
        store.holds(request, home(A), A);
    }
    let model = OTHER;
    store.holds(5, home(B), B);
    store.holds(6, Want::Gate { account: B, model, line_max: 3 }, B);
    store.leave_with(6, close(Scope::Model, 1));
    store.pass(Span::from_secs(1));
    store.holds(6, Want::Gate { account: B, model, line_max: 3 }, B);
    store.waits(3, home(A), 1);
    store.waits(4, pool(), 1);
    store
}

/// What is wrong once it has been spoilt like this.
fn wrong(spoil: impl FnOnce(&mut Store)) -> Vec<String> {
    let mut store = busy();
    assert_eq!(store.ledger.check_invariants(), Vec::<String>::new());
    spoil(&mut store);
    store.ledger.check_invariants()
}

fn found(wrong: &[String], what: &str) -> bool {
    wrong.iter().any(|complaint| complaint.contains(what))
}

fn hot(store: &mut Store, account: AccountId) -> &mut Hot {
    let ix = store.ledger.gates.find(GateId::Account(account)).expect("it is listed");
    &mut store.ledger.gates.hot[ix as usize]
}

fn gate(store: &mut Store, account: AccountId) -> &mut Gate {
    let ix = store.ledger.gates.find(GateId::Account(account)).expect("it is listed");
    store.ledger.gates.gate_mut(ix)
}

fn lease(store: &mut Store, request: u64) -> &mut Lease {
    let id = store.lease(request);
    let node = store.ledger.nodes.get_mut(&id.node).expect("it lives");
    node.leases.get_mut(&(id.request, id.attempt)).expect("it is known")
}

#[test]
fn a_lease_that_has_nothing_or_both_is_noticed() {
    let nothing = wrong(|store| lease(store, 3).line = None);
    assert!(found(&nothing, "has nothing"), "{nothing:?}");
    let both = wrong(|store| {
        let slot = lease(store, 1).slot;
        lease(store, 3).slot = slot;
    });
    assert!(found(&both, "a slot and a ticket"), "{both:?}");
}

#[test]
fn a_wrong_count_is_noticed() {
    let held = wrong(|store| hot(store, A).held += 1);
    assert!(found(&held, "counts 3 held, leases say 2"), "{held:?}");
    let waiting = wrong(|store| hot(store, A).waiting += 1);
    assert!(found(&waiting, "miscounts its line"), "{waiting:?}");
}

#[test]
fn a_ticket_without_a_lease_and_a_lease_without_a_ticket_are_noticed() {
    let more = |pool: bool| {
        wrong(|store| {
            let gates = &store.ledger.gates;
            let line = if pool {
                LineIx::Pool(gates.find_pool(POOL).expect("it is listed"))
            } else {
                LineIx::Gate(gates.find(GateId::Account(A)).expect("it is listed"))
            };
            let stranger = store.lease(99);
            store.ledger.gates.enqueue(line, Tag(1), stranger);
        })
    };
    for wrong in [more(false), more(true)] {
        assert!(found(&wrong, "a ticket that nobody has"), "{wrong:?}");
    }
    let less = wrong(|store| {
        let ticket = lease(store, 3).tag;
        gate(store, A).line.retain(|(tag, _)| *tag != ticket);
    });
    assert!(found(&less, "is not in its line"), "{less:?}");
}

#[test]
fn a_due_list_that_has_more_or_less_is_noticed() {
    let less = wrong(|store| store.ledger.due.clear());
    assert!(found(&less, "is not on the due list"), "{less:?}");
    let more = wrong(|store| {
        let stranger = store.lease(99);
        store.ledger.due.insert((Time(u64::MAX), stranger));
    });
    assert!(found(&more, "holds what is not due"), "{more:?}");
}

#[test]
fn an_account_and_a_pool_that_do_not_know_each_other_are_noticed() {
    let member = wrong(|store| gate(store, A).pools.clear());
    assert!(found(&member, "a member does not know"), "{member:?}");
    let pool = wrong(|store| {
        let pool = store.ledger.gates.find_pool(POOL).expect("it is listed");
        store.ledger.gates.pool_mut(pool).members.pop();
    });
    assert!(found(&pool, "a pool that does not know it"), "{pool:?}");
}

#[test]
fn a_probe_without_a_slot_of_the_account_is_noticed() {
    for stranger in [1, 3, 99] {
        let probe = wrong(|store| {
            let id = store.lease(stranger);
            let key = gate(store, B).health.key_mut(Some(OTHER)).expect("it has been closed");
            key.probe = Some(id);
        });
        assert!(found(&probe, "I13"), "{probe:?}");
    }
}

#[test]
fn openings_that_are_not_closings_are_noticed_and_the_other_way_round() {
    let more = wrong(|store| {
        store.ledger.openings.insert((store.now + Span(1), A, None));
    });
    assert!(found(&more, "an opening without a closing"), "{more:?}");
    let less = wrong(|store| {
        let later = store.now + Span(1);
        gate(store, A).health.account.closed_until = later;
    });
    assert!(found(&less, "is not on the list"), "{less:?}");
}

#[test]
fn room_that_is_left_while_a_ticket_waits_for_it_is_noticed() {
    let own = wrong(|store| hot(store, A).limit = Limit::Slots(3));
    assert!(found(&own, "I5"), "{own:?}");
    let pool = wrong(|store| hot(store, B).limit = Limit::Slots(3));
    assert!(found(&pool, "I5"), "{pool:?}");
}
