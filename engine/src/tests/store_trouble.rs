//! When the store cannot be asked, answers late, or ends the session.

use super::world::{Road, World, roster};
use crate::store::{Limit, StoreFault, StoreOp, StoreReply};
use crate::trail::Decision;
use crate::{Event, GateId, Outcome, Policy, Reason, Span, Tag, UserId, Verdict};

const ONE: Limit = Limit::Slots(1);
const SECS_30: Span = Span::from_secs(30);

const fn is_define(op: &StoreOp) -> bool {
    matches!(op, StoreOp::Define(_))
}

const fn is_resync(op: &StoreOp) -> bool {
    matches!(op, StoreOp::Resync(_))
}

const fn is_enter(op: &StoreOp) -> bool {
    matches!(op, StoreOp::Enter(_))
}

/// An engine that has joined, whose `Define` is not answered.
fn joined_only() -> World {
    let mut w = World::apart(Policy::fair(), roster(1, ONE, &[ONE]));
    w.out.road = Road::Held;
    w.tick();
    let join = w.take(|op| matches!(op, StoreOp::Join { .. }));
    w.deliver_one(join);
    w
}

/// The store ends the session while nobody looks; the engine is told, and has joined again. Its
/// operations are kept from here on.
fn lost(w: &mut World) {
    for secs in [4, 4, 4] {
        w.now = w.now + Span::from_secs(secs);
        w.out.ledger.apply(w.now, StoreOp::Reap { max: 128 });
    }
    w.out.road = Road::Held;
    w.tick();
    let beat = w.take(|op| matches!(op, StoreOp::Beat { .. }));
    w.deliver_one(beat);
    let join = w.take(|op| matches!(op, StoreOp::Join { .. }));
    w.deliver_one(join);
}

/// How a request ends that arrives now and for which nothing happens.
fn verdict_of_waiting(w: &mut World) -> Option<Verdict> {
    let r = w.arrive();
    w.pass(SECS_30);
    w.verdict(r)
}

#[test]
fn a_store_that_has_not_answered_the_first_define_is_at_fault() {
    let mut w = joined_only();
    assert_eq!(verdict_of_waiting(&mut w), Some(Verdict::StoreUnavailable));
}

#[test]
fn a_store_that_does_not_take_the_roster_is_at_fault() {
    let mut w = joined_only();
    let (call, _) = w.take(is_define);
    w.answer(call, Err(StoreFault::Refused));
    assert_eq!(verdict_of_waiting(&mut w), Some(Verdict::StoreUnavailable));
}

#[test]
fn a_store_that_does_not_let_it_join_is_at_fault() {
    let mut w = World::apart(Policy::fair(), roster(1, ONE, &[ONE]));
    w.out.road = Road::Held;
    assert_eq!(verdict_of_waiting(&mut w), Some(Verdict::StoreUnavailable));
}

#[test]
fn a_store_that_does_not_answer_the_resync_of_a_resumed_session_is_at_fault() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    lost(&mut w);
    let define = w.take(is_define);
    w.deliver_one(define);
    assert!(w.out.ops.iter().any(|(_, op)| is_resync(op)));
    assert_eq!(verdict_of_waiting(&mut w), Some(Verdict::StoreUnavailable));
}

#[test]
fn a_store_that_failed_the_last_resync_is_at_fault_when_it_does_not_take_a_newer_roster() {
    let in_line_at_the_audit = |result: Result<StoreReply, StoreFault>| {
        let mut w = World::apart(Policy::fair(), roster(1, ONE, &[ONE]));
        w.tick();
        w.tick();
        let _runs = w.arrive();
        w.pass(Span::from_secs(295));
        let waits = w.arrive();
        w.pass(Span::from_secs(4));
        w.out.road = Road::Held;
        w.pass(Span::from_secs(1));
        while let Some(at) = w.out.ops.iter().position(|(_, op)| is_enter(op)) {
            let enter = w.out.ops.remove(at);
            w.deliver_one(enter);
        }
        let (call, _) = w.take(is_resync);
        w.answer(call, result);
        w.reload(roster(2, ONE, &[ONE]));
        w.pass(SECS_30);
        w.verdict(waits)
    };
    let refused = in_line_at_the_audit(Err(StoreFault::Refused));
    assert_eq!(refused, Some(Verdict::StoreUnavailable));
    let done = in_line_at_the_audit(Ok(StoreReply::Done));
    assert_eq!(done, Some(Verdict::UserWaitTimeout), "the line had it wait");
}

#[test]
fn what_was_refused_is_tried_again() {
    let mut w = World::apart(Policy::fair(), roster(1, ONE, &[ONE]));
    w.out.road = Road::Broken(StoreFault::Refused);
    w.tick();
    w.out.road = Road::Open;
    assert_eq!(w.engine.next_timeout(), Some((w.now + Span::from_ms(100), Reason::Join)));
    w.pass(Span::from_ms(100));
    assert!(w.engine.ready(w.now));

    w.pass(Span::from_secs(298));
    w.out.road = Road::Held;
    w.pass(Span::from_secs(2));
    let (call, _) = w.take(is_resync);
    w.answer(call, Err(StoreFault::Refused));
    assert!(!w.out.ops.iter().any(|(_, op)| is_resync(op)), "not at once");
    w.pass(Span::from_ms(100));
    assert!(w.out.ops.iter().any(|(_, op)| is_resync(op)));
}

#[test]
fn an_owed_leave_is_a_reason_to_come_back() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let r = w.arrive();
    w.out.road = Road::Broken(StoreFault::Refused);
    w.end(r, Outcome::Completed);
    let (at, reason) = w.engine.next_timeout().expect("two leaves are owed");
    assert_eq!((at, reason), (w.now + Span::from_ms(100), Reason::Leave));
}

#[test]
fn what_was_owed_in_a_session_is_owed_no_more_after_it() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let r = w.arrive();
    w.out.road = Road::Broken(StoreFault::Refused);
    w.end(r, Outcome::Completed);
    assert_eq!(w.engine.owed(), 2);
    w.out.ops.clear();
    lost(&mut w);
    assert_eq!(w.engine.owed(), 0, "the resync will leave it out");
}

#[test]
fn a_slot_that_was_granted_to_a_former_node_is_not_used() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    w.out.road = Road::Held;
    let r = w.arrive();
    let (call, _) = w.take(is_enter);
    lost(&mut w);
    let gate = GateId::User(UserId(1));
    w.answer(call, Ok(StoreReply::Held { gate, tag: Tag(5), probe: false }));
    assert!(!w.told(r).contains(&Decision::UserHeld));
    w.deliver();
    assert_eq!(w.account_of(r), Some(1), "it has been asked for again");
}

#[test]
fn a_roster_of_the_same_version_is_not_told_again() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    w.out.road = Road::Held;
    w.reload(roster(1, ONE, &[ONE, ONE]));
    assert!(w.out.ops.is_empty());
    assert_eq!(w.engine.roster().accounts.len(), 1);
    w.reload(roster(2, ONE, &[ONE, ONE]));
    assert!(w.out.ops.iter().any(|(_, op)| is_define(op)));
    assert_eq!(w.engine.roster().accounts.len(), 2);
}

#[test]
fn a_lost_session_ends_nothing_but_what_runs_and_that_only_by_policy() {
    let on_session_lost = crate::policy::OnSessionLost::Abort;
    for (policy, cut) in [(Policy { on_session_lost, ..Policy::fair() }, 1), (Policy::fair(), 0)] {
        let mut w = World::new(policy, &[ONE]);
        let (runs, waits) = (w.arrive(), w.arrive());
        assert_eq!(w.engine.live_requests(), 2);
        lost(&mut w);
        assert_eq!(w.out.cancelled, [runs][..cut]);
        assert_eq!((w.verdict(runs), w.verdict(waits)), (None, None));
    }
}

#[test]
fn a_pass_goes_on_with_its_next_call_when_the_last_was_answered() {
    let mut w = World::new(Policy::fair(), &[Limit::Unlimited]);
    w.reload(roster(2, Limit::Unlimited, &[Limit::Unlimited]));
    for _ in 0..150 {
        w.arrive();
    }
    w.pass(Span::from_secs(299));
    w.out.road = Road::Held;
    w.pass(Span::from_secs(1));
    let mut calls = vec![];
    while let Some(at) = w.out.ops.iter().position(|(_, op)| is_resync(op)) {
        let (call, op) = w.out.ops.remove(at);
        if let StoreOp::Resync(resync) = &op {
            calls.push((resync.held.len(), resync.last));
        }
        w.deliver_one((call, op));
    }
    assert_eq!(calls, [(256, false), (44, true)]);
    assert_eq!((w.held(1), w.out.ledger.counters().leases_orphaned), (150, 0));
}

/// The fences of the leaves that are on their way.
fn fences(w: &World) -> Vec<(u16, bool)> {
    let of = |op: &StoreOp| {
        let StoreOp::Leave { lease, fence, .. } = op else { return None };
        Some((lease.attempt.0, *fence))
    };
    w.out.ops.iter().filter_map(|(_, op)| of(op)).collect()
}

#[test]
fn a_leave_is_fenced_only_where_something_may_come_after_it() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let r = w.arrive();
    w.out.road = Road::Held;
    w.end(r, Outcome::Completed);
    assert_eq!(fences(&w), [(1, false), (0, false)]);

    // The audit lists the first request; the second came later.
    let mut w = World::new(Policy::fair(), &[Limit::Slots(2)]);
    let listed = w.arrive();
    w.pass(Span::from_secs(299));
    w.out.road = Road::Held;
    w.pass(Span::from_secs(1));
    let _unanswered = w.take(is_resync);
    let later = w.arrive();
    w.deliver();
    w.end(later, Outcome::Completed);
    assert_eq!(fences(&w), [(1, false), (0, false)]);
    w.out.ops.clear();
    w.end(listed, Outcome::Completed);
    assert_eq!(fences(&w), [(1, true), (0, true)]);
}

#[test]
fn a_leave_after_a_resync_of_unknown_fate_is_fenced() {
    let after = |fault: StoreFault| {
        let mut w = World::new(Policy::fair(), &[ONE]);
        w.pass(Span::from_secs(299));
        w.out.road = Road::Held;
        let r = w.arrive();
        let user = w.take(is_enter);
        w.deliver_one(user);
        w.pass(Span::from_secs(1));
        let (call, _) = w.take(is_resync);
        w.answer(call, Err(fault));
        w.turn(Event::Abandoned { req: r });
        fences(&w)
    };
    assert_eq!(after(StoreFault::Unknown), [(0, true)]);
    assert_eq!(after(StoreFault::Refused), [(0, false)]);
}

/// What the next beat tells of the node's leases.
fn beat(w: &mut World) -> (u32, u32) {
    w.out.road = Road::Held;
    w.pass(Span::from_secs(3));
    match w.take(|op| matches!(op, StoreOp::Beat { .. })) {
        (_, StoreOp::Beat { settled, in_flight, .. }) => (settled, in_flight),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_beat_tells_what_is_in_the_store_for_sure_and_what_may_be() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    assert_eq!(beat(&mut w), (0, 0));

    let mut w = World::new(Policy::fair(), &[ONE]);
    let (_runs, _waits) = (w.arrive(), w.arrive());
    assert_eq!(beat(&mut w).0, 3, "two users' slots and an account's");

    let mut w = World::new(Policy::fair(), &[ONE]);
    w.out.road = Road::Held;
    w.arrive();
    assert_eq!(beat(&mut w), (0, 1), "it has asked for its user's slot");

    let mut w = World::new(Policy::fair(), &[ONE]);
    let r = w.arrive();
    w.out.road = Road::Held;
    w.end(r, Outcome::Completed);
    assert_eq!(beat(&mut w), (0, 2), "two leaves are not acknowledged");
}

#[test]
fn a_beat_leaves_out_what_has_outlived_the_ttl() {
    let lease_ttl = Some(Span::from_secs(5));
    let mut w = World::new(Policy { lease_ttl, ..Policy::fair() }, &[ONE]);
    w.arrive();
    assert_eq!(beat(&mut w), (2, 0));

    let mut w = World::new(Policy { lease_ttl, ..Policy::fair() }, &[ONE]);
    w.arrive();
    w.pass(Span::from_secs(5));
    assert_eq!(beat(&mut w), (0, 0));
}

#[test]
fn a_new_node_needs_no_resync_before_the_first_audit() {
    let mut w = joined_only();
    let define = w.take(is_define);
    w.deliver_one(define);
    assert!(w.engine.ready(w.now));
    assert!(!w.out.ops.iter().any(|(_, op)| is_resync(op)));
    let next = w.engine.next_timeout().expect("a beat");
    assert_eq!(next, (w.now + Span::from_secs(3), Reason::Beat));
}

#[test]
fn who_never_had_anything_gives_nothing_back() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    w.out.road = Road::Held;
    let r = w.arrive();
    let (call, _) = w.take(is_enter);
    w.answer(call, Ok(StoreReply::Shut { opens_in: None }));
    assert_eq!(w.verdict(r), Some(Verdict::UserClosed));
    assert_eq!((fences(&w), w.engine.owed()), (vec![], 0));
}

#[test]
fn a_wait_is_remembered_while_a_newer_roster_is_told() {
    let mut w = World::apart(Policy::fair(), roster(1, ONE, &[ONE]));
    w.tick();
    w.tick();
    let first = w.arrive();
    w.out.road = Road::Broken(StoreFault::Refused);
    let r = w.arrive();
    w.out.ops.clear();
    w.out.road = Road::Open;
    w.pass(Span::from_ms(200));
    w.end(first, Outcome::Completed);
    w.out.road = Road::Held;
    w.hint();
    w.reload(roster(2, ONE, &[ONE]));
    let user = w.take(is_enter);
    w.deliver_one(user);
    assert_eq!(w.told(r).last(), Some(&Decision::Billed), "no survey before the roster is known");
    let define = w.take(is_define);
    w.deliver_one(define);
    let survey = w.take(|op| matches!(op, StoreOp::Survey { .. }));
    w.deliver_one(survey);
    assert!(w.out.ops.iter().any(|(_, op)| is_enter(op)));
    w.pass(SECS_30);
    assert_eq!(w.verdict(r), Some(Verdict::AccountWaitTimeout), "its user's line had it wait");
}

#[test]
fn the_leaves_of_different_requests_are_sent_again_at_different_times() {
    let mut w = World::new(Policy::fair(), &[Limit::Slots(2)]);
    let both = [w.arrive(), w.arrive()];
    w.out.road = Road::Broken(StoreFault::Refused);
    for r in both {
        w.end(r, Outcome::Completed);
    }
    w.out.ops.clear();
    let mut sent = [vec![], vec![]];
    while sent.iter().any(|times| times.len() < 6) {
        let (at, _) = w.engine.next_timeout().expect("leaves are owed");
        w.now = at;
        w.tick();
        for (_, op) in w.out.ops.drain(..) {
            let StoreOp::Leave { lease, .. } = op else { continue };
            sent[both.iter().position(|r| *r == lease.request).expect("one of both")].push(at);
        }
    }
    assert_eq!(sent[0][0], sent[1][0], "the first delay is fixed");
    assert_ne!(sent[0], sent[1]);
}
