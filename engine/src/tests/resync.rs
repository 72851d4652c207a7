//! What a resync tells the store of each lease.

use super::world::{Road, World, roster};
use crate::store::{
    HeldLease, Limit, Resync, StoreFault, StoreOp, StoreReply, Version, WaitingLease, Want,
};
use crate::{AccountId, Attempt, GateId, ModelId, Policy, RequestId, Span, UserId};

const ONE: Limit = Limit::Slots(1);

const fn is_enter(op: &StoreOp) -> bool {
    matches!(op, StoreOp::Enter(_))
}

const fn is_resync(op: &StoreOp) -> bool {
    matches!(op, StoreOp::Resync(_))
}

/// How long before the audit things are done: too short for anybody who waits to ask again.
const BEFORE: Span = Span::from_ms(50);

/// The first call of the audit, and what is done before it.
fn audit<T>(w: &mut World, then: impl FnOnce(&mut World) -> T) -> (T, Resync) {
    w.pass(Policy::fair().audit_interval.saturating_sub(BEFORE));
    let done = then(w);
    w.out.road = Road::Held;
    w.pass(BEFORE);
    (done, taken(w))
}

/// The call that is on its way.
fn taken(w: &mut World) -> Resync {
    let StoreOp::Resync(resync) = w.take(is_resync).1 else { unreachable!("it was looked for") };
    resync
}

fn held(resync: &Resync) -> Vec<(RequestId, u16)> {
    resync.held.iter().map(|held| (held.lease.request, held.lease.attempt.0)).collect()
}

fn waiting(resync: &Resync) -> Vec<(RequestId, u16)> {
    resync.waiting.iter().map(|held| (held.lease.request, held.lease.attempt.0)).collect()
}

fn busy(resync: &Resync) -> Vec<(RequestId, u16)> {
    resync.busy.iter().map(|lease| (lease.request, lease.attempt.0)).collect()
}

#[test]
fn what_is_settled_is_told_as_it_is_and_what_is_not_as_busy() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let runs = w.arrive();
    let ((waits, refused, unanswered), resync) = audit(&mut w, |w| {
        let waits = w.arrive();
        w.out.road = Road::Broken(StoreFault::Refused);
        let refused = w.arrive();
        w.out.road = Road::Held;
        (waits, refused, w.arrive())
    });
    assert_eq!(held(&resync), [(runs, 0), (runs, 1), (waits, 0)]);
    assert_eq!(waiting(&resync), [(waits, 1)]);
    assert_eq!(busy(&resync), [(unanswered, 0)]);
    assert!(w.told(refused).len() > 1, "it lives, but the store has nothing of it");
    assert!(resync.last);
}

#[test]
fn a_ticket_whose_last_ask_failed_is_busy() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let _runs = w.arrive();
    let (waits, resync) = audit(&mut w, |w| {
        let waits = w.arrive();
        w.pass(Span::from_ms(10));
        w.out.grants.clear();
        w.out.road = Road::Held;
        w.turn(crate::Event::Granted {
            lease: crate::LeaseId {
                node: w.engine.node().expect("joined"),
                request: waits,
                attempt: Attempt(1),
            },
            gate: GateId::Account(AccountId(1)),
        });
        let (call, _) = w.take(is_enter);
        w.answer(call, Err(StoreFault::Refused));
        waits
    });
    assert!(busy(&resync).contains(&(waits, 1)));
    assert_eq!(waiting(&resync), []);
}

#[test]
fn a_slot_is_told_with_all_that_the_store_needs_to_enter_it_again() {
    let lease_ttl = Some(Span::from_secs(1000));
    let mut w = World::new(Policy { lease_ttl, ..Policy::fair() }, &[ONE]);
    let runs = w.arrive();
    let (waits, resync) = audit(&mut w, World::arrive);
    let [user, account, waiters]: &[HeldLease; 3] = resync.held[..].as_array().expect("three");
    let limit = Some((Limit::Slots(100), Version { stamp: 1, digest: 0 }));
    assert_eq!((user.gate, user.limit, user.model), (GateId::User(UserId(1)), limit, ModelId(0)));
    assert_eq!(user.ttl, Some(Span::from_secs(700)), "what is left of it");
    let gate = GateId::Account(AccountId(1));
    assert_eq!((account.gate, account.limit, account.model), (gate, None, ModelId(1)));
    assert_eq!((account.lease.request, waiters.lease.request), (runs, waits));
    let [ticket]: &[WaitingLease; 1] = resync.waiting[..].as_array().expect("one");
    assert!(matches!(ticket.want, Want::Pool { model: ModelId(1), .. }));
    assert_eq!(
        (ticket.patience, ticket.ttl),
        (Span::from_secs(30).saturating_sub(BEFORE), lease_ttl)
    );
}

#[test]
fn a_ticket_of_a_former_session_is_busy_until_it_has_asked_again() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let (runs, waits) = (w.arrive(), w.arrive());
    w.out.road = Road::Held;
    w.pass(Span::from_secs(3));
    let (beat, _) = w.take(|op| matches!(op, StoreOp::Beat { .. }));
    w.deliver();
    w.answer(beat, Ok(StoreReply::Lost));
    while !w.out.ops.iter().any(|(_, op)| is_resync(op)) {
        let oldest = w.take(|_| true);
        w.deliver_one(oldest);
    }
    let resync = taken(&mut w);
    assert_eq!(held(&resync), [(runs, 0), (runs, 1), (waits, 0)]);
    assert_eq!((busy(&resync), waiting(&resync)), (vec![(waits, 1)], vec![]));
}

#[test]
fn a_slot_that_came_when_the_session_was_not_believed_in_is_busy() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    let audit_interval = Policy::fair().audit_interval;
    w.pass(audit_interval.saturating_sub(Span::from_secs(4)));
    // The beat of three seconds before the audit is not answered, so belief ends at the audit.
    w.out.road = Road::Held;
    w.pass(Span::from_secs(4).saturating_sub(BEFORE));
    let r = w.arrive();
    let user = w.take(is_enter);
    let survey = w.take(|op| matches!(op, StoreOp::Survey { .. }));
    w.deliver_one(user);
    w.deliver_one(survey);
    let (call, enter) = w.take(is_enter);
    let reply = w.apply_late(enter);
    assert!(matches!(reply, StoreReply::Held { .. }));
    w.now = w.now + BEFORE;
    w.answer(call, Ok(reply));
    assert_eq!(w.account_of(r), None);
    let resync = taken(&mut w);
    assert_eq!((held(&resync), busy(&resync)), (vec![(r, 0)], vec![(r, 1)]));
}

#[test]
fn a_call_lists_no_more_than_256_leases_of_every_kind() {
    let mut w = World::new(Policy::fair(), &[ONE]);
    w.reload(roster(2, Limit::Unlimited, &[ONE]));
    let ((), resync) = audit(&mut w, |w| {
        for _ in 0..140 {
            w.arrive();
        }
    });
    assert_eq!(resync.held.len() + resync.waiting.len() + resync.busy.len(), 256);
    assert!(!resync.waiting.is_empty() && !resync.last);
}
