//! The ways between engines, store and billing: everything that is on its way, in bags from which
//! a step takes what it likes.

use sluice_engine::store::{Grant, StoreOp, StoreReply};
use sluice_engine::{Ask, NodeId, UserId};

use super::life::Key;

/// Who asked: an engine's incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) host: usize,
    pub(crate) life: u32,
}

/// An operation that has not reached the store.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) from: Caller,
    pub(crate) call: Ask,
    pub(crate) op: StoreOp,
}

/// An answer that has not reached its engine.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) from: Caller,
    pub(crate) call: Ask,
    pub(crate) reply: StoreReply,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Net {
    pub(crate) sent: Vec<Sent>,
    pub(crate) answers: Vec<Answer>,
    /// Answered `Unknown`, and perhaps applied some day.
    pub(crate) late: Vec<StoreOp>,
    pub(crate) hints: Vec<Grant>,
    pub(crate) billing: Vec<(Key, UserId)>,
    /// Which engine a session was given to.
    pub(crate) nodes: Vec<(NodeId, usize)>,
}

impl Net {
    pub(crate) fn quiet(&self) -> bool {
        self.sent.is_empty()
            && self.answers.is_empty()
            && self.hints.is_empty()
            && self.billing.is_empty()
    }

    /// The engine that a hint for this node is pushed to.
    pub(crate) fn host_of(&self, node: NodeId) -> Option<usize> {
        self.nodes.iter().rev().find(|(known, _)| *known == node).map(|(_, host)| *host)
    }
}

/// The `nth` of a bag, modulo what is in it.
pub(crate) fn pick<T>(bag: &[T], nth: u8) -> Option<usize> {
    (!bag.is_empty()).then(|| usize::from(nth) % bag.len())
}
