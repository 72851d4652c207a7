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
        /// The error in it, if there is one.
        refusal: Option<Refusal>,
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
        /// Connections of this node to this account that have carried nothing for a while.
        idle: usize,
    },
    /// An upstream is about to say the last of an answer that is whole.
    Speaks {
        /// Whose.
        req: RequestId,
        /// Of which of its attempts.
        attempt: u16,
        /// At which account's upstream.
        account: AccountId,
        /// Its status.
        status: u16,
        /// When to come again, in seconds.
        retry_after: Option<u64>,
        /// No gateway has had to wait too long for any part of it.
        timely: bool,
    },
    /// A gateway still waits for an upstream although it should have given up.
    Overdue {
        /// Whose answer.
        req: RequestId,
        /// Of which attempt.
        attempt: u16,
        /// From which node.
        node: usize,
        /// What has passed.
        deadline: Deadline,
    },
    /// A node was told how far its end has come.
    Told {
        /// Which.
        node: usize,
        /// To end now; otherwise to take no more, and to end what it has.
        closing: bool,
    },
    /// A node that was told so has ended.
    Gone {
        /// Which.
        node: usize,
    },
    /// What a gateway has noted of a request; known in the end.
    Logged {
        /// Which node.
        node: usize,
        /// Whose.
        req: RequestId,
        /// What.
        line: Logged,
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

/// Until when a gateway may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// For the head of an answer.
    Head,
    /// For its next piece.
    Idle,
    /// For anything, after the client has left.
    Client,
}

/// A line of a gateway's access log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logged {
    /// What the client was sent.
    pub status: u64,
    /// What it came to.
    pub verdict: String,
    /// How often it was tried.
    pub attempts: u64,
    /// Something of an answer has come.
    pub started: bool,
    /// Tokens of the question and of the answer.
    pub tokens: (u64, u64),
    /// How the upstream calls the last attempt that it has answered.
    pub upstream_id: Option<String>,
}

/// An error that a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its class.
    pub kind: String,
    /// For people.
    pub message: String,
    /// When to come again, in seconds; unknown in a stream.
    pub retry_after: Option<u64>,
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
            Self::Answered { end, refusal, bytes: (count, digest), .. } => {
                write!(f, "client: {end:?}, {count} bytes {digest:08x}")?;
                refusal.as_ref().map_or(Ok(()), |refusal| write!(f, ", {refusal:?}"))
            }
            Self::Opened { attempt, account, node, near, kept, open, idle, .. } => {
                let kept = if *kept { "kept " } else { "" };
                write!(
                    f,
                    "OPENED {attempt} at {account} by n{node} ({kept}{near}) beside {open:?}"
                )?;
                if *idle > 0 { write!(f, ", {idle} idle") } else { Ok(()) }
            }
            Self::Speaks { attempt, account, status, retry_after, timely, .. } => {
                let late = if *timely { "" } else { ", late" };
                write!(f, "SPEAKS {attempt} at {account}: {status} {retry_after:?}{late}")
            }
            Self::Overdue { attempt, node, deadline, .. } => {
                write!(f, "*** n{node} STILL WAITS for {attempt}: {deadline:?}")
            }
            Self::Told { node, closing: false } => write!(f, "*** n{node} is told to drain"),
            Self::Told { node, closing: true } => write!(f, "*** n{node} is told to end"),
            Self::Gone { node } => write!(f, "*** n{node} has ended"),
            Self::Logged { node, line, .. } => write!(f, "n{node} logs {line:?}"),
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
            | Self::Speaks { req, .. }
            | Self::Overdue { req, .. }
            | Self::Logged { req, .. }
            | Self::Presented { req, .. }
            | Self::Closed { req, .. } => Some(*req),
            Self::Told { .. } | Self::Gone { .. } | Self::Wrong { .. } => None,
        }
    }
}
