//! The gateway: sockets, HTTP and configuration around the engine.
//!
//! **Architecture Invariant:** scheduling is decided in `sluice-engine` alone. Here events are made
//! of bytes, and actions are carried out.

pub mod protocol;
