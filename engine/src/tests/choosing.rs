//! Surveys and aims: what is asked again, and which refusals count.

use super::world::{Road, World, roster};
use crate::store::{HealthChange, Limit, StoreFault, StoreOp, StoreReply};
use crate::trail::Decision;
use crate::{AccountId, Policy, RequestId, Span, Verdict};

const ONE: Limit = Limit::Slots(1);

const fn is_enter(op: &StoreOp) -> bool {
    matches!(op, StoreOp::Enter(_))
}

const fn is_survey(op: &StoreOp) -> bool {
    matches!(op, StoreOp::Survey { .. })
}

fn surveys(w: &World) -> usize {
    w.out.ops.iter().filter(|(_, op)| is_survey(op)).count()
}

/// A request that has its user's slot; its ask for an account is answered like this, perhaps after a
/// reload.
fn refused(reply: StoreReply, reloaded: bool) -> (World, RequestId) {
    refused_by(Policy::fair(), reply, reloaded)
}

fn refused_by(policy: Policy, reply: StoreReply, reloaded: bool) -> (World, RequestId) {
    let mut w = World::new(policy, &[ONE, ONE]);
    w.out.road = Road::Held;
    let r = w.arrive();
    let (user, survey) = (w.take(is_enter), w.take(is_survey));
    w.deliver_one(user);
    w.deliver_one(survey);
    let (call, _) = w.take(is_enter);
    w.out.road = Road::Open;
    if reloaded {
        w.reload(roster(2, Limit::Slots(100), &[ONE, ONE]));
    }
    w.answer(call, Ok(reply));
    (w, r)
}

#[test]
fn a_survey_that_failed_is_repeated_after_the_delay_and_not_before() {
    // Something else wakes it in between.
    let policy = Policy { ping_interval: Span::from_ms(40), ..Policy::fair() };
    let mut w = World::new(policy, &[ONE]);
    w.out.road = Road::Held;
    let r = w.arrive();
    let (user, (survey, _)) = (w.take(is_enter), w.take(is_survey));
    w.deliver_one(user);
    w.answer(survey, Err(StoreFault::Refused));
    w.pass(Span::from_us(99_999));
    assert_eq!((w.out.pings.len(), surveys(&w)), (2, 0));
    w.pass(Span::from_us(1));
    assert_eq!(surveys(&w), 1);
    w.deliver();
    assert_eq!(w.account_of(r), Some(1));
}

#[test]
fn a_survey_for_a_former_roster_is_not_followed() {
    let mut w = World::new(Policy::seed(), &[ONE, ONE]);
    w.out.road = Road::Held;
    let r = w.arrive();
    let (user, survey) = (w.take(is_enter), w.take(is_survey));
    w.deliver_one(user);
    let mut moved = roster(2, Limit::Slots(100), &[ONE, ONE]);
    for pool in moved.pools.values_mut() {
        pool.members = vec![AccountId(2)];
    }
    w.reload(moved);
    w.deliver_one(survey);
    w.deliver();
    w.pass(Span::from_ms(200));
    w.deliver();
    assert_eq!(w.account_of(r), Some(2));
    let aims_at = |what| {
        let Decision::Chosen { account, .. } = what else { return None };
        account
    };
    let aims: Vec<_> = w.told(r).into_iter().filter_map(aims_at).collect();
    assert_eq!(aims, [AccountId(2)]);
}

#[test]
fn a_full_line_ends_the_request_unless_a_newer_roster_may_have_room() {
    let (w, r) = refused(StoreReply::Full, false);
    assert_eq!(w.verdict(r), Some(Verdict::AccountLineFull));
    let (mut w, r) = refused(StoreReply::Full, true);
    assert_eq!(w.verdict(r), None);
    w.pass(Span::from_ms(200));
    assert_eq!(w.account_of(r), Some(1));
}

#[test]
fn a_shut_pool_ends_the_request_unless_a_newer_roster_may_be_open() {
    let opens_in = Some(Span::from_secs(77));
    let (w, r) = refused(StoreReply::Shut { opens_in }, false);
    assert_eq!(w.verdict(r), Some(Verdict::AllShut { opens_in }));
    let (mut w, r) = refused(StoreReply::Shut { opens_in }, true);
    assert_eq!(w.verdict(r), None);
    w.pass(Span::from_ms(200));
    assert_eq!(w.account_of(r), Some(1));
}

#[test]
fn a_full_account_of_the_second_layer_leads_to_the_third() {
    let (w, r) = refused_by(Policy::seed(), StoreReply::Full, false);
    assert_eq!((w.verdict(r), w.account_of(r)), (None, Some(1)));
    let passed = |what: &Decision| matches!(what, Decision::HomePassed { .. });
    assert!(!w.told(r).iter().any(passed), "it has no home");
}

#[test]
fn a_full_home_leads_through_every_layer() {
    let mut w = World::new(Policy::seed(), &[ONE, ONE]);
    let first = w.arrive_in_session(7);
    assert_eq!(w.account_of(first), Some(1));
    let waiting = Policy::seed().sticky_line_max;
    for _ in 0..waiting {
        let waits = w.arrive_in_session(7);
        assert_eq!(w.account_of(waits), None);
    }
    let spilt = w.arrive_in_session(7);
    assert_eq!(w.account_of(spilt), Some(2));
}

#[test]
fn a_session_moves_from_a_home_that_shuts_while_it_asks() {
    let mut w = World::new(Policy::fair(), &[ONE, ONE]);
    let first = w.arrive_in_session(7);
    assert_eq!(w.account_of(first), Some(1));
    w.end(first, crate::Outcome::Completed);
    w.out.road = Road::Held;
    let r = w.arrive_in_session(7);
    let (user, survey) = (w.take(is_enter), w.take(is_survey));
    w.deliver_one(user);
    w.deliver_one(survey);
    let (call, op) = w.take(is_enter);
    w.out.road = Road::Open;
    let health = |change| StoreOp::Health { account: AccountId(1), model: None, change };
    w.apply_late(health(HealthChange::Disable));
    let reply = w.apply_late(op);
    assert!(matches!(reply, StoreReply::Shut { .. }), "{reply:?}");
    w.answer(call, Ok(reply));
    assert_eq!(w.account_of(r), Some(2));
    w.end(r, crate::Outcome::Completed);
    w.apply_late(health(HealthChange::Recover));
    let next = w.arrive_in_session(7);
    assert_eq!(w.account_of(next), Some(2), "it has moved");
}
