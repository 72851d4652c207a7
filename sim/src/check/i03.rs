//! I3: a live request on a live node never loses a claimed lease. A session ends only when it was not
//! prolonged or when its successor names it, a ttl only where the policy has one. Nor does a lease lose
//! what it asks for by asking for it, or by an ask that comes after a newer one.

use std::collections::BTreeMap;

use sluice_engine::ledger::history::{Ending, Fact, Line, Way};
use sluice_engine::store::{Enter, Want};
use sluice_engine::{Attempt, GateId, LeaseId, RequestId, StoreOp, Tag, Time};

use super::books::{Ticket, key};
use super::{Books, Checker};
use crate::history::{Record, What};

/// Judges I3.
#[derive(Debug, Default)]
pub(super) struct KeepsLease {
    /// When a lease was first granted.
    first: BTreeMap<(RequestId, Attempt), Time>,
    /// The lease of the ask that is being applied, if it waits by a newer one.
    late: Option<LeaseId>,
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
        if let What::Applying { op, .. } = &record.what {
            self.late = late(books, op);
        }
        if let What::Fact(entry) = &record.what {
            if let Fact::Queued { lease, .. } | Fact::Granted { lease, way: Way::Entered, .. } =
                entry.fact
                && self.late == Some(lease)
            {
                return Err(format!("{lease} waits and is moved by an ask that is not its newest"));
            }
            succeeded(books, &entry.fact)?;
            asked(books, &entry.fact)?;
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

fn late(books: &Books<'_>, op: &StoreOp) -> Option<LeaseId> {
    let StoreOp::Enter(enter) = op else { return None };
    let lease = key(enter.lease);
    let waits = books.tickets.get(&lease).is_some_and(|ticket| ticket.deadline > books.clock);
    let newer = books.known_ask(lease).is_some_and(|known| enter.ask <= known);
    (waits && newer).then_some(enter.lease)
}

/// A session in whose place another begins.
fn succeeded(books: &Books<'_>, fact: &Fact) -> Result<(), String> {
    if let Fact::Joined { node, replaces: Some(former), .. } = fact
        && let Some(StoreOp::Join { replaces, .. }) = books.applying.as_deref()
        && *replaces != Some(*former)
    {
        return Err(format!("{node} takes the place of {former} but names {replaces:?}"));
    }
    Ok(())
}

/// What an ask does to the slot that its lease has already.
fn asked(books: &Books<'_>, fact: &Fact) -> Result<(), String> {
    let Some(StoreOp::Enter(enter)) = books.applying.as_deref() else { return Ok(()) };
    let (lease, given_up) = if let Fact::Ended { lease, gate, how: Ending::Declined } = fact {
        (lease, Some(*gate))
    } else if let Fact::Claimed { lease, .. } = fact {
        (lease, None)
    } else {
        return Ok(());
    };
    if *lease != enter.lease {
        return Ok(());
    }
    if books.known_ask(key(enter.lease)).is_some_and(|known| enter.ask <= known) {
        return Err(format!(
            "{} is changed by {:?}, which is not its newest",
            enter.lease, enter.ask
        ));
    }
    if let Some(gate) = given_up.filter(|&gate| wants(books, enter, gate)) {
        return Err(format!("{} gives up {gate}, which is what it asks for", enter.lease));
    }
    Ok(())
}

fn wants(books: &Books<'_>, enter: &Enter, gate: GateId) -> bool {
    let line = match &enter.want {
        Want::User { user, .. } => Line::Gate(GateId::User(*user)),
        Want::Gate { account, .. } => Line::Gate(GateId::Account(*account)),
        Want::Pool { pool, .. } => Line::Pool(*pool),
    };
    let want = Some(enter.want.clone());
    let wish = Ticket { line, tag: Tag(0), want, deadline: Time(u64::MAX) };
    books.eligible(&wish, gate, Some(key(enter.lease)))
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
    use crate::check::testkit::{Kit, account, node};
    use sluice_engine::store::{Instance, Limit::Slots};

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
    fn a_join_that_does_not_name_whom_it_succeeds_is_rejected() {
        let joined_naming = |replaces| {
            let mut kit = Kit::new();
            let instance = Instance("node-0".into());
            kit.join(1).applying(StoreOp::Join { instance, replaces, resume: false, protocol: 1 });
            kit.rejoin(2, node(1), false).judge(KeepsLease::default())
        };
        assert_eq!(joined_naming(Some(node(1))), None);
        assert!(joined_naming(None).is_some());
    }

    #[test]
    fn a_late_ask_that_claims_is_rejected() {
        let claimed_by = |ask| {
            let mut kit = Kit::new();
            kit.define(1, &[1]).limit(account(1), Slots(1)).queue(5, 1, 1, 5, 5_000);
            kit.unqueue(5, 1, 1).settle(5, 1, account(1), 1, Slots(1));
            kit.applying(Kit::enter(5, 1, 1, ask, None, 5_000)).claim(5, 1, account(1));
            kit.judge(KeepsLease::default())
        };
        assert_eq!(claimed_by(6), None);
        assert!(claimed_by(5).is_some(), "the same ask a second time");
    }

    #[test]
    fn a_late_ask_that_moves_a_ticket_is_rejected() {
        let moved_by = |ask| {
            let mut kit = Kit::new();
            kit.define(1, &[1]).limit(account(1), Slots(1)).queue(5, 1, 1, 5, 5_000);
            kit.applying(Kit::enter(5, 1, 1, ask, None, 5_000)).unqueue(5, 1, 1);
            kit.grant(5, 1, account(1), 1, Slots(1)).judge(KeepsLease::default())
        };
        assert_eq!(moved_by(6), None);
        assert!(moved_by(4).is_some());
    }

    #[test]
    fn giving_up_what_is_asked_for_is_rejected() {
        let given_up_at = |id| {
            let mut kit = Kit::new();
            kit.define(1, &[1]).limit(account(id), Slots(1));
            kit.settle(5, 1, account(id), 1, Slots(1));
            kit.applying(Kit::enter(5, 1, 1, 6, None, 5_000));
            kit.end(5, 1, account(id), Ending::Declined).judge(KeepsLease::default())
        };
        assert_eq!(given_up_at(2), None, "it is not of the pool");
        assert!(given_up_at(1).is_some());
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
