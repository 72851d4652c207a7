//! Reading a request's body: whole, within its limit, within what all bodies together may take, and
//! within a time.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use sluice_storage::Watch;
use tokio::time::{Instant, sleep_until};

use super::SHUTTING_DOWN;
use crate::clock::Clock;
use crate::gateway::{Phase, READ_BYTES_MAX, Worker};
use crate::net::Net;
use crate::protocol::error::ApiError;
use crate::shared::Shared;
use crate::stall::Stage;

/// A body may take so long,
const TIME_ALLOWED: Duration = Duration::from_secs(60);
/// and a second more for each so many bytes of it that have come: the slowest that is waited for.
const RATE_MIN: usize = 32 * 1024;
/// The most memory that is set aside before anything has come, however much is announced.
const RESERVED_MAX: usize = 1024 * 1024;
/// A body that comes in one piece of this size stays where it was read into. A smaller one is copied
/// from there: its connection can go on using the buffer, of which it would keep much more.
const SHARED_MIN: usize = 16 * 1024;

const FAILED: ApiError = ApiError::invalid("Failed to read request body");

/// A part of the memory for bodies, until it is dropped.
pub(crate) struct Parked {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Parked {
    fn grow(&mut self, bytes: usize, bytes_max: usize) -> Result<(), ApiError> {
        self.bytes += bytes;
        if self.shared.parked.fetch_add(bytes, Ordering::Relaxed) + bytes > bytes_max {
            let error = ApiError::new(503, "overloaded_error", "Too many requests in the gateway");
            return Err(error.retry(2));
        }
        Ok(())
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.shared.parked.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A body that is to be read.
pub(crate) struct Body {
    incoming: Incoming,
    stage: Rc<Stage>,
}

impl Body {
    /// The body of the present request of a connection.
    pub(crate) fn new(incoming: Incoming, stage: Rc<Stage>) -> Self {
        stage.unread(!incoming.is_end_stream());
        Self { incoming, stage }
    }

    /// Reads it.
    ///
    /// # Errors
    /// What the client is to be told.
    pub(crate) async fn read<N: Net, S: Watch>(
        mut self,
        worker: &Worker<N, S>,
    ) -> Result<(Bytes, Parked), ApiError> {
        let limits = &worker.config.limits;
        let bytes_max = limits.body_bytes_max;
        let announced = self.incoming.size_hint().exact().map(usize::try_from);
        let announced = announced.map(|n| n.unwrap_or(usize::MAX));
        if announced.is_some_and(|n| n > bytes_max) {
            return Err(ApiError::too_large(bytes_max));
        }
        let mut parked = Parked { shared: worker.local.shared.clone(), bytes: 0 };
        // What its connection reads it into stays as long as it does.
        let buffer = announced.unwrap_or(READ_BYTES_MAX).min(READ_BYTES_MAX);
        let (mut bytes, mut held) = (BytesMut::new(), 0);
        let began = OnceCell::new();
        while let Some(data) = self.piece(worker, &began, bytes.len()).await? {
            if bytes.len() + data.len() > bytes_max {
                return Err(ApiError::too_large(bytes_max));
            }
            if held == 0 {
                // Refused before much of it has come. Nothing is set aside for who sends nothing,
                // and not much for who only announces much.
                held = announced.unwrap_or_default().min(RESERVED_MAX);
                parked.grow(held + buffer, limits.parked_bytes_max)?;
                if announced == Some(data.len()) && data.len() >= SHARED_MIN {
                    return Ok((data, parked));
                }
                bytes.reserve(held);
            }
            let more = (bytes.len() + data.len()).saturating_sub(held);
            held += more;
            parked.grow(more, limits.parked_bytes_max)?;
            bytes.extend_from_slice(&data);
        }
        Ok((bytes.freeze(), parked))
    }

    /// Reads at most so many bytes of it, and forgets them.
    pub(crate) async fn discard<N: Net, S: Watch>(
        mut self,
        worker: &Worker<N, S>,
        bytes_max: usize,
    ) {
        let began = OnceCell::new();
        let mut read = 0;
        while let Ok(Some(data)) = self.piece(worker, &began, read).await {
            read += data.len();
            if read > bytes_max {
                break;
            }
        }
    }

    /// The next piece; `None` at the end. `read` bytes have been read; the first wait for more `began` then.
    async fn piece<N: Net, S: Watch>(
        &mut self,
        worker: &Worker<N, S>,
        began: &OnceCell<Instant>,
        read: usize,
    ) -> Result<Option<Bytes>, ApiError> {
        let frame = tokio::select! {
            biased; // What is there counts, also at the last moment. The others only begin if not.
            frame = self.incoming.frame() => frame,
            () = too_slow(worker, began, read) => return Err(FAILED),
            () = worker.reached(Phase::Closing) => return Err(SHUTTING_DOWN),
        };
        match frame {
            None => {
                self.stage.unread(false);
                Ok(None)
            }
            Some(Ok(frame)) => {
                self.stage.unread(!self.incoming.is_end_stream());
                // Trailers say nothing to us.
                Ok(Some(frame.into_data().unwrap_or_default()))
            }
            Some(Err(_)) => Err(FAILED),
        }
    }
}

/// A request that comes with the gateway's end is not begun with.
pub(crate) fn not_too_late<N: Net, S: Watch>(worker: &Worker<N, S>) -> Result<(), ApiError> {
    if worker.phase() == Phase::Closing { Err(SHUTTING_DOWN) } else { Ok(()) }
}

/// Returns when the next piece has taken too long, or all of them together.
async fn too_slow<N: Net, S: Watch>(worker: &Worker<N, S>, began: &OnceCell<Instant>, read: usize) {
    let began = *began.get_or_init(|| Clock::after(Duration::ZERO));
    let idle = Duration::from_millis(worker.config.limits.body_idle_timeout_ms);
    sleep_until(Clock::after(idle).min(last_moment(began, read))).await;
}

/// Until when more must have come of a body of which so much has been read.
fn last_moment(began: Instant, read: usize) -> Instant {
    began + TIME_ALLOWED + Duration::from_secs((read / RATE_MIN) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_in_drops_is_not_waited_for_longer_but_a_slow_large_one_is() {
        let began = Clock::after(Duration::ZERO);
        let allowed = |read| last_moment(began, read) - began;
        assert_eq!(allowed(0), TIME_ALLOWED);
        assert_eq!(allowed(100), TIME_ALLOWED, "a drop a second");
        // 100 MB at 64 KiB a second.
        let (size, rate) = (100 << 20, 64 << 10);
        assert!(allowed(size) > Duration::from_secs(size as u64 / rate));
    }
}
