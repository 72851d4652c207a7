//! I8: after its `Leave` is applied a lease is never granted; after its end a request is never
//! forwarded.

use std::collections::BTreeSet;

use sluice_engine::ledger::history::Fact;
use sluice_engine::{Attempt, RequestId};

use super::{Books, Checker};
use crate::history::{Record, What};

/// Judges I8.
#[derive(Debug, Default)]
pub(super) struct NeverAfter {
    left: BTreeSet<(RequestId, Attempt)>,
}

impl Checker for NeverAfter {
    fn id(&self) -> &'static str {
        "I8"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        if let What::Fact(entry) = &record.what {
            if let Fact::Left { lease, .. } = entry.fact {
                self.left.insert((lease.request, lease.attempt));
            }
            if let Fact::Granted { lease, gate, .. } = entry.fact
                && self.left.contains(&(lease.request, lease.attempt))
            {
                return Err(format!("{lease} is granted {gate} after it left"));
            }
        }
        if let What::Opened { req, attempt, .. } = record.what {
            let Some(request) = books.requests.get(&req) else {
                return Err(format!("{req} is forwarded but never arrived"));
            };
            if request.finished.is_some() {
                return Err(format!("{req}.{attempt} is forwarded after the end"));
            }
            if request.abandoned.is_some() {
                return Err(format!("{req}.{attempt} is forwarded for a client that is gone"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testkit::{Kit, account};
    use sluice_engine::Verdict;
    use sluice_engine::store::Limit::Slots;

    #[test]
    fn leaving_and_ending_last_is_accepted() {
        let mut kit = Kit::new();
        kit.arrive(1, 1).grant(1, 1, account(1), 1, Slots(1)).open(1, 1, 1).close(1, 1).leave(1, 1);
        kit.finish(1, Verdict::Abandoned);
        assert_eq!(kit.judge(NeverAfter::default()), None);
    }

    #[test]
    fn a_grant_after_leaving_is_rejected() {
        let mut kit = Kit::new();
        kit.leave(1, 1).grant(1, 1, account(1), 1, Slots(1));
        assert!(kit.judge(NeverAfter::default()).is_some());
    }

    #[test]
    fn an_attempt_after_the_end_is_rejected() {
        let mut kit = Kit::new();
        kit.arrive(1, 1).finish(1, Verdict::Abandoned).open(1, 1, 1);
        assert!(kit.judge(NeverAfter::default()).is_some());
    }
}
