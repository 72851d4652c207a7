//! Bytes to values and back, for the protocols that clients and upstreams speak.
//!
//! **Architecture Invariant:** pure. Nothing in here knows a socket, a runtime or a clock.

pub mod anthropic;
pub mod error;
pub mod json;
pub mod sse;
pub mod warmup;
