//! Sockets as a parameter, so that a simulated network runs the gateway unchanged.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

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

    /// The next connection.
    fn accept(
        listener: &Self::Listener,
    ) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>>;

    /// Where a listener listens.
    ///
    /// # Errors
    /// The system's.
    fn local_address(listener: &Self::Listener) -> io::Result<SocketAddr>;

    /// A connection to `host`, a name or an address.
    fn connect(host: &str, port: u16) -> impl Future<Output = io::Result<Self::Stream>>;
}

/// The system's TCP.
#[derive(Clone, Copy, Debug)]
pub struct TcpNet;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

impl Net for TcpNet {
    type Stream = TcpStream;
    type Listener = TcpListener;

    async fn bind(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        if shared {
            socket.set_reuse_port(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    }

    async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = listener.accept().await?;
        // It fails on a connection that is broken already, which its reader will find out.
        let _ = stream.set_nodelay(true);
        Ok((stream, peer))
    }

    fn local_address(listener: &TcpListener) -> io::Result<SocketAddr> {
        listener.local_addr()
    }

    async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}
