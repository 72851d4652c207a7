//! I10: no account gets a second attempt of one request; attempts, switches and total time stay within
//! budget.

use sluice_engine::Outcome;

use super::{Books, Checker};
use crate::history::{Record, What};

/// Judges I10.
#[derive(Debug, Default)]
pub(super) struct Budgets;

impl Checker for Budgets {
    fn id(&self) -> &'static str {
        "I10"
    }

    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String> {
        let What::Opened { req, attempt, account, .. } = record.what else { return Ok(()) };
        let (Some(request), Some(arrival)) =
            (books.requests.get(&req), books.scenario.arrival(req))
        else {
            return Ok(());
        };
        let policy = &books.scenario.policy;
        if request.tries.iter().any(|t| t.account == account) {
            return Err(format!("{req} tries {account} a second time"));
        }
        let switches = request.tries.len();
        let switches_max = policy.switches_max(arrival.spec.platform);
        if switches > usize::from(switches_max) {
            return Err(format!("{req}.{attempt} is switch {switches} of {switches_max}"));
        }
        let server =
            |t: &&super::books::Try| matches!(t.closed, Some(Some(Outcome::ServerError { .. })));
        let server_errors = request.tries.iter().filter(server).count();
        if server_errors > usize::from(policy.switches.server_error_max) {
            return Err(format!("{req}.{attempt} follows {server_errors} plain 5xx"));
        }
        let age = record.at.since(request.arrived);
        if age > policy.failover_time_max {
            return Err(format!("{req}.{attempt} begins after {} ms", age.as_ms()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testkit::Kit;

    #[test]
    fn switching_within_the_budget_is_accepted() {
        let mut kit = Kit::new();
        let error = Outcome::ServerError { status: 500 };
        kit.arrive(1, 1).open(1, 1, 1).close_as(1, 1, error).open(1, 2, 2).close_as(1, 2, error);
        kit.open(1, 3, 3);
        assert_eq!(kit.judge(Budgets), None);
    }

    #[test]
    fn the_same_account_again_is_rejected() {
        let mut kit = Kit::new();
        kit.arrive(1, 1).open(1, 1, 1).close_as(1, 1, Outcome::Unreachable).open(1, 2, 1);
        assert!(kit.judge(Budgets).is_some());
    }

    #[test]
    fn a_poison_request_walks_no_further_than_two_switches() {
        let mut kit = Kit::new();
        kit.arrive(1, 1);
        for attempt in 1..=4 {
            kit.open(1, attempt, attempt.into());
            kit.close_as(1, attempt, Outcome::ServerError { status: 500 });
        }
        assert!(kit.judge(Budgets).is_some());
    }

    #[test]
    fn too_many_switches_and_a_late_attempt_are_rejected() {
        let mut many = Kit::new();
        many.arrive(1, 1);
        for attempt in 1..=12 {
            many.open(1, attempt, attempt.into()).close_as(1, attempt, Outcome::Unreachable);
        }
        assert!(many.judge(Budgets).is_some());
        let mut late = Kit::new();
        late.arrive(1, 1).wait(180_001).open(1, 1, 1);
        assert!(late.judge(Budgets).is_some());
    }
}
