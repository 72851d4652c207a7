//! What clients and upstreams see of a run on the simulated network.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sluice_engine::{AccountId, RequestId};

/// One thing that was seen. `req` is the scenario's number of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A client begins to send its request.
    Asked {
        /// Which.
        req: RequestId,
        /// To which node.
        node: usize,
    },
    /// A client has no more to expect.
    Answered {
        /// Which.
        req: RequestId,
        /// What it came to.
        end: ClientEnd,
        /// How many bytes came, and what their SHA-256 begins with.
        bytes: (usize, u32),
    },
    /// An upstream has read a request.
    Opened {
        /// Which.
        req: RequestId,
        /// How many attempts of it upstreams have seen, with this one.
        attempt: u16,
        /// At which account's upstream.
        account: AccountId,
        /// From which node.
        node: usize,
        /// The connection's end at the node.
        near: SocketAddr,
        /// Whether it was used before.
        kept: bool,
        /// What else of this account's is open, at its own end and at the node's.
        open: Vec<(RequestId, u16)>,
    },
    /// With which of an account's credentials a request comes to its upstream.
    Presented {
        /// Which request.
        req: RequestId,
        /// At which account's upstream.
        account: AccountId,
        /// How often the credential has been another one before.
        credential: usize,
    },
    /// An upstream is done with an attempt.
    Closed {
        /// Which.
        req: RequestId,
        /// Of its attempts.
        attempt: u16,
        /// How.
        end: UpstreamEnd,
    },
    /// Something that nobody may do.
    Wrong {
        /// What.
        what: String,
    },
}

/// How a request ended for its client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientEnd {
    /// With one whole answer.
    Whole {
        /// Its status.
        status: u16,
        /// How a stream ended.
        stream: Option<StreamEnd>,
    },
    /// There was no connection.
    Unconnected,
    /// The connection ended, or fell silent, before the answer was whole.
    Cut {
        /// Silence, and not an end.
        silent: bool,
    },
    /// The client went away itself.
    Left,
    /// With something that is no answer.
    Malformed(String),
}

/// How a stream that is whole ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamEnd {
    /// With its last event.
    Stop,
    /// With an error event.
    Error,
}

/// How an upstream came to be done with an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamEnd {
    /// It said all that it had to say.
    Said,
    /// It said nothing, and ended the connection.
    Silent,
    /// The gateway ended the connection.
    Left,
    /// Its process crashed.
    Crashed,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked { node, .. } => write!(f, "client asks n{node}"),
            Self::Answered { end, bytes: (count, digest), .. } => {
                write!(f, "client: {end:?}, {count} bytes {digest:08x}")
            }
            Self::Opened { attempt, account, node, near, kept, open, .. } => {
                let kept = if *kept { "kept " } else { "" };
                write!(f, "OPENED {attempt} at {account} by n{node} ({kept}{near}) beside {open:?}")
            }
            Self::Presented { account, credential, .. } => {
                write!(f, "credential {credential} of {account}")
            }
            Self::Closed { attempt, end, .. } => write!(f, "CLOSED {attempt} {end:?}"),
            Self::Wrong { what } => write!(f, "*** WRONG {what}"),
        }
    }
}

impl Seen {
    /// Whose it is.
    #[must_use]
    pub const fn req(&self) -> Option<RequestId> {
        match self {
            Self::Asked { req, .. }
            | Self::Answered { req, .. }
            | Self::Opened { req, .. }
            | Self::Presented { req, .. }
            | Self::Closed { req, .. } => Some(*req),
            Self::Wrong { .. } => None,
        }
    }
}
