//! How the gateways of a simulation speak with its store: frames of JSON, each behind its length.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sluice_engine::store::Grant;
use sluice_engine::{StoreOp, StoreReply};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The first frame of a connection: who it is, and what for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    /// Index of the node.
    pub(super) node: usize,
    /// Which life it lives.
    pub(super) life: u32,
    /// Whether grants are to be pushed here; otherwise operations come.
    pub(super) listens: bool,
}

/// An operation.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// Its number among the node's operations, over all lives.
    pub(super) call: u64,
    pub(super) op: StoreOp,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Receipt {
    pub(super) call: u64,
    pub(super) reply: StoreReply,
}

/// What is pushed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Push {
    Grant(Grant),
    /// Nothing to say, but still there.
    Alive,
}

/// The largest frame: a roster, or a resync of 256 leases.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// Reads one frame.
pub(super) async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<T> {
    let length = from.read_u32().await? as usize;
    if length > FRAME_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).await?;
    serde_json::from_slice(&bytes).map_err(io::Error::other)
}

/// Writes one frame, all at once.
pub(super) async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    what: &impl Serialize,
) -> io::Result<()> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, what).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len() - 4).map_err(io::Error::other)?;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    to.write_all(&bytes).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_comes_as_it_was_sent() {
        let (mut near, mut far) = tokio::io::duplex(8);
        let writing = tokio::spawn(async move {
            let order = Order { call: 7, op: StoreOp::Reap { max: 3 } };
            write(&mut near, &order).await.expect("it is read");
            write(&mut near, &Push::Alive).await.expect("it is read");
        });
        let Order { call, op } = read(&mut far).await.expect("it was written");
        assert_eq!((call, op), (7, StoreOp::Reap { max: 3 }));
        assert!(matches!(read(&mut far).await, Ok(Push::Alive)));
        writing.await.expect("no panic");
        assert!(read::<Push>(&mut far).await.is_err(), "the end");
    }

    #[tokio::test]
    async fn a_frame_that_is_too_large_is_refused() {
        let (mut near, mut far) = tokio::io::duplex(64);
        near.write_u32(u32::MAX).await.expect("room");
        assert!(read::<Push>(&mut far).await.is_err());
    }
}
