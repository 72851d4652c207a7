//! The upstream's side: connections, attempts, and what their ends mean.

pub mod classify;
pub(crate) mod forward;
pub(crate) mod headers;
pub(crate) mod pool;
pub mod relay;
