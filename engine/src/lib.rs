//! The scheduler engine: user and account slots, bounded lines, sticky sessions, load-aware
//! selection, failover. Pure and deterministic: given time, randomness and facts, it decides.
//!
//! Read [`Event`] and [`Action`], then [`drive`], then [`request`].
//!
//! **Architecture Invariant:** this crate knows no HTTP, JSON, Redis, runtime, clock, entropy or
//! float, and iterates over no hash-ordered map. It never calls a store: it emits operations and is
//! told their results.
#![cfg_attr(not(test), no_std)]
#![deny(clippy::float_arithmetic)]

extern crate alloc;

pub mod action;
pub mod drive;
pub mod engine;
pub mod event;
pub mod ids;
pub mod ledger;
pub mod policy;
pub mod rng;
pub mod roster;
pub mod store;
pub mod time;
pub mod trail;

pub use action::{Action, Owner, Verdict};
pub use drive::{Executor, turn};
pub use engine::{Config, Engine, Reason};
pub use event::{Denial, Event, Outcome, RequestSpec};
pub use ids::*;
pub use ledger::Ledger;
pub use policy::{Policy, Preset};
pub use roster::Roster;
pub use store::{StoreFault, StoreOp, StoreReply};
pub use time::{Span, Time};
