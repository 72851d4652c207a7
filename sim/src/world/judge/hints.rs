//! A waiting request that is told of a grant claims it at once, and not when it would have asked again.
#![expect(clippy::wildcard_enum_match_arm, reason = "of all that happens a judge sees little")]

use std::collections::BTreeMap;

use sluice_engine::{Ask, LeaseId, Span, StoreOp, StoreReply, Time};

use crate::check::{Books, Checker};
use crate::history::{Record, What};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct ClaimsAtOnce {
    leases: BTreeMap<LeaseId, Lease>,
    /// Of nodes whose newest roster the store has not acknowledged: they ask for nothing.
    defining: BTreeMap<usize, Ask>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lease {
    node: usize,
    /// The ask that has no answer yet.
    asking: Option<Ask>,
    /// The newest answer was to wait.
    waits: bool,
    /// Told of a grant, and not yet asked since.
    hinted: bool,
    /// Since when nothing has stood in the way of asking.
    due: Option<Time>,
}

/// A turn of the engine takes no time, but its task has to be woken.
const AT_ONCE: Span = Span::from_ms(20);

impl Checker for ClaimsAtOnce {
    fn id(&self) -> &'static str {
        "hint"
    }

    fn see(&mut self, _: &Books<'_>, record: &Record) -> Result<(), String> {
        let at = record.at;
        let late = |lease: &Lease| lease.due.is_some_and(|due| at > due + AT_ONCE);
        if let Some((lease, of)) = self.leases.iter().find(|(_, lease)| late(lease)) {
            return Err(format!(
                "{lease} was granted a slot at {:?}, and does not claim it",
                of.due
            ));
        }
        match &record.what {
            What::Crashed { node } => {
                self.leases.retain(|_, lease| lease.node != *node);
                self.defining.remove(node);
            }
            What::Sent { node, call, op } => self.sent(*node, *call, op),
            What::Told { node, call, result } => {
                if matches!(result, Ok(StoreReply::Lost | StoreReply::Joined { .. })) {
                    // Its requests ask under another name.
                    self.leases.retain(|_, lease| lease.node != *node);
                }
                let asked = |lease: &&mut Lease| lease.node == *node && lease.asking == Some(*call);
                if let Some(lease) = self.leases.values_mut().find(asked) {
                    lease.asking = None;
                    lease.waits = matches!(result, Ok(StoreReply::Waiting { .. }));
                }
                if self.defining.get(node) == Some(call) && result.is_ok() {
                    self.defining.remove(node);
                }
            }
            What::Hinted { lease, .. } => {
                if let Some(lease) = self.leases.get_mut(lease) {
                    lease.hinted = true;
                }
            }
            _ => {}
        }
        for lease in self.leases.values_mut() {
            let defined = !self.defining.contains_key(&lease.node);
            let free = lease.hinted && lease.waits && lease.asking.is_none() && defined;
            lease.due = free.then(|| lease.due.unwrap_or(at));
        }
        Ok(())
    }
}

impl ClaimsAtOnce {
    fn sent(&mut self, node: usize, call: Ask, op: &StoreOp) {
        match op {
            StoreOp::Enter(enter) => {
                let asking = Some(call);
                let lease = Lease { node, asking, ..Lease::default() };
                self.leases.insert(enter.lease, lease);
            }
            StoreOp::Leave { lease, .. } => drop(self.leases.remove(lease)),
            StoreOp::Define(_) => drop(self.defining.insert(node, call)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use sluice_engine::store::{Define, Discipline, Enter, HealthRules, Version, Want};
    use sluice_engine::{AccountId, Attempt, GateId, ModelId, NodeId, RequestId, StoreFault, Tag};

    use super::*;
    use crate::world::judge::kit::{accepts_at, calm};

    const LEASE: LeaseId = LeaseId { node: NodeId(1), request: RequestId(1), attempt: Attempt(1) };
    const GATE: GateId = GateId::Account(AccountId(1));

    fn asks(call: u64) -> What {
        let want = Want::Gate { account: AccountId(1), model: ModelId(1), line_max: 1 };
        let enter =
            Enter { lease: LEASE, ask: Ask(call), want, tag: None, patience: None, ttl: None };
        What::Sent { node: 0, call: Ask(call), op: Rc::new(StoreOp::Enter(enter)) }
    }

    fn told(call: u64, result: Result<StoreReply, StoreFault>) -> What {
        What::Told { node: 0, call: Ask(call), result }
    }

    fn waits(call: u64) -> What {
        let reply = StoreReply::Waiting { position: 1, tag: Tag(1), opens_in: None };
        told(call, Ok(reply))
    }

    fn hint() -> What {
        What::Hinted { node: 0, lease: LEASE, gate: GATE }
    }

    fn leaves(call: u64) -> What {
        let op = StoreOp::Leave { lease: LEASE, mark: None, fence: false };
        What::Sent { node: 0, call: Ask(call), op: Rc::new(op) }
    }

    /// Each at so many milliseconds, and then a long time later something else.
    fn judged(records: Vec<(u64, What)>) -> bool {
        let after = (1_000, What::Healed);
        let in_us = records.into_iter().chain([after]).map(|(ms, what)| (1_000 * ms, what));
        accepts_at(ClaimsAtOnce::default(), &calm(), in_us.collect())
    }

    #[test]
    fn who_waits_and_is_told_asks_or_leaves_at_once() {
        let told = || vec![(1, asks(1)), (5, waits(1)), (9, hint())];
        assert!(!judged(told()));
        for next in [asks(2), leaves(2)] {
            let mut claimed = told();
            claimed.push((9, next));
            assert!(judged(claimed));
        }
    }

    #[test]
    fn who_cannot_ask_before_the_store_knows_its_roster_asks_then() {
        let define = Define {
            version: Version::default(),
            discipline: Discipline::Settle,
            health: HealthRules::default(),
            accounts: Vec::new(),
            pools: Vec::new(),
        };
        let tells = What::Sent { node: 0, call: Ask(2), op: Rc::new(StoreOp::Define(define)) };
        let told_so = |ms| {
            let known = (ms, told(2, Ok(StoreReply::Done)));
            vec![(1, asks(1)), (5, waits(1)), (9, tells.clone()), (9, hint()), known]
        };
        assert!(!judged(told_so(200)));
        assert!(judged([told_so(200), vec![(200, asks(3))]].concat()));
        assert!(!judged([told_so(200), vec![(300, asks(3))]].concat()));
    }

    #[test]
    fn a_hint_that_overtakes_its_answer_is_kept() {
        assert!(!judged(vec![(1, asks(1)), (4, hint()), (5, waits(1))]));
        assert!(judged(vec![(1, asks(1)), (4, hint()), (5, waits(1)), (5, asks(2))]));
        let held = StoreReply::Held { gate: GATE, tag: Tag(1), probe: false };
        assert!(judged(vec![(1, asks(1)), (4, hint()), (5, told(1, Ok(held)))]));
        assert!(judged(vec![(1, asks(1)), (4, hint()), (5, told(1, Err(StoreFault::Unknown)))]));
    }
}
