//! When the store is away: nobody answers for it, or a stand-in does.

use super::world::{Road, World, roster, spec};
use crate::roster::User;
use crate::store::{Limit, StoreFault, StoreOp, StoreReply};
use crate::{
    Event, Ledger, Outcome, Policy, Reason, RequestId, RequestSpec, Span, UserId, Verdict,
};

const ONE: Limit = Limit::Slots(1);
const AWAY: Result<StoreReply, StoreFault> = Err(StoreFault::Away);
const UNAVAILABLE: Option<Verdict> = Some(Verdict::StoreUnavailable);
/// How often the node tries whether the store is back.
const TRY: Span = Span::from_ms(250);

const fn is_join(op: &StoreOp) -> bool {
    matches!(op, StoreOp::Join { .. })
}

const fn is_beat(op: &StoreOp) -> bool {
    matches!(op, StoreOp::Beat { .. })
}

#[test]
fn who_asks_a_store_that_is_away_is_told_so_at_once() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    w.out.road = Road::Broken(StoreFault::Away);
    let r = w.arrive();
    assert_eq!(w.verdict(r), UNAVAILABLE);
    assert_eq!(w.engine.owed(), 0, "it was certainly not applied");
}

#[test]
fn a_request_that_finds_the_store_away_has_it_tried_again_before_the_next_beat_is_due() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    w.out.road = Road::Held;
    let r = w.arrive();
    let (call, _) = w.take(|op| matches!(op, StoreOp::Enter(_)));
    w.answer(call, AWAY);
    assert_eq!(w.verdict(r), UNAVAILABLE);
    assert!(w.out.ops.iter().any(|(_, op)| is_beat(op)));
}

#[test]
fn who_fails_over_while_the_store_is_away_is_told_so_at_once() {
    let mut w = World::new(Policy::fair(), &[ONE, ONE]);
    let r = w.arrive();
    w.out.road = Road::Broken(StoreFault::Away);
    w.end(r, Outcome::Unreachable);
    assert_eq!(w.verdict(r), UNAVAILABLE);
}

#[test]
fn when_the_store_goes_away_who_waits_is_told_so_and_what_runs_runs_on() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let runs = w.arrive();
    let waits = w.arrive();
    w.pass(Span::from_ms(2_900));
    w.out.road = Road::Held;
    w.pass(Span::from_ms(100));
    let (call, _) = w.take(is_beat);
    w.answer(call, AWAY);
    assert_eq!((w.verdict(runs), w.verdict(waits)), (None, UNAVAILABLE));
    w.end(runs, Outcome::Completed);
    assert!(matches!(w.verdict(runs), Some(Verdict::Upstream { .. })));
}

#[test]
fn what_is_owed_is_given_back_as_soon_as_the_store_is_back() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let r = w.arrive();
    w.out.road = Road::Broken(StoreFault::Away);
    w.end(r, Outcome::Completed);
    w.pass(Span::from_secs(60));
    assert_eq!((w.held(1), w.engine.owed()), (1, 2));
    w.out.road = Road::Open;
    w.pass(TRY);
    assert_eq!((w.held(1), w.engine.owed()), (0, 0));
}

#[test]
fn a_node_that_cannot_join_refuses_until_it_can() {
    let mut w = World::apart(Policy::fair(), roster(1, ONE, &[ONE]));
    w.out.road = Road::Held;
    let early = w.arrive();
    let (call, _) = w.take(is_join);
    w.answer(call, AWAY);
    assert_eq!(w.verdict(early), UNAVAILABLE);
    for failed in [StoreFault::Away, StoreFault::Unknown, StoreFault::Refused] {
        let r = w.arrive();
        assert_eq!(w.verdict(r), UNAVAILABLE, "before {failed:?}");
        assert_eq!(w.engine.next_timeout(), Some((w.now + TRY, Reason::Join)));
        w.pass(TRY);
        let (call, _) = w.take(is_join);
        w.answer(call, Err(failed));
    }
    w.pass(TRY);
    w.deliver();
    let r = w.arrive();
    w.deliver();
    assert_eq!(w.account_of(r), Some(1));
}

/// A node whose session in the store has ended, and which has joined a stand-in: the ledger goes on
/// as such. `runs` and `waits` are whose slot is held and who stands in line for it.
fn standing_in(policy: Policy) -> (World, RequestId, RequestId) {
    let mut w = World::new(policy, &[ONE]);
    let (runs, waits) = (w.arrive(), w.arrive());
    w.out.road = Road::Held;
    w.pass(Span::from_secs(3));
    let (call, _) = w.take(is_beat);
    w.out.ops.clear();
    w.answer(call, Ok(StoreReply::Lost));
    let (call, op) = w.take(is_join);
    let mut joined = w.apply_late(op);
    if let StoreReply::Joined { stand_in, .. } = &mut joined {
        *stand_in = true;
    }
    w.answer(call, Ok(joined));
    w.deliver();
    (w, runs, waits)
}

#[test]
fn who_gets_nothing_of_a_stand_in_is_told_that_it_is_the_stores_fault() {
    let (mut w, runs, waits) = standing_in(Policy { fallback_line_max: 1, ..Policy::fair() });
    w.out.road = Road::Open;
    let full = w.arrive();
    assert_eq!(w.verdict(full), UNAVAILABLE, "the line is full");
    w.pass(Span::from_secs(30));
    assert_eq!(w.verdict(waits), UNAVAILABLE, "its patience is over");
    w.end(runs, Outcome::Completed);
    assert!(matches!(w.verdict(runs), Some(Verdict::Upstream { .. })));

    w.reload(roster(2, Limit::Slots(9), &[Limit::Closed]));
    let shut = w.arrive();
    assert_eq!(w.verdict(shut), UNAVAILABLE, "no account has a slot here");
}

#[test]
fn a_user_without_a_slot_here_is_not_told_to_be_closed() {
    let (mut w, ..) = standing_in(Policy::fair());
    let user = |w: &mut World| {
        let r = w.arrive();
        let (call, _) = w.take(|op| matches!(op, StoreOp::Enter(_)));
        w.answer(call, Ok(StoreReply::Shut { opens_in: None }));
        w.verdict(r)
    };
    assert_eq!(user(&mut w), UNAVAILABLE);
    w.reload(roster(2, Limit::Closed, &[ONE]));
    w.deliver();
    assert_eq!(user(&mut w), Some(Verdict::UserClosed), "one that is closed everywhere is");
}

#[test]
fn a_stand_in_is_asked_often_whether_the_store_is_back() {
    let (mut w, ..) = standing_in(Policy::fair());
    let joined = w.now;
    w.out.road = Road::Open;
    let mut beats = Vec::new();
    while w.now < joined + Span::from_secs(1) {
        let (at, reason) = w.engine.next_timeout().expect("it beats");
        if reason == Reason::Beat {
            beats.push(at.since(joined));
        }
        w.now = at;
        w.tick();
    }
    assert_eq!(beats, [1, 2, 3, 4].map(|n| Span(TRY.0 * n)));

    let (call, beat) = {
        w.out.road = Road::Held;
        w.pass(TRY);
        w.take(is_beat)
    };
    assert!(is_beat(&beat));
    w.answer(call, Ok(StoreReply::Lost));
    w.deliver();
    let (at, reason) = w.engine.next_timeout().expect("it beats");
    assert!(reason != Reason::Beat || at == w.now + Span::from_secs(3), "it is back");
}

#[test]
fn after_a_new_session_who_has_waited_longest_asks_first() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let mut users = roster(2, ONE, &[ONE]);
    users.users.insert(UserId(2), User { limit: Limit::Slots(9) });
    w.reload(users);
    let of_two = || RequestSpec { user: UserId(2), ..spec() };
    let runs = w.arrive_as(of_two());
    let before = w.arrive();
    // The first to arrive has to wait for its user's slot, and so comes late to the account's line.
    let (first, second) = (w.arrive(), w.arrive_as(of_two()));
    w.turn(Event::Abandoned { req: before });
    w.hint();
    let third = w.arrive_as(of_two());

    w.out.road = Road::Held;
    w.pass(Span::from_secs(3));
    let (call, _) = w.take(is_beat);
    for (call, _) in core::mem::take(&mut w.out.ops) {
        w.answer(call, Err(StoreFault::Unknown));
    }
    w.out.ledger = Ledger::new(w.now);
    w.answer(call, Ok(StoreReply::Lost));
    while !w.out.ops.iter().any(|(_, op)| matches!(op, StoreOp::Enter(_))) {
        let next = w.take(|_| true);
        w.deliver_one(next);
    }
    let asks = |op: &StoreOp| {
        let StoreOp::Enter(enter) = op else { return None };
        Some(enter.lease.request)
    };
    let asked: Vec<_> = w.out.ops.iter().filter_map(|(_, op)| asks(op)).collect();
    assert_eq!(asked, [second, first, third]);
    assert_eq!(w.verdict(runs), None);
}
