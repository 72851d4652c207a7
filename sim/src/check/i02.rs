//! I2: every grant ends exactly once, and nobody has two slots by one lease. And a request that has
//! ended gives back what it has: nothing of it stays in the store without a `Leave` under way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sluice_engine::ledger::history::Fact;
use sluice_engine::{Attempt, NodeId, RequestId, Span, StoreOp, StoreReply, Time};

use super::books::key;
use super::{Books, Checker};
use crate::history::{Record, What};

/// Judges I2.
#[derive(Debug, Default)]
pub(super) struct GrantsEnd {
    /// Leases for which a `Leave` was sent, or which were told to have nothing: such an ask applied a
    /// second time is found by the count of the next beats.
    leaving: BTreeSet<(RequestId, Attempt)>,
    /// Requests that ended lately, and when.
    ended: VecDeque<(Time, usize, RequestId)>,
    /// Per node: when it last began a session; the end of time while it has none.
    unsettled: BTreeMap<usize, Time>,
}

impl Checker for GrantsEnd {
    fn id(&self) -> &'static str {
        "I2"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        if let What::Over { quiet: true, .. } = record.what
            && let Some((left, held)) = books.leases.first_key_value()
        {
            return Err(format!("the grant of {left:?} never ended: {held:?}"));
        }
        self.gives_back(books, record)?;
        let What::Fact(entry) = &record.what else { return Ok(()) };
        if let Fact::Granted { lease, gate, .. } = entry.fact
            && let Some(held) = books.leases.get(&key(lease))
        {
            return Err(format!("{lease} is granted {gate} while it has {}", held.gate));
        }
        if let Fact::Claimed { lease, gate } = entry.fact {
            let held = books.leases.get(&key(lease));
            if held.is_none_or(|h| h.gate != gate || h.claimed) {
                return Err(format!("{lease} claims {gate} but has {held:?}"));
            }
        }
        if let Fact::Ended { lease, gate, how } = entry.fact {
            let held = books.leases.get(&key(lease));
            if held.is_none_or(|h| h.gate != gate) {
                return Err(format!("{lease} ends at {gate} ({how:?}) but has {held:?}"));
            }
        }
        if let Fact::Renamed { from, to } = entry.fact
            && (books.leases.contains_key(&key(to)) || books.tickets.contains_key(&key(to)))
        {
            return Err(format!("{from} goes on as {to}, which is there already"));
        }
        Ok(())
    }
}

impl GrantsEnd {
    fn gives_back(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        let at = record.at;
        if let What::Sent { op, .. } = &record.what
            && let StoreOp::Leave { lease, .. } = **op
        {
            self.leaving.insert((lease.request, lease.attempt));
        }
        if let What::Told { node, call, result: Ok(StoreReply::Full | StoreReply::Shut { .. }) } =
            record.what
            && let Some(op) = books.calls.get(&(node, call))
            && let StoreOp::Enter(enter) = &**op
        {
            self.leaving.insert((enter.lease.request, enter.lease.attempt));
        }
        if let What::Sent { op, .. } = &record.what
            && let StoreOp::Enter(enter) = &**op
        {
            self.leaving.remove(&(enter.lease.request, enter.lease.attempt));
        }
        if let What::Told { node, result: Ok(StoreReply::Lost), .. } = record.what {
            self.unsettled.insert(node, Time(u64::MAX));
        }
        if let What::Told { node, result: Ok(StoreReply::Joined { .. }), .. }
        | What::Launched { node, .. }
        | What::Crashed { node } = record.what
        {
            self.unsettled.insert(node, at);
        }
        if let What::Finished { node, req, .. } = record.what {
            self.ended.push_back((at, node, req));
        }
        // Between two sessions nothing is left: the next resync does not list it.
        while let Some(&(ended, node, req)) = self.ended.front()
            && at >= ended + GIVING_BACK
        {
            self.ended.pop_front();
            let lately = self.unsettled.get(&node).is_some_and(|&u| u + BETWEEN >= ended);
            let all = (req, Attempt(0), NodeId(0))..=(req, Attempt(u16::MAX), NodeId(u64::MAX));
            let held = books.leases.range(all.clone()).map(|(k, _)| k);
            let mut stays = held.chain(books.tickets.range(all).map(|(k, _)| k));
            if let Some(left) = stays.find(|k| !self.leaving.contains(&(k.0, k.1)))
                && !lately
                && books.scenario.policy.debts_max > 100
            {
                return Err(format!("{req} ended at {ended:?} and keeps {left:?}"));
            }
        }
        Ok(())
    }
}

/// A request that ended has sent its leaves by then.
const GIVING_BACK: Span = Span::from_ms(1);
/// So long after a session began its first resync may be under way.
const BETWEEN: Span = Span::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testkit::{Kit, account, lease};
    use sluice_engine::Verdict;
    use sluice_engine::ledger::history::Ending;
    use sluice_engine::store::Limit::Slots;

    #[test]
    fn a_grant_that_ends_once_is_accepted() {
        let mut kit = Kit::new();
        kit.grant(1, 1, account(1), 1, Slots(2)).end(1, 1, account(1), Ending::Left).over();
        assert_eq!(kit.judge(GrantsEnd::default()), None);
    }

    #[test]
    fn an_ended_request_that_keeps_its_slot_is_rejected() {
        let mut kit = Kit::new();
        kit.arrive(1, 1).grant(1, 1, account(1), 1, Slots(2)).finish(1, Verdict::Abandoned);
        kit.wait(10);
        assert!(kit.judge(GrantsEnd::default()).is_some());
        let leave = StoreOp::Leave { lease: lease(1, 1), mark: None, fence: false };
        let mut kit = Kit::new();
        kit.arrive(1, 1).grant(1, 1, account(1), 1, Slots(2)).send(1, leave);
        kit.finish(1, Verdict::Abandoned).wait(10);
        assert_eq!(kit.judge(GrantsEnd::default()), None);
    }

    #[test]
    fn a_second_end_a_second_slot_and_no_end_are_rejected() {
        let mut twice = Kit::new();
        twice.grant(1, 1, account(1), 1, Slots(2)).end(1, 1, account(1), Ending::Left);
        twice.end(1, 1, account(1), Ending::PassedOn);
        assert!(twice.judge(GrantsEnd::default()).is_some());
        let mut two = Kit::new();
        two.grant(1, 1, account(1), 1, Slots(2)).grant(1, 1, account(2), 1, Slots(2));
        assert!(two.judge(GrantsEnd::default()).is_some());
        let mut never = Kit::new();
        never.grant(1, 1, account(1), 1, Slots(2)).over();
        assert!(never.judge(GrantsEnd::default()).is_some());
    }
}
