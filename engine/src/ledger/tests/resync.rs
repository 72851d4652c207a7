//! `Resync`: what a node really has.

use super::*;
use crate::store::{HeldLease, Resync, WaitingLease};

fn resync(store: &Store, as_of: u64) -> Resync {
    let (node, ask) = (store.node, Ask(store.asks + 1));
    let as_of = Ask(as_of);
    Resync { node, ask, as_of, busy: vec![], held: vec![], waiting: vec![], last: true }
}

fn held(lease: LeaseId, account: AccountId) -> HeldLease {
    let gate = GateId::Account(account);
    HeldLease { lease, gate, limit: None, model: MODEL, tag: Tag(77), ttl: None }
}

fn waiting(lease: LeaseId, want: Want, tag: Tag) -> WaitingLease {
    WaitingLease { lease, want, tag, patience: Span::from_secs(60), ttl: None }
}

fn send(store: &mut Store, resync: Resync) {
    store.asks = store.asks.max(resync.ask.0);
    assert_eq!(store.apply(StoreOp::Resync(resync)), StoreReply::Done);
}

#[test]
fn what_is_listed_as_held_is_entered_over_the_limit_and_counted() {
    let mut store = Store::new(1, 0);
    store.holds(1, pool(), A);
    let mut list = resync(&store, 0);
    list.held = vec![held(store.lease(2), A)];
    send(&mut store, list);
    assert_eq!((store.held(A), store.ledger.counters().over_limit), (2, 1));
    store.waits(3, pool(), 1);
    store.leave(1);
    assert_eq!(store.granted(), [], "one is still held");
    store.leave(2);
    assert_eq!(store.granted(), [3]);
}

#[test]
fn an_unknown_account_that_is_held_is_recorded_closed() {
    let mut store = Store::new(1, 0);
    let unknown = AccountId(9);
    let mut list = resync(&store, 0);
    list.held = vec![held(store.lease(1), unknown)];
    store.facts();
    send(&mut store, list);
    let gate = GateId::Account(unknown);
    let limited = Fact::Limited { gate, limit: Limit::Closed };
    assert!(store.facts().contains(&limited));
    assert_eq!(store.held(unknown), 1);
    store.leave(1);
    assert!(store.ledger.view().is_empty());
}

#[test]
fn what_is_listed_elsewhere_is_given_up_there_and_hands_that_on() {
    let mut store = Store::new(1, 1);
    store.holds(1, home(A), A);
    store.waits(2, home(A), 1);
    let mut list = resync(&store, 0);
    list.held = vec![held(store.lease(1), B)];
    send(&mut store, list);
    assert_eq!((store.held(A), store.held(B)), (1, 1));
    assert_eq!(store.granted(), [2]);
}

#[test]
fn a_listed_grant_is_claimed_where_it_is_and_a_probe_stays_one() {
    let mut store = Store::new(1, 0);
    store.holds(1, pool(), A);
    store.leave_with(1, close(Scope::Account, 5));
    store.waits(2, pool(), 1);
    store.pass(Span::from_secs(5));
    let mut list = resync(&store, store.asks);
    list.held = vec![held(store.lease(2), A)];
    send(&mut store, list);
    store.pass(Span::from_secs(4));
    assert_eq!(store.held(A), 1, "it has been claimed");
    store.leave_with(2, Some(Mark::Ok));
    store.holds(3, pool(), A);
}

#[test]
fn a_listed_ticket_moves_whatever_the_line_says() {
    let mut store = Store::new(1, 1);
    store.holds(1, home(A), A);
    store.holds(2, home(B), B);
    for request in 3..6 {
        store.waits(request, home(A), request as u32 - 2);
    }
    let tag = store.waits(6, home(B), 1);
    let mut list = resync(&store, 0);
    list.waiting = vec![waiting(store.lease(6), home(A), tag)];
    send(&mut store, list);
    store.leave(2);
    assert_eq!(store.granted(), []);
    store.leave(1);
    assert_eq!(store.granted(), [3]);
    assert_eq!(store.ledger.view()[0].waiting.len(), 3);
}

#[test]
fn a_listed_ticket_of_an_unlisted_pool_waits_on() {
    let mut store = Store::new(1, 0);
    store.holds(1, pool(), A);
    let tag = store.waits(2, pool(), 1);
    store.version += 1;
    let define = Define {
        version: Version { stamp: store.version, digest: 0 },
        discipline: Discipline::Settle,
        health: HealthRules::default(),
        accounts: vec![account(A, 1)],
        pools: vec![],
    };
    store.apply(StoreOp::Define(define));
    let mut list = resync(&store, 0);
    list.waiting = vec![
        waiting(store.lease(2), pool(), tag),
        waiting(
            store.lease(3),
            Want::Pool {
                pool: PoolId(99),
                model: MODEL,
                best: Default::default(),
                excluded: vec![],
                line_max: Some(0),
            },
            Tag(1),
        ),
        waiting(store.lease(4), home(AccountId(99)), Tag(2)),
    ];
    send(&mut store, list);
    assert_eq!(store.ledger.view().iter().map(|line| line.waiting.len()).sum::<usize>(), 3);
    store.define(&[account(A, 2)]);
    assert_eq!(store.granted(), [2], "its pool is back and has room");
}

#[test]
fn what_waits_in_the_list_but_is_held_stays_held() {
    let mut store = Store::new(1, 0);
    let tag = store.holds(1, pool(), A);
    let mut list = resync(&store, 0);
    list.waiting = vec![waiting(store.lease(1), home(B), tag)];
    send(&mut store, list);
    assert_eq!(store.held(A), 1);
}

#[test]
fn an_orphan_is_left_at_the_last_call_and_a_newer_or_busy_lease_is_not() {
    let mut store = Store::new(9, 0);
    for request in 1..=3 {
        store.holds(request, pool(), A);
    }
    let as_of = store.asks;
    store.holds(4, pool(), A);
    let mut list = resync(&store, as_of);
    list.busy = vec![store.lease(2)];
    list.held = vec![held(store.lease(3), A)];
    list.last = false;
    send(&mut store, list);
    assert_eq!(store.held(A), 4, "the pass is not over");
    let list = resync(&store, as_of);
    store.facts();
    send(&mut store, list);
    assert_eq!((store.held(A), store.ledger.counters().leases_orphaned), (3, 1));
    let orphan = store.lease(1);
    let gate = GateId::Account(A);
    let ended = Fact::Ended { lease: orphan, gate, how: super::super::history::Ending::Orphaned };
    assert!(store.facts().contains(&ended));
}

#[test]
fn a_busy_lease_whose_first_ask_arrives_during_the_pass_is_spared() {
    let mut store = Store::new(9, 0);
    let late = store.enter(1, pool());
    let as_of = store.asks;
    let mut list = resync(&store, as_of);
    list.busy = vec![store.lease(1)];
    list.last = false;
    send(&mut store, list);
    store.apply(StoreOp::Enter(late));
    let list = resync(&store, as_of);
    send(&mut store, list);
    assert_eq!(store.held(A), 1);
}

#[test]
fn a_tombstone_and_a_newer_ask_keep_a_listed_lease_as_it_is() {
    let mut store = Store::new(9, 0);
    let lease = store.lease(1);
    store.apply(StoreOp::Leave { lease, mark: None, fence: true });
    store.asks = 10;
    store.holds(2, pool(), A);
    let mut list = resync(&store, 0);
    list.ask = Ask(5);
    list.held = vec![held(lease, A), held(store.lease(2), B)];
    send(&mut store, list);
    assert_eq!((store.held(A), store.held(B)), (1, 0));
}

#[test]
fn leases_of_other_nodes_and_repetitions_in_a_list_change_nothing() {
    let mut store = Store::new(9, 0);
    let other = store.join("two", None, false);
    let stranger = LeaseId { node: other, ..store.lease(1) };
    let mut list = resync(&store, 0);
    list.held = vec![held(stranger, A), held(store.lease(2), A), held(store.lease(2), B)];
    send(&mut store, list);
    assert_eq!((store.held(A), store.held(B)), (1, 0));
}

#[test]
fn a_resynced_lease_is_stale_for_every_closing_there_has_been_and_leaves_the_order_alone() {
    let mut store = Store::new(9, 0);
    store.holds(1, pool(), A);
    store.leave_with(1, close(Scope::Account, 5));
    store.pass(Span::from_secs(5));
    let assigned = store.survey().best[0].last_assigned;
    let mut list = resync(&store, 0);
    list.held = vec![held(store.lease(2), A)];
    send(&mut store, list);
    assert_eq!(store.survey().best[0].last_assigned, assigned);
    store.leave_with(2, Some(Mark::Ok));
    store.holds(3, pool(), A);
    assert!(store.survey().best.is_empty(), "still half-open, and 3 is its probe");
}

#[test]
fn a_held_users_slot_without_a_limit_leaves_a_known_limit_alone() {
    let mut store = Store::new(1, 1);
    assert!(matches!(store.ask(1, user(2, 0)), StoreReply::Held { .. }));
    let gate = GateId::User(USER);
    let mut list = resync(&store, 0);
    list.held = vec![HeldLease { gate, ..held(store.lease(2), A) }];
    send(&mut store, list);
    assert_eq!(store.ledger.held(gate), 2);
    store.leave(1);
    assert!(matches!(store.ask(3, user(9, 0)), StoreReply::Held { .. }));
}

#[test]
fn orphans_and_raised_limits_are_settled_at_the_end_only() {
    let mut store = Store::new(1, 1);
    store.holds(1, home(A), A);
    store.waits(2, home(A), 1);
    let list = resync(&store, store.asks);
    send(&mut store, list);
    assert_eq!(store.granted(), [], "2 is an orphan, too");

    assert!(matches!(store.ask(3, user(1, 5)), StoreReply::Held { .. }));
    let tag = store.waits(4, user(1, 5), 1);
    let limit = Some((Limit::Slots(2), Version { stamp: 6, digest: 0 }));
    let gate = GateId::User(USER);
    let mut list = resync(&store, 0);
    list.held = [3, 5].map(|n| HeldLease { gate, limit, ..held(store.lease(n), A) }).to_vec();
    list.waiting = vec![waiting(store.lease(4), user(1, 6), tag)];
    send(&mut store, list);
    assert_eq!((store.granted(), store.ledger.held(gate)), (vec![], 2));
}

#[test]
fn the_want_of_a_listed_ticket_sets_its_users_limit_also_when_it_is_held() {
    let mut store = Store::new(1, 1);
    let StoreReply::Held { tag, .. } = store.ask(1, user(1, 5)) else { panic!("there is room") };
    store.waits(2, user(1, 5), 1);
    let mut list = resync(&store, 0);
    list.waiting = vec![waiting(store.lease(1), user(2, 6), tag)];
    send(&mut store, list);
    assert_eq!(store.granted(), [2]);
}

#[test]
fn a_lease_that_was_listed_stays_spared_when_it_comes_back_during_the_pass() {
    let mut store = Store::new(9, 0);
    let late = store.enter(1, pool());
    let as_of = store.asks;
    let mut list = resync(&store, as_of);
    list.held = vec![held(store.lease(1), A)];
    list.last = false;
    send(&mut store, list);
    store.leave(1);
    store.apply(StoreOp::Enter(late));
    let list = resync(&store, as_of);
    send(&mut store, list);
    assert_eq!(store.held(A), 1);
}

#[test]
fn a_resynced_lease_tells_of_failures_where_nothing_has_closed_yet() {
    let mut store = Store::new(9, 0);
    let failures = u64::from(HealthRules::default().failures_to_eject);
    let mut list = resync(&store, 0);
    list.held = (1..=failures).map(|n| held(store.lease(n), A)).collect();
    send(&mut store, list);
    for request in 1..=failures {
        assert_eq!(store.survey().opens_in, None);
        store.leave_with(request, Some(Mark::Failed(Scope::Account)));
    }
    assert!(store.survey().opens_in.is_some());

    let mut store = Store::new(9, 0);
    let mut list = resync(&store, 0);
    list.held = vec![held(store.lease(1), A)];
    send(&mut store, list);
    store.leave_with(1, Some(Mark::Quarantine));
    assert!(store.survey().opens_in.is_some());
}

#[test]
fn a_lease_that_is_listed_where_it_is_keeps_its_slot_and_its_proof() {
    let mut store = Store::new(2, 0);
    store.holds(1, pool(), A);
    store.leave_with(1, close(Scope::Account, 5));
    store.pass(Span::from_secs(5));
    store.holds(2, pool(), A);
    store.waits(3, pool(), 1);
    store.waits(4, pool(), 2);
    let mut list = resync(&store, store.asks);
    list.held = vec![held(store.lease(2), A)];
    list.busy = vec![store.lease(3), store.lease(4)];
    store.facts();
    send(&mut store, list);
    assert_eq!((store.facts(), store.granted()), (vec![], vec![]));
    store.leave_with(2, Some(Mark::Ok));
    assert_eq!(store.granted(), [3, 4], "it was the probe all along");
}

#[test]
fn what_four_passes_have_listed_is_remembered() {
    let mut store = Store::new(9, 0);
    store.holds(1, pool(), A);
    let first = store.asks;
    for pass in 0..4 {
        let mut list = resync(&store, first + pass);
        list.busy = if pass == 0 { vec![store.lease(1)] } else { vec![] };
        list.last = false;
        send(&mut store, list);
    }
    let list = resync(&store, first);
    send(&mut store, list);
    assert_eq!(store.held(A), 1, "the first pass has listed it");
}
