//! Skeleton.
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::event::Event;
use crate::ids::{NodeId, RequestId};
use crate::policy::Policy;
use crate::rng::Seed;
use crate::roster::Roster;
use crate::store::Instance;
use crate::time::Time;

/// What an engine is made with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// Its name in the store, unique per live process and worker.
    pub instance: Instance,
    /// The root of its randomness.
    pub seed: Seed,
    /// Its knobs.
    pub policy: Policy,
}

/// Why an engine wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    /// Joining the store.
    Join,
    /// Keeping the session alive.
    Beat,
    /// Reaping.
    Reap,
    /// A leave is owed.
    Leave,
    /// A resync is due.
    Resync,
    /// The roster must be told to the store.
    Define,
    /// A waiting request asks again.
    Ask(RequestId),
    /// A wait ends.
    Patience(RequestId),
    /// A client is pinged.
    Ping(RequestId),
}

/// The scheduler of one node. Joins the store by itself on its first event; drive it with [`crate::turn`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Engine {}

impl Engine {
    /// An engine without a session; it joins on its first event (any, `Tick` for instance).
    #[must_use]
    pub fn new(_config: Config, _roster: Arc<Roster>) -> Self {
        todo!()
    }
    /// Takes in one event.
    pub fn handle(&mut self, _now: Time, _event: Event) {
        todo!()
    }
    /// The next action, until there is none.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        todo!()
    }
    /// When the engine wants a `Tick`, and why. May change after every event.
    #[must_use]
    pub fn next_timeout(&self) -> Option<(Time, Reason)> {
        todo!()
    }
    /// The node, while it has a session that it has not been told to have lost.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        todo!()
    }
    /// Whether it believes in its session now and has told the store its roster: ready for traffic.
    #[must_use]
    pub fn ready(&self, _now: Time) -> bool {
        todo!()
    }
    /// Requests that have arrived and not finished.
    #[must_use]
    pub fn live_requests(&self) -> usize {
        todo!()
    }
    /// Leaves owed to the store.
    #[must_use]
    pub fn owed(&self) -> usize {
        todo!()
    }
    /// Every local invariant that does not hold.
    #[must_use]
    pub fn check_invariants(&self) -> Vec<alloc::string::String> {
        todo!()
    }
}
