//! I7: arrived = running + waiting + finished; each request finishes exactly once. A node's crash ends
//! its requests without a finish.

use super::{Books, Checker};
use crate::history::{Record, What};

/// Judges I7.
#[derive(Debug, Default)]
pub(super) struct FinishOnce;

impl Checker for FinishOnce {
    fn id(&self) -> &'static str {
        "I7"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        if let What::Finished { req, .. } = &record.what {
            return match books.requests.get(req) {
                None => Err(format!("{req} finishes but never arrived")),
                Some(r) if r.finished.is_some() => Err(format!("{req} finishes twice")),
                Some(r) if r.crashed => Err(format!("{req} finishes after its node crashed")),
                Some(_) => Ok(()),
            };
        }
        if let What::Over { .. } = record.what
            && let Some((req, _)) = books.requests.iter().find(|(_, r)| r.live())
        {
            return Err(format!("{req} never finished"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testkit::Kit;
    use sluice_engine::Verdict;

    #[test]
    fn one_finish_is_accepted() {
        let mut kit = Kit::new();
        kit.arrive(1, 1).finish(1, Verdict::UserClosed).over();
        assert_eq!(kit.judge(FinishOnce), None);
    }

    #[test]
    fn no_finish_and_two_are_rejected() {
        let mut none = Kit::new();
        none.arrive(1, 1).over();
        assert!(none.judge(FinishOnce).is_some());
        let mut two = Kit::new();
        two.arrive(1, 1).finish(1, Verdict::UserClosed).finish(1, Verdict::Abandoned);
        assert!(two.judge(FinishOnce).is_some());
    }

    #[test]
    fn a_crash_ends_requests_without_a_finish() {
        let mut kit = Kit::new();
        kit.arrive(1, 1).push(What::Crashed { node: 0 }).over();
        assert_eq!(kit.judge(FinishOnce), None);
    }
}
