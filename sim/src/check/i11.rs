//! I11: no new attempt after the first semantic byte, and never two attempts at once.

use super::{Books, Checker};
use crate::history::{Record, What};

/// Judges I11.
#[derive(Debug, Default)]
pub(super) struct NotAfterStart;

impl Checker for NotAfterStart {
    fn id(&self) -> &'static str {
        "I11"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        let What::Opened { req, attempt, .. } = record.what else { return Ok(()) };
        let Some(request) = books.requests.get(&req) else { return Ok(()) };
        if request.tries.iter().any(|t| t.started) {
            return Err(format!("{req}.{attempt} begins after the first byte of another"));
        }
        if let Some(open) = request.open() {
            return Err(format!("{req}.{attempt} begins while {} is open", open.attempt));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testkit::Kit;
    use sluice_engine::Outcome;

    #[test]
    fn another_attempt_before_the_first_byte_is_accepted() {
        let mut kit = Kit::new();
        kit.arrive(1, 1).open(1, 1, 1).close_as(1, 1, Outcome::Unreachable).open(1, 2, 2);
        assert_eq!(kit.judge(NotAfterStart), None);
    }

    #[test]
    fn another_attempt_after_the_first_byte_or_beside_one_is_rejected() {
        let mut after = Kit::new();
        after.arrive(1, 1).open(1, 1, 1).start(1, 1).close_as(1, 1, Outcome::Truncated);
        after.open(1, 2, 2);
        assert!(after.judge(NotAfterStart).is_some());
        let mut beside = Kit::new();
        beside.arrive(1, 1).open(1, 1, 1).open(1, 2, 2);
        assert!(beside.judge(NotAfterStart).is_some());
    }
}
