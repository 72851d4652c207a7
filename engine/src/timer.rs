//! When to come back, and why: one entry a live request, in a fixed order.

use alloc::collections::BTreeSet;
use serde::{Deserialize, Serialize};

use crate::ids::RequestId;
use crate::time::Time;

/// Why an engine wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    /// Joining the store.
    Join,
    /// Keeping the session alive.
    Beat,
    /// Reaping.
    Reap,
    /// Telling the store the roster.
    Define,
    /// Telling the store what the node has.
    Resync,
    /// A leave is owed.
    Leave,
    /// A waiting request asks again.
    Ask(RequestId),
    /// A wait ends.
    Patience(RequestId),
    /// A client is pinged.
    Ping(RequestId),
}

/// A point in time and what it is for. Entries of one instant are ordered by reason.
pub type Alarm = (Time, Reason);

/// The alarms of live requests. Each request has at most one, which it knows itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Timers(BTreeSet<Alarm>);

impl Timers {
    /// Replaces `old` by `new`.
    pub(crate) fn rearm(&mut self, old: Option<Alarm>, new: Option<Alarm>) {
        if old == new {
            return;
        }
        if let Some(alarm) = old {
            let was_there = self.0.remove(&alarm);
            debug_assert!(was_there, "a request knows its alarm");
        }
        if let Some(alarm) = new {
            self.0.insert(alarm);
        }
    }

    pub(crate) fn first(&self) -> Option<Alarm> {
        self.0.first().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Reason {
    /// The request it is about, if it is about one.
    #[must_use]
    pub const fn request(self) -> Option<RequestId> {
        match self {
            Self::Ask(req) | Self::Patience(req) | Self::Ping(req) => Some(req),
            Self::Join | Self::Beat | Self::Reap | Self::Define | Self::Resync | Self::Leave => {
                None
            }
        }
    }
}
