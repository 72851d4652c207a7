//! The gateway's sockets, on the simulated network.
//!
//! A connection that the gateway lets go of is noted at that moment: its peer learns of it only when
//! the news arrives, and what is open *at the gateway* is what limits speak of.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use sluice_runtime_tokio::net::Net;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

thread_local! {
    /// The near ends of connections that the gateways of this thread's simulation have let go of.
    static LET_GO: RefCell<BTreeSet<SocketAddr>> = const { RefCell::new(BTreeSet::new()) };
}

/// Forgets the connections of an earlier simulation.
pub(super) fn begin() {
    LET_GO.with_borrow_mut(BTreeSet::clear);
}

/// Whether a gateway has let go of the connection that has this address at its end.
pub(super) fn let_go(near: SocketAddr) -> bool {
    LET_GO.with_borrow(|gone| gone.contains(&near))
}

/// See the module's documentation.
#[derive(Clone, Copy, Debug)]
pub(super) struct TurmoilNet;

/// A connection of a gateway.
#[derive(Debug)]
pub(super) struct Stream {
    inner: TcpStream,
    near: Option<SocketAddr>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(near) = self.near {
            LET_GO.with_borrow_mut(|gone| gone.insert(near));
        }
    }
}

impl Net for TurmoilNet {
    type Stream = Stream;
    type Listener = TcpListener;

    const DATES: bool = false;

    async fn bind(address: SocketAddr, _: bool) -> io::Result<TcpListener> {
        TcpListener::bind(address).await
    }

    async fn accept(listener: &TcpListener) -> io::Result<(Stream, Option<SocketAddr>)> {
        let (inner, peer) = listener.accept().await?;
        Ok((Stream { inner, near: None }, Some(peer)))
    }

    fn local_address(listener: &TcpListener) -> io::Result<SocketAddr> {
        listener.local_addr()
    }

    async fn connect(host: &str, port: u16) -> io::Result<Stream> {
        let inner = TcpStream::connect((host, port)).await?;
        // The port is not used for another connection in the same run: there are enough.
        let near = Some(inner.local_addr()?);
        Ok(Stream { inner, near })
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
