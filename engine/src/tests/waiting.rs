//! How a wait ends, whose fault that was, and what the trail tells of it.

use super::world::{Road, World, roster};
use crate::store::{Limit, StoreFault, StoreOp, StoreReply};
use crate::trail::{Decision, Passed};
use crate::{AccountId, Attempt, Event, GateId, Outcome, Policy, Span, UserId, Verdict};

const ONE: Limit = Limit::Slots(1);
const SECS_30: Span = Span::from_secs(30);

const fn is_enter(op: &StoreOp) -> bool {
    matches!(op, StoreOp::Enter(_))
}

const fn is_survey(op: &StoreOp) -> bool {
    matches!(op, StoreOp::Survey { .. })
}

/// A request that has its user's slot and the pool's survey, and whose ask for an account is kept.
fn asking(policy: Policy) -> (World, crate::RequestId) {
    let mut w = World::new(policy, &[ONE, ONE]);
    w.out.road = Road::Held;
    let r = w.arrive();
    let (user, survey) = (w.take(is_enter), w.take(is_survey));
    w.deliver_one(user);
    w.deliver_one(survey);
    assert!(w.out.ops.iter().any(|(_, op)| is_enter(op)));
    (w, r)
}

#[test]
fn who_stood_in_line_when_the_store_failed_ends_by_the_stores_fault() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let (_runs, waits) = (w.arrive(), w.arrive());
    w.pass(Span::from_secs(20));
    w.out.road = Road::Broken(StoreFault::Refused);
    w.pass(Span::from_secs(10));
    assert_eq!(w.verdict(waits), Some(Verdict::StoreUnavailable));
}

#[test]
fn who_stood_in_line_after_a_fault_ends_by_the_wait() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let _runs = w.arrive();
    w.out.road = Road::Broken(StoreFault::Refused);
    let waits = w.arrive();
    w.out.road = Road::Open;
    w.pass(Span::from_secs(31));
    assert_eq!(w.verdict(waits), Some(Verdict::AccountWaitTimeout));
}

#[test]
fn a_store_that_has_said_nothing_until_the_end_is_at_fault() {
    let (mut w, r) = asking(Policy::fair());
    w.out.ops.retain(|(_, op)| is_enter(op));
    w.pass(SECS_30);
    assert_eq!(w.verdict(r), Some(Verdict::StoreUnavailable));
}

#[test]
fn a_fault_while_surveying_is_remembered_until_the_store_says_wait() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    w.out.road = Road::Held;
    let r = w.arrive();
    let (user, (survey, _)) = (w.take(is_enter), w.take(is_survey));
    w.deliver_one(user);
    w.answer(survey, Err(StoreFault::Refused));
    w.pass(Span::from_ms(100));
    let survey = w.take(is_survey);
    w.deliver_one(survey);
    assert!(w.out.ops.iter().any(|(_, op)| is_enter(op)), "it asks for the account");
    w.pass(SECS_30);
    assert_eq!(w.verdict(r), Some(Verdict::StoreUnavailable));
}

#[test]
fn the_last_failure_is_told_if_the_time_ends_while_the_next_slot_is_asked_for() {
    let policy = Policy { failover_time_max: Span::from_secs(1), ..Policy::fair() };
    let mut w = World::new(policy, &[ONE, ONE]);
    let r = w.arrive();
    let failed = Outcome::ServerError { status: 502 };
    w.out.road = Road::Held;
    w.end(r, failed);
    w.pass(Span::from_secs(1));
    let (account, attempt) = (AccountId(1), Attempt(1));
    let told = Some(Verdict::Upstream { account, attempt, outcome: failed });
    assert_eq!(w.verdict(r), told);
}

#[test]
fn surveys_that_fail_after_a_wait_are_the_stores_fault() {
    let mut w = World::apart(Policy::fair(), roster(1, ONE, &[ONE]));
    w.tick();
    w.tick();
    let (runs, waits) = (w.arrive(), w.arrive());
    w.end(runs, Outcome::Completed);
    w.out.road = Road::Held;
    w.hint();
    let user = w.take(is_enter);
    w.deliver_one(user);
    let (survey, _) = w.take(is_survey);
    w.out.road = Road::Broken(StoreFault::Refused);
    w.answer(survey, Err(StoreFault::Refused));
    w.pass(SECS_30);
    assert_eq!(w.verdict(waits), Some(Verdict::StoreUnavailable));
}

#[test]
fn a_slot_that_cannot_be_used_for_want_of_belief_ends_by_the_stores_fault() {
    // Belief ends six seconds after the joining, the session ten.
    let policy = Policy { fallback_patience: Span::from_secs(3), ..Policy::fair() };
    let mut w = World::new(policy, &[ONE]);
    w.out.road = Road::Held;
    w.pass(Span::from_secs(6));
    assert!(!w.engine.ready(w.now));
    let r = w.arrive();
    let end = w.now + Span::from_secs(3);
    while w.now < end {
        // Everything is answered but the beats.
        w.out.ops.retain(|(_, op)| !matches!(op, StoreOp::Beat { .. }));
        while w.out.ops.iter().any(|(_, op)| !matches!(op, StoreOp::Beat { .. })) {
            let op = w.take(|op| !matches!(op, StoreOp::Beat { .. }));
            w.deliver_one(op);
        }
        w.pass(Span::from_ms(500));
    }
    assert!(w.out.forwarded.is_empty());
    assert_eq!(w.verdict(r), Some(Verdict::StoreUnavailable));
}

#[test]
fn nonsense_from_the_store_is_the_stores_fault() {
    let held = |gate| StoreReply::Held { gate, tag: crate::Tag(1), probe: false };
    let mut w = World::new(Policy::fair(), &[ONE]);
    w.out.road = Road::Held;
    let r = w.arrive();
    let (call, _) = w.take(is_enter);
    w.answer(call, Ok(held(GateId::Account(AccountId(1)))));
    assert_eq!(w.verdict(r), Some(Verdict::StoreUnavailable), "it asked for its user's slot");

    let (mut w, r) = asking(Policy::fair());
    let (call, _) = w.take(is_enter);
    w.answer(call, Ok(held(GateId::User(UserId(1)))));
    assert_eq!(w.verdict(r), Some(Verdict::StoreUnavailable), "it asked for an account's");
}

#[test]
fn who_is_out_of_time_asks_for_nothing_more() {
    let in_all = |policy: Policy| {
        let mut w = World::new(policy, &[ONE, ONE]);
        let _runs = w.arrive_in_session(7);
        let waits = w.arrive_in_session(7);
        w.pass(Span::from_us(999_999));
        w.out.road = Road::Held;
        w.pass(Span::from_us(1));
        assert_eq!(w.verdict(waits), Some(Verdict::AccountWaitTimeout));
        w.out.ops.iter().filter(|(_, op)| is_enter(op)).count()
    };
    let second = Span::from_secs(1);
    assert_eq!(in_all(Policy { wait_total_max: second, ..Policy::fair() }), 0);
    assert_eq!(in_all(Policy { failover_time_max: second, ..Policy::fair() }), 0);
}

#[test]
fn a_wait_is_told_once_with_the_place_it_began_at() {
    let mut w = World::apart(Policy::fair(), roster(1, Limit::Slots(2), &[ONE]));
    w.tick();
    w.tick();
    let (first, second, third) = (w.arrive(), w.arrive(), w.arrive());
    w.pass(Span::from_secs(5));
    assert_eq!(w.told(second).last(), Some(&Decision::Queued { position: 1 }));
    assert_eq!(w.told(third)[1..], [Decision::UserQueued { position: 1 }]);
    w.end(first, Outcome::Completed);
    w.hint();
    assert_eq!(w.account_of(second), Some(1));
    let layer = crate::trail::Layer::Fallback;
    assert_eq!(
        w.told(third)[2..],
        [
            Decision::UserHeld,
            Decision::Billed,
            Decision::Chosen { layer, account: None },
            Decision::Queued { position: 1 },
        ]
    );
}

#[test]
fn a_home_that_is_passed_over_is_told_with_the_reason() {
    let passed = |w: &World, r| {
        let told = w.told(r).into_iter();
        let why = |what| {
            let Decision::HomePassed { home, why } = what else { return None };
            Some((home.0, why))
        };
        told.filter_map(why).collect::<Vec<_>>()
    };
    let mut w = World::new(Policy::fair(), &[ONE, ONE]);
    let rs: Vec<_> = (0..5).map(|_| w.arrive_in_session(7)).collect();
    assert_eq!(w.account_of(rs[4]), Some(2));
    assert_eq!(passed(&w, rs[4]), [(1, Passed::LineFull)]);
    w.end(rs[4], Outcome::Completed);
    w.pass(Span::from_secs(2));
    assert_eq!(w.account_of(rs[1]), Some(2));
    assert_eq!(passed(&w, rs[1]), [(1, Passed::Patience)]);

    let mut w = World::new(Policy::fair(), &[ONE, ONE]);
    let _runs = w.arrive_in_session(7);
    let waits = w.arrive_in_session(7);
    let mut moved = roster(2, Limit::Slots(100), &[ONE, ONE]);
    for pool in moved.pools.values_mut() {
        pool.members = vec![AccountId(2)];
    }
    w.reload(moved);
    assert_eq!(w.account_of(waits), Some(2), "at once");
    assert_eq!(passed(&w, waits), [(1, Passed::Gone)]);
}

#[test]
fn only_the_running_attempt_can_start_and_only_once() {
    let mut w = World::new(Policy::fair(), &[ONE, ONE, ONE]);
    let r = w.arrive();
    w.end(r, Outcome::Unreachable);
    w.turn(Event::Started { req: r, attempt: Attempt(1) });
    w.end(r, Outcome::Unreachable);
    assert_eq!(w.account_of(r), Some(3), "nothing of the second has reached the client");
    w.start(r);
    w.start(r);
    let started = |what: &Decision| matches!(what, Decision::Started { .. });
    assert_eq!(w.told(r).into_iter().filter(started).count(), 1);
}
