//! I1: no grant is made while held ≥ limit, and attempts open at the gateway never exceed the limit
//! while sessions hold. What exceeds it must have a declared cause: a lowered limit, a resync, an ended
//! session, a ttl, a store that lost its data.

use sluice_engine::ledger::history::{Ending, Fact, Way};
use sluice_engine::store::Limit;
use sluice_engine::{AccountId, Attempt, GateId, RequestId, Time};

use super::{Books, Checker};
use crate::history::{Record, What};

/// Judges I1.
#[derive(Debug, Default)]
pub(super) struct Limits;

impl Checker for Limits {
    fn id(&self) -> &'static str {
        "I1"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        if let What::Fact(entry) = &record.what {
            return granted(books, &entry.fact);
        }
        if let What::Opened { req, attempt, account, .. } = record.what {
            return opened(books, record.at, req, attempt, account);
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

fn opened(
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
            let forgot = books.forgot.is_some_and(|f| at.since(f) < books.scenario.policy.belief);
            let expired = books.lost.get(&(req, attempt)) == Some(&Ending::Expired);
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
    excess(books, req, attempt, account)
}

/// Counts what is open at an account, with this attempt, against its limit.
fn excess(
    books: &Books<'_>,
    req: RequestId,
    attempt: Attempt,
    account: AccountId,
) -> Result<(), String> {
    let Some(gate) = books.gates.get(&GateId::Account(account)) else { return Ok(()) };
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
        books.lost.get(&(r, a)) == Some(&Ending::Expired)
            && books.held(r, a).is_some_and(|(_, held)| held.gate != GateId::Account(account))
    };
    let uncovered = |&&(r, a): &&(RequestId, Attempt)| books.held(r, a).is_none() || moved(r, a);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testkit::{Kit, account, user};
    use sluice_engine::store::Limit::Slots;

    #[test]
    fn a_claimed_slot_within_the_limit_is_accepted() {
        let mut kit = Kit::new();
        kit.limit(account(1), Slots(1)).grant(1, 0, user(1), 1, Slots(1));
        kit.grant(1, 1, account(1), 1, Slots(1)).open(1, 1, 1);
        assert_eq!(kit.judge(Limits), None);
    }

    #[test]
    fn a_grant_beyond_the_limit_is_rejected() {
        let mut kit = Kit::new();
        kit.limit(account(1), Slots(1)).grant(1, 1, account(1), 1, Slots(1));
        kit.grant(2, 1, account(1), 2, Slots(1));
        assert!(kit.judge(Limits).is_some());
    }

    #[test]
    fn an_attempt_without_a_claimed_slot_is_rejected() {
        let mut kit = Kit::new();
        kit.limit(account(1), Slots(1)).grant(1, 0, user(1), 1, Slots(1)).open(1, 1, 1);
        assert!(kit.judge(Limits).is_some());
    }

    #[test]
    fn an_attempt_without_its_users_slot_is_rejected() {
        let mut kit = Kit::new();
        kit.limit(account(1), Slots(1)).grant(1, 1, account(1), 1, Slots(1)).open(1, 1, 1);
        assert!(kit.judge(Limits).is_some());
    }
}
