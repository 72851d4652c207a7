//! `Enter`, step by step as numbered in [`crate::store::Enter`].

use super::*;

#[test]
fn step_1_a_tombstone_keeps_a_late_ask_out_for_a_minute() {
    let mut store = Store::new(1, 0);
    let lease = store.lease(1);
    store.apply(StoreOp::Leave { lease, mark: None, fence: true });
    assert_eq!(store.ask(1, pool()), StoreReply::Left);
    store.pass(Span::from_secs(59));
    assert_eq!(store.ask(1, pool()), StoreReply::Left);
    store.pass(Span::from_secs(1));
    store.holds(1, pool(), A);
}

#[test]
fn step_1_an_old_ask_reports_a_grant_without_claiming_it() {
    let mut store = Store::new(1, 0);
    store.holds(1, pool(), A);
    store.waits(2, pool(), 1);
    store.leave(1);
    let mut old = store.enter(2, home(B));
    old.ask = Ask(1);
    assert!(matches!(store.apply(StoreOp::Enter(old)), StoreReply::Waiting { position: 1, .. }));
    store.pass(Span::from_secs(3));
    assert_eq!(store.held(A), 0, "it has passed on");
}

#[test]
fn step_1_an_old_ask_reports_the_place_in_line() {
    let mut store = Store::new(1, 0);
    store.holds(1, pool(), A);
    store.waits(2, pool(), 1);
    let tag = store.waits(3, pool(), 2);
    let mut old = store.enter(3, home(B));
    old.ask = Ask(3);
    let waiting = StoreReply::Waiting { position: 2, tag, opens_in: None };
    assert_eq!(store.apply(StoreOp::Enter(old)), waiting);
}

#[test]
fn step_2_a_grant_is_claimed_by_the_next_ask_wherever_in_the_pool_it_is() {
    let mut store = Store::new(1, 1);
    store.holds(1, home(A), A);
    store.holds(2, home(B), B);
    let tag = store.waits(3, pool(), 1);
    store.leave(2);
    assert_eq!(store.granted(), [3]);
    assert_eq!(store.holds(3, pool(), B), tag);
    store.pass(Span::from_secs(30));
    assert_eq!(store.held(B), 1);
}

#[test]
fn step_2_the_tag_of_the_ask_counts() {
    let mut store = Store::new(1, 1);
    store.holds(1, pool(), A);
    let mut again = store.enter(1, pool());
    again.tag = Some(Tag(3));
    let gate = GateId::Account(A);
    let held = StoreReply::Held { gate, tag: Tag(3), probe: false };
    assert_eq!(store.apply(StoreOp::Enter(again)), held);
}

#[test]
fn step_3_a_slot_outside_the_want_is_given_up_and_handed_on_at_the_end() {
    let mut store = Store::new(1, 1);
    let tag = store.holds(1, home(A), A);
    store.waits(2, home(A), 1);
    assert_eq!(store.holds(1, home(B), B), tag, "with the lease's tag");
    assert_eq!(store.granted(), [2]);
    assert_eq!((store.held(A), store.held(B)), (1, 1));
}

#[test]
fn step_3_a_slot_that_is_usable_no_more_is_given_up_even_if_nothing_else_is_there() {
    let mut store = Store::new(1, 0);
    store.holds(1, home(A), A);
    store.health(A, HealthChange::Disable);
    assert_eq!(store.ask(1, pool()), StoreReply::Shut { opens_in: None });
    assert_eq!(store.held(A), 0);
}

#[test]
fn step_4_the_best_are_tried_in_their_order_then_the_rest_by_rank() {
    let mut store = Store::of(
        Discipline::Settle,
        &[account(A, 1), account(B, 1), AccountDef { priority: 1, ..account(AccountId(3), 1) }],
    );
    let best = [AccountId(77), AccountId(3), AccountId(3)].into_iter().collect();
    let Want::Pool { pool, model, excluded, line_max, .. } = pool() else { unreachable!() };
    store.holds(1, Want::Pool { pool, model, best, excluded, line_max }, AccountId(3));
    store.holds(2, super::pool(), A);
    store.holds(3, super::pool(), B);
    store.waits(4, super::pool(), 1);
}

#[test]
fn step_4_excluded_draining_and_foreign_accounts_take_nobody() {
    let mut store = Store::new(1, 1);
    store.holds(1, pool_for(MODEL, &[A]), B);
    assert!(matches!(store.ask(2, pool_for(MODEL, &[A])), StoreReply::Waiting { .. }));
    store.health(A, HealthChange::Drain);
    store.waits(3, pool(), 2);
    store.holds(4, home(A), A);
    assert_eq!(store.ask(5, home(AccountId(9))), StoreReply::Shut { opens_in: None });
}

#[test]
fn step_5_shut_when_nothing_opens_within_the_patience_and_the_ticket_goes() {
    let mut store = Store::new(1, 0);
    store.holds(1, pool(), A);
    store.waits(2, pool(), 1);
    store.leave_with(1, close(Scope::Account, 30));
    let mut short = store.enter(2, pool());
    short.patience = Some(Span::from_secs(29));
    let opens_in = Some(Span::from_secs(30));
    assert_eq!(store.apply(StoreOp::Enter(short)), StoreReply::Shut { opens_in });
    assert!(store.ledger.view().iter().all(|line| line.waiting.is_empty()));
    let mut exact = store.enter(2, pool());
    exact.patience = opens_in;
    let waiting = store.apply(StoreOp::Enter(exact));
    let StoreReply::Waiting { position: 1, opens_in: told, .. } = waiting else {
        panic!("{waiting:?}")
    };
    assert_eq!(told, opens_in);
    assert!(matches!(store.ask(3, pool_for(MODEL, &[A])), StoreReply::Shut { opens_in: None }));
}

#[test]
fn step_5_a_key_under_probe_lets_hope() {
    let mut store = Store::new(2, 0);
    store.holds(1, pool(), A);
    store.leave_with(1, close(Scope::Account, 1));
    store.pass(Span::from_secs(1));
    store.holds(2, pool(), A);
    let waiting = store.ask(3, pool());
    assert!(matches!(waiting, StoreReply::Waiting { opens_in: None, .. }), "{waiting:?}");
}

#[test]
fn step_6_without_a_line_it_is_full() {
    let mut store = Store::new(1, 0);
    store.holds(1, pool(), A);
    let Want::Pool { pool, model, best, excluded, .. } = pool() else { unreachable!() };
    let want = Want::Pool { pool, model, best, excluded, line_max: None };
    assert_eq!(store.ask(2, want.clone()), StoreReply::Full);
    store.waits(3, super::pool(), 1);
    assert_eq!(store.ask(3, want), StoreReply::Full);
    store.leave(1);
    assert_eq!(store.granted(), [3], "its ticket has stayed");
}

#[test]
fn step_6_a_full_line_refuses_newcomers_but_nobody_with_a_tag() {
    let mut store = Store::new(1, 1);
    store.holds(1, home(A), A);
    store.holds(9, home(B), B);
    for request in 2..5 {
        store.waits(request, home(A), request as u32 - 1);
    }
    assert_eq!(store.ask(5, home(A)), StoreReply::Full);
    let tag = store.waits(6, home(B), 1);
    assert_eq!(store.ask(6, home(A)), StoreReply::Full);
    let mut tagged = store.enter(6, home(A));
    tagged.tag = Some(tag);
    assert!(matches!(store.apply(StoreOp::Enter(tagged)), StoreReply::Waiting { position: 4, .. }));
    store.waits(3, home(A), 2);
}

#[test]
fn a_ticket_that_asks_again_has_the_patience_of_its_last_ask() {
    let mut store = Store::new(1, 0);
    store.holds(1, pool(), A);
    let tag = store.waits(2, pool(), 1);
    store.pass(Span::from_secs(50));
    assert_eq!(store.waits(2, pool(), 1), tag);
    store.pass(Span::from_secs(59));
    assert!(!store.ledger.view()[1].waiting.is_empty());
    store.pass(Span::from_secs(1));
    assert_eq!(store.ledger.view().len(), 1);
}

#[test]
fn without_patience_a_ticket_goes_at_the_next_operation() {
    let mut store = Store::new(1, 0);
    store.holds(1, pool(), A);
    let mut enter = store.enter(2, pool());
    enter.patience = None;
    assert!(matches!(store.apply(StoreOp::Enter(enter)), StoreReply::Waiting { .. }));
    store.beat();
    assert_eq!(store.ledger.view().len(), 1);
}

#[test]
fn a_users_ask_defines_its_gate_unless_an_older_roster_speaks() {
    let mut store = Store::new(1, 1);
    assert!(matches!(store.ask(1, user(1, 5)), StoreReply::Held { .. }));
    store.waits(2, user(1, 5), 1);
    store.waits(3, user(9, 4), 2);
    assert!(matches!(store.ask(4, user(3, 6)), StoreReply::Waiting { position: 1, .. }));
    assert_eq!(store.granted(), [2, 3], "raised, so settled first");
}

#[test]
fn a_users_gate_is_forgotten_with_its_last_lease_also_when_its_ask_is_shut() {
    let mut store = Store::new(1, 1);
    assert!(matches!(store.ask(1, user(1, 5)), StoreReply::Held { .. }));
    store.leave(1);
    assert!(matches!(store.ask(2, user(1, 1)), StoreReply::Held { .. }), "an older roster defines");
    store.leave(2);
    assert_eq!(store.ask(3, user(0, 2)), StoreReply::Shut { opens_in: None });
    assert_eq!(store.ledger.gates.find(GateId::User(USER)), None);
}

#[test]
fn a_users_slot_given_up_for_a_closed_gate_leaves_nothing_behind_in_either_discipline() {
    for discipline in [Discipline::Settle, Discipline::Poll] {
        let mut store = Store::of(discipline, &[account(A, 1)]);
        assert!(matches!(store.ask(1, user(1, 1)), StoreReply::Held { .. }));
        store.waits(2, user(1, 1), 1);
        store.leave(1);
        assert!(matches!(store.ask(2, user(1, 1)), StoreReply::Held { .. }));
        assert_eq!(store.ask(2, user(0, 2)), StoreReply::Shut { opens_in: None });
        assert_eq!(store.ledger.gates.find(GateId::User(USER)), None);
    }
}

#[test]
fn an_ask_with_a_later_tag_does_not_serve_its_own_ticket_first() {
    let mut store = Store::new(2, 0);
    store.holds(1, home(A), A);
    store.leave_with(1, close(Scope::Account, 5));
    store.waits(2, home(A), 1);
    for request in 10..20 {
        let mut brief = store.enter(request, pool());
        brief.patience = Some(Span::from_secs(5));
        brief.tag = Some(Tag(1));
        store.apply(StoreOp::Enter(brief));
    }
    store.now = store.now + Span::from_secs(4);
    store.beat();
    store.now = store.now + Span::from_secs(1);
    let mut later = store.enter(2, home(A));
    later.tag = Some(Tag(u64::MAX));
    assert!(matches!(store.apply(StoreOp::Enter(later)), StoreReply::Held { probe: true, .. }));
    assert_eq!((store.granted(), store.held(A)), (vec![], 1));
}

#[test]
fn polling_takes_what_is_free_and_keeps_counting_in_its_line() {
    let mut store = Store::polled(1, 0);
    store.holds(1, pool(), A);
    store.waits(2, pool(), 1);
    store.waits(3, pool(), 2);
    store.leave(1);
    assert_eq!(store.granted(), [], "nothing settles");
    store.holds(3, pool(), A);
    store.pass(Span::from_secs(60));
    store.waits(4, pool(), 2);
    store.leave(3);
    store.leave(4);
    store.holds(5, pool(), A);
    store.waits(6, pool(), 1);
}

#[test]
fn a_ttl_runs_from_the_grant() {
    let mut store = Store::new(1, 0);
    let mut first = store.enter(1, pool());
    first.ttl = Some(Span::from_secs(9));
    store.apply(StoreOp::Enter(first));
    let mut second = store.enter(2, pool());
    second.ttl = Some(Span::from_secs(7));
    store.apply(StoreOp::Enter(second));
    store.pass(Span::from_secs(9));
    assert_eq!((store.granted(), store.ledger.counters().leases_expired), (vec![2], 1));
    store.holds(2, pool(), A);
    store.pass(Span::from_secs(6));
    assert_eq!(store.held(A), 1);
    store.pass(Span::from_secs(1));
    assert_eq!((store.held(A), store.ledger.counters().leases_expired), (0, 2));
}

#[test]
fn polling_counts_in_a_line_until_the_lease_moves() {
    let mut store = Store::polled(1, 1);
    store.holds(1, home(A), A);
    store.holds(9, home(B), B);
    store.waits(2, pool(), 1);
    store.leave(1);
    store.holds(2, pool(), A);
    store.waits(3, pool(), 2);
    store.leave(9);
    store.holds(2, home(B), B);
    store.holds(4, home(A), A);
    store.waits(5, pool(), 2);
}

#[test]
fn step_1_a_tombstone_that_is_not_swept_yet_ends_in_time_all_the_same() {
    let mut store = Store::new(1, 0);
    let lease = store.lease(1);
    store.apply(StoreOp::Leave { lease, mark: None, fence: true });
    store.pass(Span::from_secs(59));
    store.now = store.now + Span(999_999);
    assert_eq!(store.ask(1, pool()), StoreReply::Left);
    store.now = store.now + Span(1);
    store.holds(1, pool(), A);
}
