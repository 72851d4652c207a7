//! The gateway: sockets, HTTP and configuration around the engine.
//!
//! **Architecture Invariant:** scheduling is decided in `sluice-engine` alone. Here events are made
//! of bytes, and actions are carried out.

pub mod auth;
mod billing;
mod blocking;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod directory;
pub mod driver;
mod executor;
pub mod gateway;
mod gather;
pub mod handler;
pub mod listen;
mod mailbox;
pub mod mock;
pub mod net;
mod permit;
pub mod protocol;
pub mod reload;
pub mod serve;
pub mod shared;
mod stall;
mod store;
pub mod telemetry;
pub mod translate;
pub mod upstream;
mod vital;
pub mod wire;
