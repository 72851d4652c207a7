//! Where slots, lines, sessions and health are kept: one trait, and the backends behind it.
//!
//! **Architecture Invariant:** a backend decides nothing. It answers as
//! [`sluice_engine::ledger::Ledger`] does, or says that it cannot.
#![expect(
    clippy::result_large_err,
    reason = "an operation that is given back goes straight on to `run`; a box would cost more"
)]

use std::future::Future;

use sluice_engine::{StoreFault, StoreOp, StoreReply, Time};

pub mod degraded;
pub mod fate;
mod faulty;
mod memory;
pub mod redis;
mod sinks;
mod watch;

pub use faulty::FaultyStore;
pub use memory::MemoryStore;
pub use watch::{Condition, GrantSink, Service, Watch};

/// A store of slots. See [`sluice_engine::store`] for what each operation means.
pub trait Store: Send + Sync + 'static {
    /// Answers at once if that needs no waiting; gives the operation back otherwise.
    ///
    /// # Errors
    /// The operation itself, to be [`run`](Self::run).
    fn try_now(&self, _now: Time, op: StoreOp) -> Result<StoreReply, StoreOp> {
        Err(op)
    }

    /// Runs one operation. One attempt, within a time limit of the backend's own, no hidden retry.
    fn run(&self, op: StoreOp) -> impl Future<Output = Result<StoreReply, StoreFault>> + Send;
}
