//! Joining, beating, being lost, and being put right.

use super::world::{Road, World, roster};
use crate::ledger::Ledger;
use crate::store::{Instance, Limit, Scope, StoreFault, StoreOp, StoreReply};
use crate::{AccountId, Ask, GateId, Outcome, Policy, Reason, Span, Time, Verdict};

const ONE: Limit = Limit::Slots(1);

fn beats(w: &World) -> usize {
    w.out.ops.iter().filter(|(_, op)| matches!(op, StoreOp::Beat { .. })).count()
}

#[test]
fn it_joins_on_its_first_event_and_tells_its_roster() {
    let mut w = World::apart(Policy::fair(), roster(1, ONE, &[ONE]));
    assert_eq!(w.engine.next_timeout(), Some((Time::ZERO, Reason::Join)));
    w.out.road = Road::Held;
    w.tick();
    assert!(matches!(&w.out.ops[..], [(_, StoreOp::Join { replaces: None, resume: false, .. })]));
    assert!(!w.engine.ready(w.now));
    w.deliver();
    assert!(w.engine.ready(w.now));
}

#[test]
fn a_request_that_arrives_before_the_store_answers_runs_when_it_does() {
    let mut w = World::apart(Policy::fair(), roster(1, ONE, &[ONE]));
    w.out.road = Road::Held;
    let r = w.arrive();
    w.pass(Span::from_secs(5));
    assert_eq!(w.account_of(r), None);
    w.deliver();
    assert_eq!(w.account_of(r), Some(1));
}

#[test]
fn without_a_store_a_request_ends_with_its_patience_as_the_stores_fault() {
    let mut w = World::apart(Policy::fair(), roster(1, ONE, &[ONE]));
    w.out.road = Road::Broken(StoreFault::Refused);
    let r = w.arrive();
    w.pass(Span::from_us(29_999_999));
    assert_eq!(w.verdict(r), None);
    w.pass(Span::from_us(1));
    assert_eq!(w.verdict(r), Some(Verdict::StoreUnavailable));
}

#[test]
fn a_restart_succeeds_its_former_node_and_frees_its_leases_at_once() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    w.arrive();
    let former = w.engine.node().expect("joined");
    let mut again = World::apart(Policy::fair(), roster(1, Limit::Slots(100), &[ONE]));
    again.out.ledger = w.out.ledger;
    again.now = w.now;
    again.tick();
    again.tick();
    assert!(again.engine.node().expect("joined") > former);
    assert_eq!(again.held(1), 0);
}

#[test]
fn it_beats_every_three_seconds_and_believes_for_six_from_the_sending() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let joined = w.now;
    w.out.road = Road::Held;
    w.pass(Span::from_us(2_999_999));
    assert_eq!(beats(&w), 0);
    w.pass(Span::from_us(1));
    assert_eq!(beats(&w), 1);
    w.pass(Span::from_us(2_999_999));
    assert!(w.engine.ready(w.now), "the join was acknowledged");
    w.pass(Span::from_us(1));
    assert_eq!(w.now, joined + Span::from_secs(6));
    assert!(!w.engine.ready(w.now));
    let (call, beat) = w.out.ops.remove(0);
    let alive = w.apply_late(beat);
    w.answer(call, Ok(alive));
    assert!(w.engine.ready(w.now), "the beat was sent at 3 s");
    w.pass(Span::from_secs(3));
    assert!(!w.engine.ready(w.now), "and counts from then");
}

#[test]
fn nothing_is_forwarded_on_a_session_that_is_not_believed_in() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    w.out.road = Road::Held;
    w.pass(Span::from_secs(4));
    let beat = w.out.ops.remove(0);
    assert!(matches!(beat.1, StoreOp::Beat { .. }));
    let r = w.arrive();
    w.pass(Span::from_secs(2));
    w.deliver();
    assert_eq!(w.account_of(r), None, "the slot is held, the session may be over");
    assert_eq!(w.held(1), 1);
    w.out.ops.push(beat);
    w.deliver();
    w.pass(Span::from_ms(100));
    w.deliver();
    assert_eq!(w.account_of(r), Some(1));
}

#[test]
fn a_lost_session_is_resumed_and_what_runs_is_entered_again() {
    let mut w = World::new(Policy::fair(), &[ONE, ONE]);
    let former = w.engine.node();
    let runs = w.arrive();
    w.out.road = Road::Held;
    let waits = {
        let _second = w.arrive();
        w.deliver();
        let r = w.arrive();
        w.deliver();
        r
    };
    // Silence until the store has reaped the node.
    let quiet = w.now + Span::from_secs(11);
    for secs in (1..=11).map(Span::from_secs) {
        let at = w.now + secs;
        if at <= quiet {
            w.out.ledger.apply(at, StoreOp::Reap { max: 128 });
        }
    }
    assert_eq!(w.held(1), 0, "reaped");
    w.now = quiet;
    w.out.road = Road::Open;
    w.deliver();
    w.tick();
    w.pass(Span::from_ms(300));
    assert_ne!(w.engine.node(), former);
    assert_eq!((w.held(1), w.held(2)), (1, 1), "what runs is known again");
    w.end(runs, Outcome::Completed);
    w.hint();
    assert_eq!(w.account_of(waits), Some(1), "the waiter has kept its place");
}

#[test]
fn what_runs_is_cut_short_if_the_policy_says_so() {
    let on_session_lost = crate::policy::OnSessionLost::Abort;
    let mut w = World::new(Policy { on_session_lost, ..Policy::fair() }, &[ONE]);
    let r = w.arrive();
    for secs in [4, 4, 4] {
        let at = w.now + Span::from_secs(secs);
        w.now = at;
        w.out.ledger.apply(at, StoreOp::Reap { max: 128 });
    }
    w.tick();
    assert_eq!(w.out.cancelled, [r]);
    w.end(r, Outcome::Cancelled);
    assert_eq!(w.verdict(r), Some(Verdict::SessionLost));
}

#[test]
fn a_late_join_does_not_end_the_live_node() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let live = w.engine.node().expect("joined");
    for replaces in [None, Some(crate::NodeId(1))] {
        let instance = Instance("small/0".into());
        let late = StoreOp::Join { instance, replaces, resume: false, protocol: 1 };
        assert_eq!(w.apply_late(late), StoreReply::Taken { node: live });
    }
    w.arrive();
    assert_eq!(w.held(1), 1);
}

#[test]
fn two_beats_that_do_not_fit_bring_a_resync_which_puts_the_store_right() {
    let mut w = World::new(Policy::fair(), &[ONE, ONE]);
    let node = w.engine.node().expect("joined");
    // A lease that the engine does not know: a leave got lost in a fail-over.
    let stray = crate::store::Enter {
        lease: crate::LeaseId { node, request: crate::RequestId(999), attempt: crate::Attempt(1) },
        ask: Ask(1),
        want: crate::store::Want::Gate {
            account: AccountId(2),
            model: crate::ModelId(1),
            line_max: 0,
        },
        tag: None,
        patience: None,
        ttl: None,
    };
    w.apply_late(StoreOp::Enter(stray));
    assert_eq!(w.held(2), 1);
    w.pass(Span::from_secs(3));
    assert_eq!(w.held(2), 1, "one beat may meet an operation under way");
    w.pass(Span::from_secs(3));
    assert_eq!(w.held(2), 0);
    assert_eq!(w.out.ledger.counters().leases_orphaned, 1);
}

#[test]
fn a_resync_of_many_goes_in_calls_of_256_and_frees_nothing_that_lives() {
    let mut w = World::new(Policy::fair(), &[Limit::Unlimited]);
    w.reload(roster(2, Limit::Unlimited, &[Limit::Unlimited]));
    for _ in 0..300 {
        w.arrive();
    }
    w.out.road = Road::Held;
    w.pass(Span::from_secs(300));
    w.out.road = Road::Open;
    let resyncs = |w: &World| -> Vec<(usize, bool)> {
        let of = |op: &StoreOp| {
            let StoreOp::Resync(r) = op else { return None };
            Some((r.held.len() + r.waiting.len() + r.busy.len(), r.last))
        };
        w.out.ops.iter().filter_map(|(_, op)| of(op)).collect()
    };
    assert_eq!(resyncs(&w), [(256, false)], "one call at a time");
    w.out.ledger.apply(w.now, StoreOp::Reap { max: 0 });
    assert_eq!(w.held(1), 300);
}

#[test]
fn a_leave_that_an_unanswered_resync_lists_is_fenced() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let r = w.arrive();
    w.out.road = Road::Held;
    let audit = w.now + Span::from_secs(300);
    // Beats are answered until the audit is due.
    while w.now < audit {
        w.pass(Span::from_secs(1));
        if w.out.ops.iter().any(|(_, op)| matches!(op, StoreOp::Resync(_))) {
            break;
        }
        w.deliver();
    }
    let at = w.out.ops.iter().position(|(_, op)| matches!(op, StoreOp::Resync(_)));
    let (call, late) = w.out.ops.remove(at.expect("an audit every five minutes"));
    w.end(r, Outcome::Completed);
    w.deliver();
    assert_eq!(w.held(1), 0);
    w.apply_late(late);
    assert_eq!(w.held(1), 0, "the late resync does not bring it back");
    assert_eq!(w.out.ledger.held(GateId::User(crate::UserId(1))), 0);
    w.answer(call, Ok(StoreReply::Done));
}

/// Keeps every operation from just before the audit on; the audit's, after what is done then.
fn at_the_audit<T>(w: &mut World, then: impl FnOnce(&mut World) -> T) -> (T, Ask, StoreOp) {
    w.pass(Span::from_secs(299));
    w.out.road = Road::Held;
    let done = then(w);
    w.pass(Span::from_secs(1));
    let at = w.out.ops.iter().position(|(_, op)| matches!(op, StoreOp::Resync(_)));
    let (call, resync) = w.out.ops.remove(at.expect("an audit every five minutes"));
    (done, call, resync)
}

#[test]
fn a_resync_that_overtakes_an_owed_leave_leaves_the_mark_to_it() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let r = w.arrive();
    let limited =
        Outcome::RateLimited { scope: Scope::Account, retry_after: Some(Span::from_secs(60)) };
    let ((), call, resync) = at_the_audit(&mut w, |w| w.end(r, limited));
    let reply = w.apply_late(resync);
    w.answer(call, Ok(reply));
    assert_eq!(w.held(1), 1, "the lease is the leave's to end");
    w.deliver();
    assert_eq!(w.held(1), 0);
    assert!(w.out.ledger.account_shut(AccountId(1)), "the mark has come with the leave");
}

#[test]
fn a_resync_spares_a_lease_whose_enter_is_unanswered() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let (r, call, resync) = at_the_audit(&mut w, World::arrive);
    let (asked, enter) = w.out.ops.remove(0);
    assert!(matches!(enter, StoreOp::Enter(_)));
    let held = w.apply_late(enter);
    let done = w.apply_late(resync);
    assert_eq!(w.out.ledger.held(GateId::User(crate::UserId(1))), 1);
    w.answer(asked, Ok(held));
    w.answer(call, Ok(done));
    w.deliver();
    assert_eq!(w.account_of(r), Some(1));
}

#[test]
fn reaping_follows_each_beat_or_its_own_interval() {
    let reaps = |policy: Policy, secs| {
        let mut w = World::new(policy, &[ONE]);
        w.pass(Span::from_secs(secs));
        w.out.reaps
    };
    assert_eq!(reaps(Policy::fair(), 12), 4);
    assert_eq!(reaps(Policy::seed(), 65), 2);
}

#[test]
fn a_waiting_requests_user_slot_is_entered_again_after_a_lost_session() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let (_runs, waits) = (w.arrive(), w.arrive());
    let user = GateId::User(crate::UserId(1));
    assert_eq!(w.out.ledger.held(user), 2);
    for secs in [4, 4, 4] {
        w.now = w.now + Span::from_secs(secs);
        w.out.ledger.apply(w.now, StoreOp::Reap { max: 128 });
    }
    assert_eq!(w.out.ledger.held(user), 0, "reaped");
    w.out.road = Road::Held;
    w.tick();
    while !w.out.ops.iter().any(|(_, op)| matches!(op, StoreOp::Resync(_))) {
        let oldest = w.take(|_| true);
        w.deliver_one(oldest);
    }
    let resync = w.take(|op| matches!(op, StoreOp::Resync(_)));
    w.deliver_one(resync);
    assert_eq!(w.out.ledger.held(user), 2);
    assert_eq!(w.verdict(waits), None);
}

/// Its first ask is answered `Lost`, and its survey, which names no node, that there are no accounts.
#[test]
fn what_a_store_that_has_forgotten_everything_says_of_accounts_does_not_count() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    w.out.ledger = Ledger::new(w.now);
    let r = w.arrive();
    w.pass(Span::from_secs(1));
    assert_eq!(w.verdict(r), None);
    assert_eq!(w.account_of(r), Some(1));
}
