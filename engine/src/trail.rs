//! The ordered record of decisions of one request: what explain, the access log and checkers read.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::event::Outcome;
use crate::ids::{AccountId, Attempt};
use crate::store::StoreFault;
use crate::time::Time;

/// The most steps a trail keeps; further ones are only counted.
pub const STEPS_MAX: usize = 96;

/// What was decided about one request, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trail {
    /// The steps, oldest first.
    pub steps: Vec<Step>,
    /// Steps beyond [`STEPS_MAX`].
    pub dropped: u32,
}

/// One decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When, on the node's clock.
    pub at: Time,
    /// What.
    pub what: Decision,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// The request arrived.
    Arrived,
    /// It waits in its user's line.
    UserQueued {
        /// From 1.
        position: u32,
    },
    /// It has its user's slot.
    UserHeld,
    /// The user may spend.
    Billed,
    /// Selection chose where to ask for a slot.
    Chosen {
        /// By which layer.
        layer: Layer,
        /// The account it prefers, if it names one.
        account: Option<AccountId>,
    },
    /// The session's home is passed over.
    HomePassed {
        /// The home.
        home: AccountId,
        /// Why.
        why: Passed,
    },
    /// It waits for an account.
    Queued {
        /// From 1.
        position: u32,
    },
    /// The store gave no certain answer; it asks again.
    Doubt {
        /// What was wrong.
        fault: StoreFault,
    },
    /// A `Held` came while the node did not believe in its session; it asks again.
    Disbelieved,
    /// It goes to this account.
    Forwarded {
        /// From 1.
        attempt: Attempt,
        /// Where to.
        account: AccountId,
    },
    /// The first semantic byte reached the client.
    Started {
        /// Which attempt's.
        attempt: Attempt,
    },
    /// The attempt ended.
    Ended {
        /// Which.
        attempt: Attempt,
        /// How.
        outcome: Outcome,
    },
    /// The session is bound to this account from now on.
    Bound {
        /// The new home.
        account: AccountId,
    },
}

/// A layer of selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layer {
    /// The session's home.
    Sticky,
    /// The least loaded.
    Load,
    /// Waiting.
    Fallback,
    /// The first by priority and last assignment (load batching off).
    Legacy,
}

/// Why a session is not served by its home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Passed {
    /// Its line is full.
    LineFull,
    /// The patience for it was over.
    Patience,
    /// It is closed by health.
    Shut,
    /// It does not serve this pool any more.
    Gone,
    /// An attempt of this request failed there.
    Failed,
}

impl Trail {
    /// Adds a step.
    pub fn push(&mut self, at: Time, what: Decision) {
        if self.steps.len() < STEPS_MAX {
            self.steps.push(Step { at, what });
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_keeps_so_many_steps_and_counts_the_others() {
        let mut trail = Trail::default();
        for _ in 0..STEPS_MAX + 3 {
            trail.push(Time(1), Decision::Billed);
        }
        assert_eq!((trail.steps.len(), trail.dropped), (STEPS_MAX, 3));
    }
}
