//! I4: in store time, a dead node's grants are free within the claim window, its slots within session
//! and reap interval, or at once on its restart.

use std::collections::BTreeMap;

use sluice_engine::ledger::history::{Ending, Fact};
use sluice_engine::store::{CLAIM_WINDOW, SESSION};
use sluice_engine::{NodeId, Span, StoreOp, StoreReply, Time};

use super::{Books, Checker};
use crate::history::{Record, What};
use crate::scenario::FaultKind;

/// What may pass between two beats and on the way, once all faults have ended.
const SLACK: Span = Span::from_secs(3);

/// Judges I4.
#[derive(Debug, Default)]
pub(super) struct DeadAreFreed {
    succeeded: Option<NodeId>,
    /// Per node: since when it has been up and on good terms with the store.
    well: BTreeMap<usize, Time>,
}

impl Checker for DeadAreFreed {
    fn id(&self) -> &'static str {
        "I4"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        if let What::Fact(entry) = &record.what {
            if let Fact::Joined { replaces: Some(former), resume: false, .. } = entry.fact {
                self.succeeded = Some(former);
            }
            if let Fact::Ended { lease, how: Ending::Reaped, .. } = entry.fact {
                return reaped_in_time(books, lease.node);
            }
        }
        if let What::Launched { node, .. }
        | What::Thawed { node }
        | What::Told { node, result: Err(_) | Ok(StoreReply::Lost), .. } = record.what
        {
            self.well.insert(node, record.at);
        }
        if let What::Crashed { node } | What::Froze { node } = record.what {
            self.well.remove(&node);
        }
        let What::Applied { op, reply, due, .. } = &record.what else { return Ok(()) };
        if let StoreOp::Beat { .. } = **op {
            self.overdue(books, record.at)?;
        }
        if let Some(former) = self.succeeded.take()
            && let Some(left) = of(books, |node| node == former)
        {
            return Err(format!("{left} outlives the restart of its node"));
        }
        if let (StoreOp::Reap { .. }, StoreReply::Reaped { more: false }) = (&**op, reply)
            && let Some(left) = of(books, |node| books.session_over(node))
        {
            return Err(format!("{left} is of an ended session, but nothing is left to reap"));
        }
        if !due && !matches!(**op, StoreOp::Survey { .. }) {
            let old = |(_, h): &(_, &super::books::Held)| {
                !h.claimed && books.clock >= h.since + CLAIM_WINDOW
            };
            if let Some((key, held)) = books.leases.iter().find(old) {
                return Err(format!("the grant of {key:?} outlives its window: {held:?}"));
            }
        }
        Ok(())
    }
}

impl DeadAreFreed {
    /// While any node is well, nothing outlives its session for long.
    fn overdue(&self, books: &Books<'_>, at: Time) -> Result<(), String> {
        let policy = &books.scenario.policy;
        let every = policy.reap_interval.unwrap_or(Span::ZERO) + policy.beat_interval;
        let within = every + every + SLACK;
        if !self.well.values().any(|&since| at >= since + within) || steps_back(books) {
            return Ok(());
        }
        let dead = |node: NodeId| {
            let session = books.sessions.get(&node);
            session.is_none_or(|s| books.clock >= s.last + SESSION + within)
        };
        match of(books, dead) {
            Some(left) => Err(format!("{left} is still there, and nobody reaps it")),
            None => Ok(()),
        }
    }
}

/// A clock set back stands still, and a late tick is a late beat: then there is no telling.
fn steps_back(books: &Books<'_>) -> bool {
    books.scenario.faults.iter().any(|fault| {
        matches!(fault.kind, FaultKind::Clock { step_us } if step_us < 0)
            || matches!(fault.kind, FaultKind::Ticks { .. })
    })
}

fn of(books: &Books<'_>, dead: impl Fn(NodeId) -> bool) -> Option<String> {
    let held = books.leases.keys().chain(books.tickets.keys()).find(|k| dead(k.2));
    held.map(|(req, attempt, node)| format!("{node}.{req}.{attempt}"))
}

fn reaped_in_time(books: &Books<'_>, node: NodeId) -> Result<(), String> {
    let (Some((_, healed)), Some(session)) = (books.healed, books.sessions.get(&node)) else {
        return Ok(());
    };
    let policy = &books.scenario.policy;
    let every = policy.reap_interval.unwrap_or(Span::ZERO) + policy.beat_interval;
    let until = (session.last + SESSION).max(healed) + every + SLACK;
    if books.clock > until {
        return Err(format!("the slots of {node} are free at {:?} only", books.clock));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testkit::{Kit, account, lease, node};
    use sluice_engine::store::Limit::Slots;

    #[test]
    fn a_claimed_grant_may_grow_old() {
        let mut kit = Kit::new();
        kit.join(1).settle(1, 1, account(1), 1, Slots(1)).claim(1, 1, account(1)).wait(3_000);
        kit.applied(StoreOp::Reap { max: 1 }, StoreReply::Reaped { more: false });
        assert_eq!(kit.judge(DeadAreFreed::default()), None);
    }

    #[test]
    fn a_grant_that_outlives_its_window_is_rejected() {
        let mut kit = Kit::new();
        kit.join(1).settle(1, 1, account(1), 1, Slots(1)).wait(3_000);
        kit.applied(StoreOp::Reap { max: 1 }, StoreReply::Reaped { more: true });
        assert!(kit.judge(DeadAreFreed::default()).is_some());
    }

    #[test]
    fn a_slot_that_outlives_its_session_is_rejected_when_nothing_is_left_to_reap() {
        let mut kit = Kit::new();
        kit.join(1).grant(1, 1, account(1), 1, Slots(1)).wait(10_000);
        kit.applied(StoreOp::Reap { max: 1 }, StoreReply::Reaped { more: false });
        assert!(kit.judge(DeadAreFreed::default()).is_some());
    }

    #[test]
    fn a_slot_that_nobody_reaps_is_rejected_while_a_node_is_well() {
        let beat = StoreOp::Beat { node: node(2), settled: 0, in_flight: 0 };
        let alive = StoreReply::Alive { members: vec![], epoch: 0, leases: 0 };
        let mut kit = Kit::new();
        kit.launch().join(1).grant(1, 1, account(1), 1, Slots(1)).wait(18_999);
        kit.applied(beat.clone(), alive.clone());
        assert_eq!(kit.judge(DeadAreFreed::default()), None);
        kit.wait(1).applied(beat, alive);
        assert!(kit.judge(DeadAreFreed::default()).is_some());
    }

    #[test]
    fn a_slot_that_outlives_a_restart_is_rejected() {
        let mut kit = Kit::new();
        kit.join(1).grant(1, 1, account(1), 1, Slots(1)).rejoin(2, node(1), false);
        kit.applied(
            StoreOp::Beat { node: node(2), settled: 0, in_flight: 0 },
            StoreReply::Alive { members: vec![], epoch: 0, leases: 0 },
        );
        assert!(kit.judge(DeadAreFreed::default()).is_some());
        assert_eq!(lease(1, 1).node, node(1));
    }
}
