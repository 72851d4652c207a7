//! What is judged beside the numbered invariants: that everything comes to rest once faults have ended,
//! and that engines and ledger find nothing wrong with themselves.

use super::{Books, Checker};
use crate::history::{Record, What};

/// After the faults, everything finishes within the bound, and the store keeps nothing.
#[derive(Debug, Default)]
pub(super) struct ComesToRest;

impl Checker for ComesToRest {
    fn id(&self) -> &'static str {
        "rest"
    }

    fn see(&mut self, _: &Books<'_>, record: &Record) -> Result<(), String> {
        if let What::Over { quiet: false, why } = &record.what {
            return Err(format!("it never comes to rest: {why}"));
        }
        Ok(())
    }
}

/// Engines and ledgers are satisfied with themselves.
#[derive(Debug, Default)]
pub(super) struct SelfContent;

impl Checker for SelfContent {
    fn id(&self) -> &'static str {
        "self"
    }

    fn see(&mut self, _: &Books<'_>, record: &Record) -> Result<(), String> {
        if let What::Broken { how } = &record.what {
            return Err(how.clone());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testkit::Kit;

    #[test]
    fn rest_is_accepted_and_unrest_rejected() {
        let mut quiet = Kit::new();
        quiet.over();
        assert_eq!(quiet.judge(ComesToRest), None);
        let mut unrest = Kit::new();
        unrest.push(What::Over { quiet: false, why: "r1 waits".into() });
        assert!(unrest.judge(ComesToRest).is_some());
    }

    #[test]
    fn what_finds_itself_broken_is_rejected() {
        let mut kit = Kit::new();
        assert_eq!(kit.over().judge(SelfContent), None);
        kit.push(What::Broken { how: "ledger: I1".into() });
        assert!(kit.judge(SelfContent).is_some());
    }
}
