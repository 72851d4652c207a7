//! The simulator: whole deployments of engines and one store, in simulated time, under faults.
//!
//! A seed makes a [`scenario::Scenario`] (plain data), [`des`] or [`world`] runs it and writes down a
//! [`history::History`], [`check`] judges the history. In the one there are engines and a ledger, in
//! the other whole gateways on a simulated network. Nothing here decides anything that the engine
//! or the ledger decides; the checkers never look into either. [`formal`] stands apart: a small model
//! of the store protocol, checked exhaustively.

pub mod check;
pub mod des;
pub mod formal;
pub mod history;
pub mod report;
pub mod scenario;
pub mod shrink;
pub mod swarm;
pub mod world;
