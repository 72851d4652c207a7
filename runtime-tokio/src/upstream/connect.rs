//! The way to an upstream: directly or through the account's proxy, with TLS where the address says
//! so.
//!
//! **Architecture Invariant:** an account that has a proxy is reached through it or not at all.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_socks::tcp::Socks5Stream;

use super::tls::Tls;
use crate::directory::{Endpoint, Proxy, ProxyScheme};
use crate::net::Net;

/// The most bytes of a proxy's answer.
const TUNNEL_ANSWER_BYTES_MAX: usize = 8 * 1024;

/// A connection, wrapped or not.
pub(crate) enum Stream<S> {
    /// As the network gave it: the fast and common case within one data centre.
    Plain(S),
    /// Within TLS, or a tunnel, or both.
    Wrapped(Box<dyn Io>),
}

/// Bytes both ways.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

/// A connection that can be spoken HTTP over.
pub(crate) struct Connected<S> {
    pub(crate) stream: Stream<S>,
    pub(crate) http2: bool,
}

/// Connects. The caller bounds the time.
///
/// # Errors
/// The network's, the proxy's or those of TLS; their words hold no secret.
pub(crate) async fn connect<N: Net>(
    endpoint: &Endpoint,
    proxy: Option<&Proxy>,
    tls: &Tls,
) -> io::Result<Connected<N::Stream>> {
    let stream = match proxy {
        None => Stream::Plain(N::connect(&endpoint.host, endpoint.port).await?),
        Some(proxy) => through::<N>(endpoint, proxy, tls).await?,
    };
    if !endpoint.tls {
        return Ok(Connected { stream, http2: false });
    }
    let (stream, http2) = tls.with_upstream(&endpoint.host, stream).await?;
    Ok(Connected { stream: Stream::Wrapped(Box::new(stream)), http2 })
}

async fn through<N: Net>(
    endpoint: &Endpoint,
    proxy: &Proxy,
    tls: &Tls,
) -> io::Result<Stream<N::Stream>> {
    let stream = N::connect(&proxy.host, proxy.port).await?;
    match proxy.scheme {
        ProxyScheme::Http => tunnel(stream, endpoint, proxy).await,
        ProxyScheme::Https => {
            let stream = tls.with_proxy(&proxy.host, stream).await?;
            tunnel(stream, endpoint, proxy).await
        }
        ProxyScheme::Socks5 => {
            // The proxy resolves the name: what this machine would make of it may be another host.
            let target = (endpoint.host.as_str(), endpoint.port);
            let connected = match &proxy.credentials {
                None => Socks5Stream::connect_with_socket(stream, target).await,
                Some((user, password)) => {
                    let password = password.expose();
                    Socks5Stream::connect_with_password_and_socket(stream, target, user, password)
                        .await
                }
            };
            let connected = connected.map_err(|e| io::Error::other(format!("proxy: {e}")))?;
            Ok(Stream::Plain(connected.into_inner()))
        }
    }
}

/// Asks for a tunnel with `CONNECT` (RFC 9110, 9.3.6).
async fn tunnel<S: Io + 'static, T>(
    mut stream: S,
    endpoint: &Endpoint,
    proxy: &Proxy,
) -> io::Result<Stream<T>> {
    let authority = endpoint.address();
    let mut ask = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n");
    if let Some((user, password)) = &proxy.credentials {
        let pair = STANDARD.encode(format!("{user}:{}", password.expose()));
        ask += &format!("proxy-authorization: Basic {pair}\r\n");
    }
    ask += "\r\n";
    stream.write_all(ask.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= TUNNEL_ANSWER_BYTES_MAX {
            return Err(io::Error::other("proxy: its answer to CONNECT is too long"));
        }
        // Byte by byte: what follows the head is the upstream's. It is short, and once a connection.
        answer.push(stream.read_u8().await?);
    }
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(&answer).map_err(io::Error::other)?;
    match response.code {
        Some(200..=299) if parsed.is_complete() => Ok(Stream::Wrapped(Box::new(stream))),
        status => {
            let status = status.unwrap_or_default();
            Err(io::Error::other(format!("proxy: it answered CONNECT with {status}")))
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Wrapped(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Wrapped(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Wrapped(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Wrapped(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Wrapped(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Wrapped(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
