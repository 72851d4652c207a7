//! Everything an engine can ask for.

use serde::{Deserialize, Serialize};

use crate::event::{Denial, Outcome};
use crate::ids::{AccountId, Ask, Attempt, RequestId, UserId};
use crate::store::StoreOp;
use crate::time::Span;
use crate::trail::Trail;

/// One output of the engine. To be carried out in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Send this to the store. Answered by exactly one [`crate::Event::Store`].
    Store {
        /// The call's number.
        call: Ask,
        /// What to do.
        op: StoreOp,
    },
    /// May this user spend? Answered by exactly one [`crate::Event::Billing`].
    CheckBilling {
        /// For which request.
        req: RequestId,
        /// Who.
        user: UserId,
    },
    /// Send the request to this account. Answered by at most one [`crate::Event::Started`] and then
    /// exactly one [`crate::Event::Ended`].
    Forward {
        /// The request.
        req: RequestId,
        /// Which try, from 1.
        attempt: Attempt,
        /// Where to.
        account: AccountId,
    },
    /// Stop this attempt, by policy at once or after draining it for its usage. [`crate::Event::Ended`] follows.
    Cancel {
        /// The request.
        req: RequestId,
        /// The attempt.
        attempt: Attempt,
    },
    /// Tell the waiting client that we are alive.
    Ping {
        /// The request.
        req: RequestId,
    },
    /// The request is over. Exactly once for every [`crate::Event::Arrived`].
    Finish {
        /// The request.
        req: RequestId,
        /// How it ended.
        verdict: Verdict,
        /// How it came to that.
        trail: Trail,
    },
}

/// How one request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// An upstream attempt ended it: `Completed`, `ClientError`, `Truncated`, or the last failure when
    /// the budget or the pool was used up.
    Upstream {
        /// The account.
        account: AccountId,
        /// The attempt, from 1.
        attempt: Attempt,
        /// How it ended.
        outcome: Outcome,
    },
    /// A warm-up request, answered by the gateway in this account's name.
    Intercepted {
        /// The account.
        account: AccountId,
    },
    /// The user's line is full.
    UserLineFull,
    /// The user's slot did not come in time.
    UserWaitTimeout,
    /// The user is closed, or unknown to the roster.
    UserClosed,
    /// Billing refused.
    BillingDenied(Denial),
    /// No account of the group serves this model at all.
    NoAccounts,
    /// Every account is closed; the first opens in so long, if it does by itself.
    AllShut {
        /// From now.
        opens_in: Option<Span>,
    },
    /// The account's or the pool's line is full.
    AccountLineFull,
    /// An account's slot did not come in time.
    AccountWaitTimeout,
    /// The store did not answer while the request could wait.
    StoreUnavailable,
    /// The engine has more requests than it may have.
    Overloaded,
    /// The node lost its session in the store and the policy is to abort what runs.
    SessionLost,
    /// The client went away.
    Abandoned,
}

/// Whose fault a verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Owner {
    /// Nobody's: it was served.
    Nobody,
    /// The client's.
    Client,
    /// A limit or a rule of the operator.
    Policy,
    /// The upstream's.
    Upstream,
    /// The store's.
    Store,
}

impl Verdict {
    /// Whose fault it is: what decides the error class that the client is told.
    #[must_use]
    pub const fn owner(self) -> Owner {
        match self {
            Self::Upstream { outcome, .. } => match outcome {
                Outcome::Completed => Owner::Nobody,
                Outcome::ClientError { .. } | Outcome::Cancelled => Owner::Client,
                Outcome::RateLimited { .. }
                | Outcome::Overloaded { .. }
                | Outcome::ServerError { .. }
                | Outcome::Unauthorized { .. }
                | Outcome::Unable { .. }
                | Outcome::Unreachable
                | Outcome::Truncated => Owner::Upstream,
            },
            Self::Intercepted { .. } => Owner::Nobody,
            Self::UserLineFull
            | Self::UserWaitTimeout
            | Self::UserClosed
            | Self::BillingDenied(_)
            | Self::NoAccounts
            | Self::AccountLineFull
            | Self::AccountWaitTimeout
            | Self::Overloaded => Owner::Policy,
            Self::AllShut { .. } => Owner::Upstream,
            Self::StoreUnavailable | Self::SessionLost => Owner::Store,
            Self::Abandoned => Owner::Client,
        }
    }
}
