//! Settling: who gets a freed slot, and what becomes of a grant.

use super::*;
use crate::ledger::history::{Ending, Line, Way};

#[test]
fn the_least_tag_among_the_own_line_and_the_pools_gets_the_slot() {
    let mut store = Store::new(1, 0);
    store.holds(1, home(A), A);
    let second = store.waits(2, pool(), 1);
    let third = store.waits(3, home(A), 1);
    assert!(second < third);
    store.leave(1);
    assert_eq!(store.granted(), [2]);
    store.waits(4, pool(), 1);
    store.leave(2);
    assert_eq!(store.granted(), [3]);
    store.leave(3);
    assert_eq!(store.granted(), [4]);
}

#[test]
fn equal_tags_go_by_lease() {
    let mut store = Store::new(1, 0);
    store.holds(1, home(A), A);
    for request in [3, 2] {
        let mut enter = store.enter(request, pool());
        enter.tag = Some(Tag(5));
        store.apply(StoreOp::Enter(enter));
    }
    store.leave(1);
    assert_eq!(store.granted(), [2]);
}

#[test]
fn a_ticket_that_excludes_the_account_is_passed_over() {
    let mut store = Store::new(1, 1);
    store.holds(1, home(A), A);
    store.holds(2, home(B), B);
    store.waits(3, pool_for(MODEL, &[A]), 1);
    store.waits(4, pool(), 2);
    store.leave(1);
    assert_eq!(store.granted(), [4]);
    store.leave(2);
    assert_eq!(store.granted(), [3]);
}

#[test]
fn a_ticket_whose_model_is_closed_there_is_passed_over() {
    let mut store = Store::new(1, 1);
    store.holds(1, home(A), A);
    store.holds(2, home(B), B);
    store.waits(3, pool(), 1);
    store.waits(4, pool_for(OTHER, &[]), 2);
    store.leave_with(1, close(Scope::Model, 60));
    assert_eq!(store.granted(), [4]);
}

#[test]
fn a_pools_ticket_is_not_served_by_a_draining_account_but_the_own_line_is() {
    let mut store = Store::new(1, 1);
    store.holds(1, home(A), A);
    store.holds(2, home(B), B);
    store.waits(3, pool(), 1);
    store.waits(4, home(A), 1);
    store.health(A, HealthChange::Drain);
    store.leave(1);
    assert_eq!(store.granted(), [4]);
    store.leave(4);
    assert_eq!(store.granted(), []);
    store.health(A, HealthChange::Recover);
    assert_eq!(store.granted(), [3]);
}

#[test]
fn a_grant_that_nobody_claims_passes_on_after_three_seconds() {
    let mut store = Store::new(1, 0);
    store.holds(1, pool(), A);
    let tag = store.waits(2, pool(), 1);
    store.waits(3, pool(), 2);
    store.leave(1);
    store.now = store.now + Span(2_999_999);
    store.beat();
    assert_eq!(store.granted(), []);
    store.now = store.now + Span(1);
    store.beat();
    assert_eq!((store.granted(), store.ledger.counters().grants_passed_on), (vec![3], 1));
    let mut again = store.enter(2, pool());
    again.tag = Some(tag);
    store.apply(StoreOp::Enter(again));
    store.waits(4, pool(), 2);
    store.pass(Span::from_secs(3));
    assert_eq!(store.ledger.counters().grants_passed_on, 2);
    let waiting: Vec<u64> =
        store.ledger.view()[1].waiting.iter().map(|(lease, ..)| lease.request.0).collect();
    assert_eq!(waiting, [4], "2 stood where it had stood and has been granted");
}

/// Account A opens now for its model, behind more due entries than one operation works off;
/// requests 2, 3 and 4 wait for it in the pool's line.
fn opening_late() -> Store {
    let mut store = Store::new(2, 0);
    store.holds(1, home(A), A);
    store.leave_with(1, close(Scope::Model, 9));
    for request in 2..5 {
        store.waits(request, pool(), request as u32 - 1);
    }
    for request in 10..19 {
        let mut brief = store.enter(request, home(A));
        brief.tag = Some(Tag(1));
        brief.patience = Some(Span::from_secs(9));
        assert!(matches!(store.apply(StoreOp::Enter(brief)), StoreReply::Waiting { .. }));
    }
    store.pass(Span::from_secs(8));
    store.now = store.now + Span::from_secs(1);
    store
}

#[test]
fn nobody_takes_a_place_that_settle_would_give_to_a_lesser_tag() {
    let mut store = opening_late();
    let asked = store.ask(20, pool());
    assert_eq!(store.granted(), [2], "the least is the probe");
    assert!(matches!(asked, StoreReply::Waiting { position: 3, .. }), "{asked:?}");
}

#[test]
fn who_has_the_least_tag_takes_its_place_though_others_wait() {
    let mut store = opening_late();
    let mut first = store.enter(20, pool());
    first.tag = Some(Tag(2));
    let asked = store.apply(StoreOp::Enter(first));
    assert!(matches!(asked, StoreReply::Held { probe: true, .. }), "{asked:?}");
    assert_eq!(store.granted(), []);
}

#[test]
fn the_facts_of_a_hand_over_are_told_in_order() {
    let mut store = Store::new(1, 0);
    store.holds(1, pool(), A);
    let tag = store.waits(2, pool(), 1);
    store.facts();
    store.leave(1);
    store.holds(2, pool(), A);
    let (first, lease, gate) = (store.lease(1), store.lease(2), GateId::Account(A));
    let limit = Limit::Slots(1);
    let told = [
        Fact::Ended { lease: first, gate, how: Ending::Left },
        Fact::Unqueued { lease, line: Line::Pool(POOL) },
        Fact::Granted { lease, gate, model: MODEL, tag, way: Way::Settled, held: 1, limit },
        Fact::Left { lease: first, fence: false },
        Fact::Claimed { lease, gate },
    ];
    assert_eq!(store.facts(), told);
}
