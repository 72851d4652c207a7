//! Sockets as a parameter, so that a simulated network runs the gateway unchanged.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::gather::{self, Gathered};
use crate::listen::Bound;

/// Where connections come from and go to. Nothing here needs to be `Send`: a worker keeps its
/// sockets to itself.
pub trait Net: 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;
    /// Where connections arrive.
    type Listener: 'static;
    /// Whether answers carry a `date`, which is the machine's time and not the runtime's.
    const DATES: bool = true;

    /// Listens at an address; with `shared`, beside other listeners there.
    fn bind(address: SocketAddr, shared: bool) -> impl Future<Output = io::Result<Self::Listener>>;

    /// The next connection, and where it comes from if that has an address. Given up on the way, it
    /// loses no connection.
    fn accept(
        listener: &Self::Listener,
    ) -> impl Future<Output = io::Result<(Self::Stream, Option<SocketAddr>)>>;

    /// Where a listener listens.
    ///
    /// # Errors
    /// The system's, and that it has no address.
    fn local_address(listener: &Self::Listener) -> io::Result<SocketAddr>;

    /// A connection to `host`, a name or an address.
    fn connect(host: &str, port: u16) -> impl Future<Output = io::Result<Self::Stream>>;
}

/// The system's sockets: TCP, and for clients and operators of this machine those of the file
/// system.
#[derive(Clone, Copy, Debug)]
pub struct TcpNet;

/// A listener of the system.
#[derive(Debug)]
pub enum Listener {
    /// At an address.
    Tcp(TcpListener),
    /// In the file system.
    Unix(UnixListener),
}

/// A connection of the system.
pub type Stream = Gathered<Socket>;

/// A socket of the system.
#[derive(Debug)]
pub enum Socket {
    /// From or to an address.
    Tcp(TcpStream),
    /// Within this machine.
    Unix(UnixStream),
}

impl Net for TcpNet {
    type Stream = Stream;
    type Listener = Listener;

    async fn bind(address: SocketAddr, shared: bool) -> io::Result<Listener> {
        Bound::tcp(address, shared)?.listener()
    }

    async fn accept(listener: &Listener) -> io::Result<(Stream, Option<SocketAddr>)> {
        let (socket, peer) = match listener {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // It fails on a connection that is broken already, which its reader will find out.
                let _ = stream.set_nodelay(true);
                (Socket::Tcp(stream), Some(peer))
            }
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                (Socket::Unix(stream), None)
            }
        };
        gather::serve();
        Ok((Gathered::new(socket), peer))
    }

    fn local_address(listener: &Listener) -> io::Result<SocketAddr> {
        match listener {
            Listener::Tcp(listener) => listener.local_addr(),
            Listener::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    async fn connect(host: &str, port: u16) -> io::Result<Stream> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        Ok(Gathered::new(Socket::Tcp(stream)))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
