//! What is said of an account is what its upstream has shown: nothing is well that has not answered
//! well, and nothing is closed that has not asked for it, for as long as that (I13).

use std::collections::BTreeMap;

use sluice_engine::store::{Cause, Mark};
use sluice_engine::{AccountId, GateId, LeaseId, Span, StoreOp};

use crate::check::{Books, Checker};
use crate::history::{Record, What};
use crate::world::seen::Seen;
use crate::world::setup::account_of;

/// See the module's documentation. Attempts are not told apart, only counted: which lease is whose
/// nobody outside of a gateway knows.
#[derive(Debug, Default)]
pub(super) struct MarksAreEarned {
    /// What upstreams have said that no mark was made of.
    said: BTreeMap<AccountId, Vec<(u16, Option<u64>)>>,
}

impl Checker for MarksAreEarned {
    fn id(&self) -> &'static str {
        "I13"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        if let What::Seen(Seen::Speaks { account, status, retry_after, .. }) = record.what {
            self.said.entry(account_of(account)).or_default().push((status, retry_after));
        }
        let What::Applying { op, .. } = &record.what else { return Ok(()) };
        let StoreOp::Leave { lease, mark: Some(mark), .. } = **op else { return Ok(()) };
        let LeaseId { request, attempt, .. } = lease;
        // A mark of a lease that holds nothing does nothing.
        let held = books.held(request, attempt).map(|(_, held)| held.gate);
        let Some(GateId::Account(account)) = held else { return Ok(()) };
        let said = self.said.entry(account).or_default();
        let Some(earned) = earned(mark) else { return Ok(()) };
        let Some(at) = said.iter().position(|&(status, after)| earned(status, after)) else {
            return Err(format!("{account} is marked {mark:?}, but has said {said:?}"));
        };
        said.swap_remove(at);
        Ok(())
    }
}

/// Whether what an upstream said earns this mark; `None` if it is earned without a word.
fn earned(mark: Mark) -> Option<impl Fn(u16, Option<u64>) -> bool> {
    if let Mark::Failed(_) = mark {
        return None;
    }
    Some(move |status, after: Option<u64>| match mark {
        Mark::Ok => matches!(status, 200 | 400 | 404..=428 | 430..=499),
        Mark::Quarantine => matches!(status, 401..=403),
        Mark::Close { span, cause, explicit, .. } => {
            let named = after.map(Span::from_secs);
            let status_of = match cause {
                Cause::RateLimited => 429,
                Cause::Overloaded => 529,
                Cause::Ejected | Cause::Quarantined => return false,
            };
            status == status_of && if explicit { named == Some(span) } else { named.is_none() }
        }
        Mark::Failed(_) => true,
    })
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use sluice_engine::ledger::history::{Entry, Fact, Way};
    use sluice_engine::store::{Limit, Scope};
    use sluice_engine::{Ask, Attempt, ModelId, NodeId, RequestId, Tag, Time};

    use super::*;
    use crate::world::judge::kit::{accepts, calm};

    const LEASE: LeaseId = LeaseId { node: NodeId(1), request: RequestId(1), attempt: Attempt(1) };

    fn applying(op: StoreOp) -> What {
        let (raw, clock) = (Time(1), Time(1));
        What::Applying { from: Some(0), call: Ask(1), op: Rc::new(op), raw, clock }
    }

    /// An account says this, and is marked so.
    fn judged(status: u16, retry_after: Option<u64>, mark: Mark) -> bool {
        let account = AccountId(1);
        let (req, attempt, timely) = (RequestId(1), 1, true);
        let says = Seen::Speaks { req, attempt, account, status, retry_after, timely };
        let gate = GateId::Account(account_of(account));
        let fact = Fact::Granted {
            lease: LEASE,
            gate,
            model: ModelId(1),
            tag: Tag(1),
            way: Way::Entered,
            held: 1,
            limit: Limit::Unlimited,
        };
        let (raw, clock) = (Time(1), Time(1));
        let leave = StoreOp::Leave { lease: LEASE, mark: Some(mark), fence: false };
        let records = vec![
            applying(StoreOp::Reap { max: 1 }),
            What::Fact(Entry { raw, clock, fact }),
            What::Seen(says),
            applying(leave),
        ];
        accepts(MarksAreEarned::default(), &calm(), records)
    }

    fn close(secs: u64, cause: Cause, explicit: bool) -> Mark {
        Mark::Close { scope: Scope::Account, span: Span::from_secs(secs), cause, explicit }
    }

    #[test]
    fn who_has_not_answered_well_is_not_well() {
        assert!(judged(200, None, Mark::Ok));
        assert!(judged(404, None, Mark::Ok), "it was the request's fault");
        assert!(!judged(500, None, Mark::Ok));
        assert!(judged(500, None, Mark::Failed(Scope::Account)));
        assert!(judged(401, None, Mark::Quarantine));
        assert!(!judged(500, None, Mark::Quarantine));
    }

    #[test]
    fn a_closing_lasts_as_long_as_was_said() {
        let (limited, overloaded) = (Cause::RateLimited, Cause::Overloaded);
        assert!(judged(429, Some(7), close(7, limited, true)));
        assert!(!judged(429, Some(7), close(8, limited, true)));
        assert!(!judged(429, Some(7), close(7, limited, false)), "it was said");
        assert!(judged(529, None, close(60, overloaded, false)));
        assert!(!judged(429, None, close(60, overloaded, false)));
    }
}
