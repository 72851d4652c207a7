//! Everything that can happen to an engine.

use alloc::boxed::Box;
use alloc::sync::Arc;
use serde::{Deserialize, Serialize};

use crate::ids::{Ask, Attempt, GateId, GroupId, LeaseId, ModelId, RequestId, SessionKey, UserId};
use crate::policy::Policy;
use crate::roster::{Platform, Roster};
use crate::store::{Scope, StoreFault, StoreReply};
use crate::time::Span;

/// One input of the engine. Times of successive events never go back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A parsed, authenticated request. `req` is minted by the caller, strictly increasing per engine.
    Arrived {
        /// The request.
        req: RequestId,
        /// What it needs.
        spec: RequestSpec,
    },
    /// The client went away. Legal at any stage, also after the end.
    Abandoned {
        /// The request.
        req: RequestId,
    },
    /// The one answer to an [`crate::Action::Store`].
    Store {
        /// Which call.
        call: Ask,
        /// What came of it.
        result: Result<StoreReply, StoreFault>,
    },
    /// A hint pushed by the store: claim this now. May come at any time, twice, or never.
    Granted {
        /// The lease.
        lease: LeaseId,
        /// Its gate.
        gate: GateId,
    },
    /// The one answer to an [`crate::Action::CheckBilling`].
    Billing {
        /// The request.
        req: RequestId,
        /// Whether the user may spend.
        result: Result<(), Denial>,
    },
    /// The first semantic byte of this attempt has been handed to the client; a keep-alive is not one.
    Started {
        /// The request.
        req: RequestId,
        /// The attempt.
        attempt: Attempt,
    },
    /// The one end of an [`crate::Action::Forward`], also after a [`crate::Action::Cancel`]: nothing of the attempt is
    /// open any more.
    Ended {
        /// The request.
        req: RequestId,
        /// The attempt.
        attempt: Attempt,
        /// How it ended.
        outcome: Outcome,
    },
    /// A new roster, whole. One not above the current version is ignored.
    Roster(Arc<Roster>),
    /// New knobs, whole, followed by the roster of the same version: the store learns its share of
    /// them with that. Knobs that [are for life](Policy::renewed) stay as they are.
    Policy(Box<Policy>),
    /// Time has passed. Legal at any time; needed when [`crate::Engine::next_timeout`] has come.
    Tick,
}

/// What the scheduler needs to know of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestSpec {
    /// Who asks.
    pub user: UserId,
    /// Which accounts the key may use.
    pub group: GroupId,
    /// Which protocol's accounts are wanted.
    pub platform: Platform,
    /// Which model.
    pub model: ModelId,
    /// The session, if the request belongs to one.
    pub session: Option<SessionKey>,
    /// Whether the client gets a stream, and so pings while it waits.
    pub stream: bool,
    /// Whether the body is a warm-up request that an account may have answered locally.
    pub warmup: bool,
}

/// Why the user may not spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// The window that is used up resets in so long.
    pub retry_after: Option<Span>,
}

/// How one upstream attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The answer ended as its protocol says it must.
    Completed,
    /// The upstream refused the request as wrong, with this client-class status. The account is well.
    ClientError {
        /// The HTTP status, 400-499.
        status: u16,
    },
    /// 429.
    RateLimited {
        /// What it speaks of.
        scope: Scope,
        /// What the upstream said, if it said.
        retry_after: Option<Span>,
    },
    /// 529.
    Overloaded {
        /// What the upstream said, if it said.
        retry_after: Option<Span>,
    },
    /// A plain 5xx, or what amounts to one: after all of the request was sent, no answer that is of use
    /// came (502), or none in time (504).
    ServerError {
        /// The HTTP status, 500-599.
        status: u16,
    },
    /// 401, 402 or 403: the account's credential or billing was refused.
    Unauthorized {
        /// The HTTP status.
        status: u16,
    },
    /// The request could not be sent: no connection, or one that was closed already.
    Unreachable,
    /// The answer broke off or stalled after the first semantic byte.
    Truncated,
    /// Cancelled by [`crate::Action::Cancel`] or by the client's end.
    Cancelled,
    /// The account's credential is good, but not for this operation: nothing is wrong with the account,
    /// and another may be able.
    Unable {
        /// The HTTP status.
        status: u16,
    },
}
