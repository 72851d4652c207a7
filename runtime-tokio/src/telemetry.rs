//! What the gateway tells its operators by itself: messages of the program, and the access log.

use std::io;

use tracing_subscriber::EnvFilter;

mod entry;
mod line;
mod writer;

pub(crate) use entry::{AccessLog, Entry};
pub use writer::AccessWriter;

/// Sends the program's messages to standard error as JSON lines, at `level` and above.
pub fn log_to_stderr(level: &str) {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter);
    // A second subscriber in one process is refused; the first goes on.
    drop(subscriber.with_writer(io::stderr).with_target(false).try_init());
}
