//! I1: no grant is made while held ≥ limit, and attempts open at the gateway never exceed the limit
//! while sessions hold. What exceeds it must have a declared cause: a lowered limit, a resync, an ended
//! session, a ttl, a store that lost its data. An attempt is opened on a slot that was told to the node's
//! present session, while that is believed in.

use std::collections::{BTreeMap, BTreeSet};

use sluice_engine::ledger::history::{Ending, Fact, Way};
use sluice_engine::store::Limit;
use sluice_engine::{
    AccountId, Ask, Attempt, GateId, NodeId, RequestId, StoreOp, StoreReply, Time,
};

use super::{Books, Checker};
use crate::history::{Record, What};

/// Judges I1.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// When each join and beat that is unanswered was sent.
    sent: BTreeMap<(usize, Ask), Time>,
    /// Per node: its session, and when the last join or beat that the store acknowledged was sent.
    sessions: BTreeMap<usize, (NodeId, Time)>,
    /// The session that was told of a request's slot last.
    told: BTreeMap<(RequestId, Attempt), NodeId>,
    /// Slots that a ttl has ended.
    expired: BTreeSet<(RequestId, Attempt, GateId)>,
}

impl Checker for Limits {
    fn id(&self) -> &'static str {
        "I1"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        if let What::Fact(entry) = &record.what {
            if let Fact::Ended { lease, gate, how: Ending::Expired } = entry.fact {
                self.expired.insert((lease.request, lease.attempt, gate));
            }
            return granted(books, &entry.fact);
        }
        if let What::Sent { node, call, op } = &record.what
            && let StoreOp::Join { .. } | StoreOp::Beat { .. } = **op
        {
            self.sent.insert((*node, *call), record.at);
        }
        if let What::Told { node, call, result: Ok(reply) } = &record.what
            && let Some(op) = books.calls.get(&(*node, *call))
        {
            self.hear(*node, *call, op, reply);
        }
        if let What::Launched { node, .. } = record.what {
            self.sessions.remove(&node);
        }
        if let What::Opened { node, req, attempt, account } = record.what {
            self.believed(books, record.at, node, req, attempt)?;
            return self.opened(books, record.at, req, attempt, account);
        }
        Ok(())
    }
}

impl Limits {
    fn hear(&mut self, node: usize, call: Ask, op: &StoreOp, reply: &StoreReply) {
        let sent = self.sent.remove(&(node, call));
        match (op, reply) {
            (StoreOp::Join { .. }, StoreReply::Joined { node: name, .. }) => {
                self.sessions.insert(node, (*name, sent.unwrap_or_default()));
            }
            (StoreOp::Beat { node: of, .. }, StoreReply::Alive { .. }) => {
                if let Some((name, last)) = self.sessions.get_mut(&node)
                    && name == of
                {
                    *last = sent.map_or(*last, |sent| sent.max(*last));
                }
            }
            (StoreOp::Enter(enter), StoreReply::Held { .. }) => {
                self.told.insert((enter.lease.request, enter.lease.attempt), enter.lease.node);
            }
            _ => {}
        }
    }

    fn believed(
        &self,
        books: &Books<'_>,
        at: Time,
        node: usize,
        req: RequestId,
        attempt: Attempt,
    ) -> Result<(), String> {
        let Some(&(name, last)) = self.sessions.get(&node) else {
            return Err(format!("{req}.{attempt} is sent on without a session"));
        };
        let told = self.told.get(&(req, attempt));
        if told != Some(&name) {
            return Err(format!("{req}.{attempt} is sent on by {name}, but {told:?} has its slot"));
        }
        if at >= last + books.scenario.policy.belief {
            return Err(format!("{req}.{attempt} is sent on by {name}, last well at {last:?}"));
        }
        Ok(())
    }

    fn opened(
        &self,
        books: &Books<'_>,
        at: Time,
        req: RequestId,
        attempt: Attempt,
        account: AccountId,
    ) -> Result<(), String> {
        let gate = GateId::Account(account);
        match books.held(req, attempt) {
            Some((_, held)) if held.gate == gate && held.claimed => {}
            found => {
                // A node believes in its session for a while after the store lost everything.
                let forgot =
                    books.forgot.is_some_and(|f| at.since(f) < books.scenario.policy.belief);
                let expired = self.expired.contains(&(req, attempt, gate));
                if !forgot && !expired {
                    return Err(format!("{req}.{attempt} goes to {gate} but has {found:?} there"));
                }
            }
        }
        if books.held(req, Attempt(0)).is_none() {
            let lost = books.lost.get(&(req, Attempt(0)));
            let aged = books.scenario.policy.lease_ttl.is_some() && lost == Some(&Ending::Orphaned);
            let declared = aged || matches!(lost, Some(Ending::Reaped | Ending::Expired));
            if !declared && books.forgot.is_none() {
                return Err(format!("{req} is sent on without a slot of its user's ({lost:?})"));
            }
        }
        self.excess(books, req, attempt, account)
    }

    /// Counts what is open at an account, with this attempt, against its limit.
    fn excess(
        &self,
        books: &Books<'_>,
        req: RequestId,
        attempt: Attempt,
        account: AccountId,
    ) -> Result<(), String> {
        let at_gate = GateId::Account(account);
        let Some(gate) = books.gates.get(&at_gate) else { return Ok(()) };
        let limit = match gate.limit {
            Some(Limit::Slots(n)) => n,
            Some(Limit::Closed) => 0,
            Some(Limit::Unlimited) | None => return Ok(()),
        };
        let mut open = vec![(req, attempt)];
        for (&id, request) in &books.requests {
            if let Some(one) = request.open()
                && one.account == account
            {
                open.push((id, one.attempt));
            }
        }
        // A late `Enter` may give a lease another slot after its ttl has ended the first.
        let moved = |r, a| {
            self.expired.contains(&(r, a, at_gate))
                && books.held(r, a).is_some_and(|(_, held)| held.gate != at_gate)
        };
        let uncovered =
            |&&(r, a): &&(RequestId, Attempt)| books.held(r, a).is_none() || moved(r, a);
        let uncovered = open.iter().filter(uncovered).count() as u32;
        // Over the limit in the store itself: only by a lowered limit or a resync, see `granted`.
        let covered_max = gate.held.max(limit);
        let open = open.len() as u32;
        if open > covered_max + uncovered {
            return Err(format!(
                "{open} attempts are open at {account}: limit {limit}, held {}, without lease {uncovered}",
                gate.held,
            ));
        }
        Ok(())
    }
}

fn granted(books: &Books<'_>, fact: &Fact) -> Result<(), String> {
    let Fact::Granted { lease, gate, way, held, limit, .. } = *fact else { return Ok(()) };
    let known = books.gates.get(&gate);
    let mine = known.map_or(0, |g| g.held) + 1;
    if mine != held {
        return Err(format!("{gate}: the ledger counts {held} held, its history {mine}"));
    }
    if let Some(known) = known.and_then(|g| g.limit)
        && known != limit
    {
        return Err(format!("{gate}: granted by {limit:?}, but it was set to {known:?}"));
    }
    if way != Way::Resynced && !limit.has_room(held - 1) {
        return Err(format!("{lease} is granted {gate} as number {held} of {limit:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testkit::{Kit, account, lease, user};
    use sluice_engine::store::Limit::Slots;

    /// Request 1 has both its slots, and its node was told so in session 1.
    fn told_to_hold() -> Kit {
        let mut kit = Kit::new();
        kit.limit(account(1), Slots(1)).grant(1, 0, user(1), 1, Slots(1)).join_told(1, 1);
        kit.grant(1, 1, account(1), 1, Slots(1)).held_told(2, 1, 1, account(1));
        kit
    }

    #[test]
    fn a_claimed_slot_within_the_limit_is_accepted() {
        assert_eq!(told_to_hold().open(1, 1, 1).judge(Limits::default()), None);
    }

    #[test]
    fn an_attempt_without_belief_in_the_session_is_rejected() {
        let opened_after = |ms| told_to_hold().wait(ms).open(1, 1, 1).judge(Limits::default());
        assert_eq!(opened_after(5_999), None);
        assert!(opened_after(6_000).is_some());
        let beat = StoreOp::Beat { node: NodeId(1), settled: 2, in_flight: 0 };
        let alive = StoreReply::Alive { members: vec![], epoch: 0, leases: 2 };
        let mut kit = told_to_hold();
        kit.wait(3_000).send(3, beat).wait(500).tell(3, alive);
        assert_eq!(kit.wait(5_499).open(1, 1, 1).judge(Limits::default()), None);
        let mut kit = told_to_hold();
        kit.wait(3_000).send(3, StoreOp::Reap { max: 1 }).tell(3, StoreReply::Done).wait(5_499);
        assert!(kit.open(1, 1, 1).judge(Limits::default()).is_some());
    }

    #[test]
    fn an_attempt_on_what_a_former_session_was_told_is_rejected() {
        let mut kit = told_to_hold();
        kit.join_told(3, 2).open(1, 1, 1);
        assert!(kit.judge(Limits::default()).is_some());
    }

    #[test]
    fn a_grant_beyond_the_limit_is_rejected() {
        let mut kit = Kit::new();
        kit.limit(account(1), Slots(1)).grant(1, 1, account(1), 1, Slots(1));
        kit.grant(2, 1, account(1), 2, Slots(1));
        assert!(kit.judge(Limits::default()).is_some());
    }

    #[test]
    fn an_attempt_without_a_claimed_slot_is_rejected() {
        let mut kit = Kit::new();
        kit.limit(account(1), Slots(1)).grant(1, 0, user(1), 1, Slots(1)).join_told(1, 1);
        kit.held_told(2, 1, 1, account(1)).open(1, 1, 1);
        assert!(kit.judge(Limits::default()).is_some());
    }

    #[test]
    fn a_slot_that_its_ttl_has_ended_excuses_what_ran_on_it_and_nothing_else() {
        let opened_beside = |ended_at| {
            let mut kit = told_to_hold();
            kit.arrive(1, 1).open(1, 1, 1).end(1, 1, account(1), Ending::Declined);
            kit.grant(1, 1, account(2), 1, Slots(1));
            kit.fact(Fact::Ended {
                lease: lease(1, 1),
                gate: account(ended_at),
                how: Ending::Expired,
            });
            kit.grant(1, 1, account(3), 1, Slots(1));
            kit.grant(2, 0, user(1), 2, Slots(2)).grant(2, 1, account(1), 1, Slots(1));
            kit.held_told(3, 2, 1, account(1)).open(2, 1, 1).judge(Limits::default())
        };
        assert_eq!(opened_beside(1), None);
        assert!(opened_beside(2).is_some());
    }

    #[test]
    fn an_attempt_without_its_users_slot_is_rejected() {
        let mut kit = Kit::new();
        kit.limit(account(1), Slots(1)).grant(1, 1, account(1), 1, Slots(1)).join_told(1, 1);
        kit.held_told(2, 1, 1, account(1)).open(1, 1, 1);
        assert!(kit.judge(Limits::default()).is_some());
    }
}
