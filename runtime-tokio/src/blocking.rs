//! What may block, on a thread of its own: a worker has others to serve. It is seldom needed.

use std::time::Duration;
use std::{io, thread};

use tokio::sync::oneshot;
use tokio::time::timeout;

/// Does something on a thread of this name. What takes longer than `time_max`, such as a pipe that
/// nobody writes to or a file of a machine that is away, is waited for no longer.
///
/// # Errors
/// It takes too long, it panics, or there are no more threads.
pub(crate) async fn aside<T: Send + 'static>(
    name: &str,
    time_max: Duration,
    what: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, doing) = oneshot::channel();
    let body = move || {
        // Who has gone meanwhile needs no answer.
        let _ = done.send(what());
    };
    thread::Builder::new().name(name.to_owned()).spawn(body)?;
    let late = || io::Error::from(io::ErrorKind::TimedOut);
    timeout(time_max, doing).await.map_err(|_| late())?.map_err(io::Error::other)
}
