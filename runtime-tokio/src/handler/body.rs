//! Reading a request's body: whole, within its limit, and within what all bodies together may take.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout;

use crate::protocol::error::ApiError;

/// Memory for bodies, of one worker.
pub(crate) struct Parking {
    taken: Rc<Cell<usize>>,
    bytes_max: usize,
}

/// A part of that memory, until it is dropped.
pub(crate) struct Parked {
    taken: Rc<Cell<usize>>,
    bytes: usize,
}

impl Parking {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { taken: Rc::default(), bytes_max }
    }

    fn enter(&self) -> Parked {
        Parked { taken: self.taken.clone(), bytes: 0 }
    }
}

impl Parked {
    fn grow(&mut self, bytes: usize, bytes_max: usize) -> Result<(), ApiError> {
        if self.taken.get() + bytes > bytes_max {
            let error = ApiError::new(503, "overloaded_error", "Too many requests in the gateway");
            return Err(error.retry(2));
        }
        self.taken.set(self.taken.get() + bytes);
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.taken.set(self.taken.get() - self.bytes);
    }
}

/// Reads a body.
///
/// # Errors
/// What the client is to be told.
pub(crate) async fn read(
    mut body: Incoming,
    parking: &Parking,
    bytes_max: usize,
    idle: Duration,
) -> Result<(Bytes, Parked), ApiError> {
    const FAILED: ApiError = ApiError::invalid("Failed to read request body");
    let announced = body.size_hint().exact().map(usize::try_from);
    let announced = announced.map(|n| n.unwrap_or(usize::MAX));
    if announced.is_some_and(|n| n > bytes_max) {
        return Err(ApiError::too_large(bytes_max));
    }
    let mut parked = parking.enter();
    let mut bytes = BytesMut::new();
    loop {
        let frame = timeout(idle, body.frame()).await.map_err(|_| FAILED)?;
        let Some(frame) = frame else {
            return Ok((bytes.freeze(), parked));
        };
        // Trailers say nothing to us.
        let Ok(data) = frame.map_err(|_| FAILED)?.into_data() else { continue };
        if bytes.len() + data.len() > bytes_max {
            return Err(ApiError::too_large(bytes_max));
        }
        parked.grow(data.len(), parking.bytes_max)?;
        if bytes.is_empty() {
            bytes.reserve(announced.unwrap_or(data.len()));
        }
        bytes.extend_from_slice(&data);
    }
}
