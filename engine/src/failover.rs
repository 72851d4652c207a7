//! What an attempt's outcome means: for its account a mark, for its request another try or the end.

use crate::event::Outcome;
use crate::policy::Policy;
use crate::store::{Cause, Mark, Scope};

/// What the outcome says about the account. Nothing if the attempt was cancelled.
#[must_use]
pub(crate) fn mark(policy: &Policy, outcome: Outcome) -> Option<Mark> {
    Some(match outcome {
        Outcome::Completed | Outcome::ClientError { .. } => Mark::Ok,
        Outcome::RateLimited { scope, retry_after } => Mark::Close {
            scope,
            span: retry_after.unwrap_or(policy.rate_limit_guess),
            cause: Cause::RateLimited,
            explicit: retry_after.is_some(),
        },
        Outcome::Overloaded { retry_after } => Mark::Close {
            scope: Scope::Account,
            span: retry_after.unwrap_or(policy.overload_guess),
            cause: Cause::Overloaded,
            explicit: retry_after.is_some(),
        },
        Outcome::Unauthorized { .. } => Mark::Quarantine,
        Outcome::ServerError { .. } | Outcome::Unreachable | Outcome::Truncated => {
            Mark::Failed(Scope::Account)
        }
        Outcome::Cancelled | Outcome::Unable { .. } => return None,
    })
}

/// What a request has used up so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    /// Switches to another account.
    pub(crate) switches: u16,
    /// Of these, for plain 5xx.
    pub(crate) server_errors: u16,
    /// Whether the time for further attempts is over.
    pub(crate) late: bool,
}

/// Whether another account may be tried after this outcome, nothing of which has reached the client.
#[must_use]
pub(crate) fn may_switch(
    policy: &Policy,
    switches_max: u16,
    spent: Spent,
    outcome: Outcome,
) -> bool {
    if spent.late || spent.switches >= switches_max {
        return false;
    }
    match outcome {
        Outcome::RateLimited { .. }
        | Outcome::Overloaded { .. }
        | Outcome::Unauthorized { .. }
        | Outcome::Unable { .. }
        | Outcome::Unreachable => true,
        Outcome::ServerError { .. } => spent.server_errors < policy.switches.server_error_max,
        Outcome::Completed
        | Outcome::ClientError { .. }
        | Outcome::Truncated
        | Outcome::Cancelled => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    #[test]
    fn outcomes_become_marks() {
        let policy = Policy::fair();
        let close = |span, cause, explicit| {
            Some(Mark::Close { scope: Scope::Account, span, cause, explicit })
        };
        let said = Some(Span::from_secs(7));
        let limited = |retry_after| Outcome::RateLimited { scope: Scope::Account, retry_after };
        let table = [
            (Outcome::Completed, Some(Mark::Ok)),
            (Outcome::ClientError { status: 400 }, Some(Mark::Ok)),
            (limited(said), close(Span::from_secs(7), Cause::RateLimited, true)),
            (limited(None), close(policy.rate_limit_guess, Cause::RateLimited, false)),
            (
                Outcome::Overloaded { retry_after: said },
                close(Span::from_secs(7), Cause::Overloaded, true),
            ),
            (
                Outcome::Overloaded { retry_after: None },
                close(policy.overload_guess, Cause::Overloaded, false),
            ),
            (Outcome::ServerError { status: 500 }, Some(Mark::Failed(Scope::Account))),
            (Outcome::Unreachable, Some(Mark::Failed(Scope::Account))),
            (Outcome::Truncated, Some(Mark::Failed(Scope::Account))),
            (Outcome::Unauthorized { status: 401 }, Some(Mark::Quarantine)),
            (Outcome::Unable { status: 403 }, None),
            (Outcome::Cancelled, None),
        ];
        for (outcome, expected) in table {
            assert_eq!(mark(&policy, outcome), expected, "{outcome:?}");
        }
    }

    #[test]
    fn budgets_bound_the_switches() {
        let policy = Policy::fair();
        let spent = |switches, server_errors, late| Spent { switches, server_errors, late };
        let server = Outcome::ServerError { status: 500 };
        let may = |spent, outcome| may_switch(&policy, 10, spent, outcome);
        assert!(may(spent(9, 0, false), Outcome::Unreachable));
        assert!(may(spent(9, 0, false), Outcome::Unable { status: 403 }));
        assert!(!may(spent(10, 0, false), Outcome::Unreachable));
        assert!(!may(spent(0, 0, true), Outcome::Unreachable));
        assert!(may(spent(1, 1, false), server));
        assert!(!may(spent(2, 2, false), server), "a poison request does not walk the pool");
        for last in [
            Outcome::Completed,
            Outcome::ClientError { status: 404 },
            Outcome::Truncated,
            Outcome::Cancelled,
        ] {
            assert!(!may(spent(0, 0, false), last), "{last:?}");
        }
    }
}
