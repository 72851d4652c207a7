//! I3: a live request on a live node never loses a claimed lease. A session ends only when it was not
//! prolonged, a ttl only where the policy has one.

use std::collections::BTreeMap;

use sluice_engine::ledger::history::{Ending, Fact, Way};
use sluice_engine::{Attempt, GateId, LeaseId, RequestId, Time};

use super::books::key;
use super::{Books, Checker};
use crate::history::{Record, What};

/// Judges I3.
#[derive(Debug, Default)]
pub(super) struct KeepsLease {
    /// When a lease was first granted.
    first: BTreeMap<(RequestId, Attempt), Time>,
}

impl Checker for KeepsLease {
    fn id(&self) -> &'static str {
        "I3"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        if let What::Fact(entry) = &record.what
            && let Fact::Granted { lease, .. } = entry.fact
        {
            self.first.entry((lease.request, lease.attempt)).or_insert(record.at);
        }
        if let What::Fact(entry) = &record.what
            && let Fact::Ended { lease, gate, how } = entry.fact
            && books.leases.get(&key(lease)).is_some_and(|h| h.claimed)
        {
            // What has outlived its ttl by its node's clock is not missed.
            let first = self.first.get(&(lease.request, lease.attempt)).copied();
            let old = books
                .scenario
                .policy
                .lease_ttl
                .is_some_and(|ttl| first.is_some_and(|first| record.at >= first + ttl));
            if how == Ending::Orphaned && old {
                return Ok(());
            }
            return ended(books, lease, gate, how);
        }
        Ok(())
    }
}

fn ended(books: &Books<'_>, lease: LeaseId, gate: GateId, how: Ending) -> Result<(), String> {
    let request = books.requests.get(&lease.request).filter(|r| !r.crashed);
    let open = request.and_then(|r| r.open());
    let in_use = open.is_some_and(|t| {
        t.attempt == lease.attempt
            || (lease.attempt.0 == 0 && request.is_some_and(|r| r.finished.is_none()))
    });
    let lost = |why: &str| Err(format!("{lease} loses {gate} ({how:?}) {why}"));
    match how {
        Ending::Reaped => {
            // A join renames its leases away before; what is reaped is of a session that ended.
            if books.session_over(lease.node) { Ok(()) } else { lost("while its session holds") }
        }
        Ending::Expired => match books.scenario.policy.lease_ttl {
            Some(ttl) => {
                // A resync brings in what is left of a ttl: when that began is not to be seen.
                let held = books.leases.get(&key(lease)).filter(|h| h.way != Way::Resynced);
                let early = held.is_some_and(|h| books.clock < h.since + ttl);
                if early { lost("before its ttl") } else { Ok(()) }
            }
            None => lost("though nothing has a ttl"),
        },
        Ending::Left | Ending::Declined | Ending::PassedOn | Ending::Joined | Ending::Orphaned => {
            if in_use {
                lost("while it is in use")
            } else {
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testkit::{Kit, account};
    use sluice_engine::store::Limit::Slots;

    #[test]
    fn leaving_after_the_attempt_is_accepted() {
        let mut kit = Kit::new();
        kit.arrive(1, 1).grant(1, 1, account(1), 1, Slots(1)).open(1, 1, 1).close(1, 1);
        kit.end(1, 1, account(1), Ending::Left);
        assert_eq!(kit.judge(KeepsLease::default()), None);
    }

    #[test]
    fn losing_the_slot_of_an_open_attempt_is_rejected() {
        for how in [Ending::Left, Ending::Orphaned, Ending::Declined, Ending::Expired] {
            let mut kit = Kit::new();
            kit.arrive(1, 1).grant(1, 1, account(1), 1, Slots(1)).open(1, 1, 1);
            kit.end(1, 1, account(1), how);
            assert!(kit.judge(KeepsLease::default()).is_some(), "{how:?}");
        }
    }

    #[test]
    fn reaping_is_for_ended_sessions() {
        let mut kit = Kit::new();
        kit.join(1).grant(1, 1, account(1), 1, Slots(1)).wait(9_999);
        kit.end(1, 1, account(1), Ending::Reaped);
        assert!(kit.judge(KeepsLease::default()).is_some());
        let mut kit = Kit::new();
        kit.join(1).grant(1, 1, account(1), 1, Slots(1)).wait(10_000);
        kit.end(1, 1, account(1), Ending::Reaped);
        assert_eq!(kit.judge(KeepsLease::default()), None);
    }
}
