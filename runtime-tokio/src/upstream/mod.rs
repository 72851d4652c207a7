//! The upstream's side: connections, attempts, and what their ends mean.

pub mod access;
pub(crate) mod bridge;
pub mod classify;
pub(crate) mod connect;
pub mod excerpt;
pub(crate) mod forward;
pub(crate) mod headers;
pub mod health;
pub(crate) mod http1;
pub(crate) mod link;
pub mod oauth;
pub(crate) mod outgoing;
pub(crate) mod pool;
pub mod redact;
pub mod relay;
pub mod target;
pub mod tls;
