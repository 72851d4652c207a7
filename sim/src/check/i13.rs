//! I13: a closing never gets shorter by itself, is capped by its cause, and ends in a probe: at most
//! one at a time per (account, model), over all nodes. A mark counts from the lease that holds the
//! account's slot, before that is handed on; from one that is older than the closing it proves nothing.

use sluice_engine::ledger::history::{Fact, Way};
use sluice_engine::store::{Cause, HealthChange};
use sluice_engine::{AccountId, GateId, LeaseId, ModelId, Span, StoreOp, Time};

use super::books::key;
use super::{Books, Checker};
use crate::history::{Record, What};

/// Judges I13.
#[derive(Debug, Default)]
pub(super) struct ClosingsAndProbes {
    /// Leases granted by the operation that is being applied.
    granted: Vec<(LeaseId, AccountId, ModelId)>,
}

impl Checker for ClosingsAndProbes {
    fn id(&self) -> &'static str {
        "I13"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        if let What::Applied { .. } = record.what {
            return self.applied(books);
        }
        let What::Fact(entry) = &record.what else { return Ok(()) };
        if let Fact::Granted { lease, gate: GateId::Account(account), model, way, .. } = entry.fact
            && way != Way::Resynced
        {
            for of in [None, Some(model)] {
                if let Some(closing) = books.closings.get(&(account, of))
                    && entry.raw < closing.until
                {
                    return Err(format!("{lease} is granted {account}, which {of:?} closes"));
                }
            }
            self.granted.push((lease, account, model));
        }
        if let Fact::Closed { account, model, .. } | Fact::Proved { account, model } = entry.fact
            && let Some(StoreOp::Leave { lease, .. }) = books.applying.as_deref()
        {
            let proves = matches!(entry.fact, Fact::Proved { .. });
            marked(books, entry.raw, (account, model), *lease, proves)?;
        }
        if let Fact::Proved { account, model } = entry.fact
            && let Some(StoreOp::Health { change: HealthChange::Proved(lease), .. }) =
                books.applying.as_deref()
            && books.closings.get(&(account, model)).is_none_or(|c| c.probe != Some(key(*lease)))
        {
            return Err(format!("{lease} proves {account} {model:?} and is not its probe"));
        }
        if let Fact::Closed { account, model, until, cause } = entry.fact {
            return closed(books, entry.raw, account, model, until, cause);
        }
        if let Fact::Probing { account, model, lease } = entry.fact {
            return probing(books, entry.raw, account, model, lease);
        }
        Ok(())
    }
}

impl ClosingsAndProbes {
    /// What was granted under a half-open key must be its probe.
    fn applied(&mut self, books: &Books<'_>) -> Result<(), String> {
        for (lease, account, model) in self.granted.drain(..) {
            if !books.leases.contains_key(&key(lease)) {
                continue;
            }
            for of in [None, Some(model)] {
                let closing = books.closings.get(&(account, of));
                if closing.is_some_and(|c| c.until <= books.raw && c.probe != Some(key(lease))) {
                    return Err(format!("{lease} is granted half-open {account} beside its probe"));
                }
            }
        }
        Ok(())
    }
}

/// The leave of this lease closes the key, or proves it.
fn marked(
    books: &Books<'_>,
    raw: Time,
    (account, model): (AccountId, Option<ModelId>),
    lease: LeaseId,
    proves: bool,
) -> Result<(), String> {
    let held = books.leases.get(&key(lease));
    let Some(held) = held.filter(|h| h.claimed && h.gate == GateId::Account(account)) else {
        return Err(format!("{lease} marks {account} {model:?} but has {held:?}"));
    };
    let Some(closing) = books.closings.get(&(account, model)) else { return Ok(()) };
    // What is closed may be closed for longer by an older lease.
    if held.order < closing.order && (proves || raw >= closing.until) {
        return Err(format!("{lease} marks {account} {model:?}, which has been closed since"));
    }
    Ok(())
}

fn closed(
    books: &Books<'_>,
    raw: Time,
    account: AccountId,
    model: Option<ModelId>,
    until: Time,
    cause: Cause,
) -> Result<(), String> {
    let rules = &books.scenario.policy.health;
    let cap = match cause {
        Cause::RateLimited => rules.rate_limit_max,
        Cause::Overloaded => rules.overload_max,
        Cause::Ejected => rules.ejection_max,
        Cause::Quarantined => rules.quarantine_max,
    };
    let before = books.closings.get(&(account, model)).map(|c| c.until).filter(|&u| u > raw);
    if let Some(before) = before
        && until < before
    {
        return Err(format!("the closing of {account} {model:?} gets shorter by {cause:?}"));
    }
    let length = until.since(raw);
    if length > cap && before != Some(until) {
        return Err(format!("{account} {model:?} is closed {} ms for {cause:?}", length.as_ms()));
    }
    if length == Span::ZERO && cause == Cause::Ejected {
        return Err(format!("{account} is ejected for no time at all"));
    }
    Ok(())
}

fn probing(
    books: &Books<'_>,
    raw: Time,
    account: AccountId,
    model: Option<ModelId>,
    lease: LeaseId,
) -> Result<(), String> {
    match books.closings.get(&(account, model)) {
        None => Err(format!("{lease} probes {account} {model:?}, which was never closed")),
        Some(closing) if raw < closing.until => {
            Err(format!("{lease} probes {account} {model:?}, which is closed"))
        }
        Some(closing) => match closing.probe {
            Some(other) if other != key(lease) => {
                Err(format!("{lease} probes {account} {model:?} beside {other:?}"))
            }
            Some(_) | None => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testkit::{Kit, account, lease};
    use sluice_engine::StoreReply;
    use sluice_engine::ledger::history::Ending;
    use sluice_engine::store::Limit::Slots;

    fn closed_for_10_s() -> Kit {
        let mut kit = Kit::new();
        kit.close_key(1, 10_000, Cause::Ejected);
        kit
    }

    fn applied(kit: &mut Kit) {
        kit.applied(StoreOp::Reap { max: 1 }, StoreReply::Reaped { more: false });
    }

    #[test]
    fn one_probe_after_the_closing_is_accepted() {
        let mut kit = closed_for_10_s();
        kit.wait(10_000).grant(1, 1, account(1), 1, Slots(9));
        kit.fact(Fact::Probing { account: AccountId(1), model: None, lease: lease(1, 1) });
        applied(&mut kit);
        assert_eq!(kit.judge(ClosingsAndProbes::default()), None);
    }

    #[test]
    fn a_grant_while_closed_or_beside_the_probe_is_rejected() {
        let mut kit = closed_for_10_s();
        kit.wait(9_999).grant(1, 1, account(1), 1, Slots(9));
        assert!(kit.judge(ClosingsAndProbes::default()).is_some());
        let mut kit = closed_for_10_s();
        kit.wait(10_000).grant(1, 1, account(1), 1, Slots(9));
        applied(&mut kit);
        assert!(kit.judge(ClosingsAndProbes::default()).is_some());
    }

    fn leaves(kit: &mut Kit, req: u64) -> &mut Kit {
        kit.applying(StoreOp::Leave { lease: lease(req, 1), mark: None, fence: false })
    }

    #[test]
    fn a_mark_after_the_hand_over_is_rejected() {
        let mut kit = Kit::new();
        kit.grant(1, 1, account(1), 1, Slots(1));
        leaves(&mut kit, 1).close_key(1, 10_000, Cause::Ejected);
        assert_eq!(kit.judge(ClosingsAndProbes::default()), None);
        let mut kit = Kit::new();
        kit.grant(1, 1, account(1), 1, Slots(1));
        leaves(&mut kit, 1).end(1, 1, account(1), Ending::Left);
        kit.close_key(1, 10_000, Cause::Ejected);
        assert!(kit.judge(ClosingsAndProbes::default()).is_some());
    }

    #[test]
    fn a_proof_by_a_lease_that_is_older_than_the_closing_is_rejected() {
        let proved = Fact::Proved { account: AccountId(1), model: None };
        let mut kit = closed_for_10_s();
        kit.wait(10_000).grant(2, 1, account(1), 1, Slots(9));
        leaves(&mut kit, 2).fact(proved.clone());
        assert_eq!(kit.judge(ClosingsAndProbes::default()), None);
        let mut kit = Kit::new();
        kit.grant(2, 1, account(1), 1, Slots(9)).close_key(1, 10_000, Cause::Ejected);
        leaves(&mut kit, 2).fact(proved);
        assert!(kit.judge(ClosingsAndProbes::default()).is_some());
    }

    #[test]
    fn a_mark_that_closes_again_what_was_closed_since_is_rejected() {
        let closed_again_after = |ms| {
            let mut kit = Kit::new();
            kit.grant(2, 1, account(1), 1, Slots(9)).close_key(1, 10_000, Cause::Ejected).wait(ms);
            leaves(&mut kit, 2).close_key(1, 20_000, Cause::RateLimited);
            kit.judge(ClosingsAndProbes::default())
        };
        assert_eq!(closed_again_after(9_999), None);
        assert!(closed_again_after(10_000).is_some());
    }

    #[test]
    fn a_proof_by_what_is_no_probe_is_rejected() {
        let proof = |req| StoreOp::Health {
            account: AccountId(1),
            model: None,
            change: HealthChange::Proved(lease(req, 1)),
        };
        let proved_by = |req| {
            let mut kit = closed_for_10_s();
            kit.wait(10_000).grant(1, 1, account(1), 1, Slots(9));
            kit.fact(Fact::Probing { account: AccountId(1), model: None, lease: lease(1, 1) });
            kit.applying(proof(req)).fact(Fact::Proved { account: AccountId(1), model: None });
            kit.judge(ClosingsAndProbes::default())
        };
        assert_eq!(proved_by(1), None);
        assert!(proved_by(2).is_some());
    }

    #[test]
    fn a_shorter_or_an_endless_closing_is_rejected() {
        let mut kit = closed_for_10_s();
        kit.close_key(1, 9_999, Cause::Ejected);
        assert!(kit.judge(ClosingsAndProbes::default()).is_some());
        let mut kit = Kit::new();
        kit.close_key(1, 300_001, Cause::Ejected);
        assert!(kit.judge(ClosingsAndProbes::default()).is_some());
    }
}
