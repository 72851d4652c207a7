//! The scheduler engine: user and account slots, bounded lines, sticky sessions, load-aware
//! selection, failover. Pure and deterministic: given time, randomness and facts, it decides.
//!
//! Read [`Event`] and [`Action`], then [`drive`], then the private module `request`.
//!
//! **Architecture Invariant:** this crate knows no HTTP, JSON, Redis, runtime, clock, entropy or
//! float, and iterates over no hash-ordered map. It never calls a store: it emits operations and is
//! told their results.
#![cfg_attr(not(test), no_std)]
#![deny(clippy::float_arithmetic)]

extern crate alloc;

pub mod action;
mod backoff;
mod core;
pub mod drive;
pub mod engine;
pub mod event;
mod failover;
pub mod ids;
mod invariants;
pub mod journal;
mod lease;
pub mod ledger;
mod node;
pub mod policy;
mod request;
mod resync;
pub mod rng;
pub mod roster;
mod select;
pub mod session;
pub mod store;
pub mod time;
mod timer;
pub mod trail;

#[cfg(test)]
mod tests;

pub use action::{Action, Owner, Verdict};
pub use drive::{Executor, turn};
pub use engine::{Config, Engine};
pub use event::{Denial, Event, Outcome, RequestSpec};
pub use ids::*;
pub use ledger::Ledger;
pub use policy::{Policy, Preset};
pub use roster::Roster;
pub use store::{StoreFault, StoreOp, StoreReply};
pub use time::{Span, Time};
pub use timer::{Alarm, Reason};
