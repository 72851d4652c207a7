//! Where an answer's body ends.

use bytes::{Bytes, BytesMut};

use super::Malformed;
use super::chunked::Chunked;

/// What is still to come of a body.
#[derive(Debug)]
pub(super) enum Framing {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Chunked),
    /// Whatever comes until the connection ends.
    UntilClose,
}

/// What was found in bytes that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) data: Bytes,
    /// More came than belongs to the body.
    pub(super) unasked: bool,
}

impl Framing {
    pub(super) const fn chunked() -> Self {
        Self::Chunked(Chunked::new())
    }

    /// Whether the body is whole.
    pub(super) fn is_end(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked) => chunked.is_end(),
            Self::UntilClose => false,
        }
    }

    /// Finds the data in what has come. `share` makes bytes of its first so many.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        share: impl FnOnce(usize) -> Bytes,
    ) -> Result<Taken, Malformed> {
        let (data, read) = match self {
            Self::Length(left) => {
                let now = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= now as u64;
                (share(now), now)
            }
            Self::Chunked(chunked) => {
                let mut data = BytesMut::with_capacity(bytes.len());
                let read = chunked.decode(bytes, &mut data)?;
                (data.freeze(), read)
            }
            Self::UntilClose => (share(bytes.len()), bytes.len()),
        };
        Ok(Taken { data, unasked: read < bytes.len() })
    }

    /// The connection has ended, and the body with it if it may.
    pub(super) fn close(&mut self) -> Result<Taken, Malformed> {
        if !matches!(self, Self::UntilClose) {
            return Err(Malformed);
        }
        *self = Self::Length(0);
        Ok(Taken { data: Bytes::new(), unasked: false })
    }
}
