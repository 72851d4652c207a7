//! One connection to an upstream, and the exchanges on it.
//!
//! An HTTP/1.1 connection carries one exchange at a time; dropping the exchange closes it. An HTTP/2
//! connection carries many, in a task of its own; dropping an exchange resets its stream.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::access::Access;
use super::connect::{Connected, Stream};
use super::http1::{self, Failed, Scratch};
use super::outgoing::Outgoing;
use crate::net::Net;

type Sender2 = http2::SendRequest<Full<Bytes>>;

/// Exchanges at once on one HTTP/2 connection, if the upstream allows so many.
const STREAMS_MAX: usize = 100;
/// What an exchange may have under way that its client has not taken. All of them together never use
/// up their connection, so that a slow client delays nobody else's answer.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = STREAMS_MAX as u32 * STREAM_WINDOW;
/// Between two signs of life on an HTTP/2 connection that carries exchanges, and how long its
/// upstream may take to answer one.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);

/// A connection, as one exchange has it.
pub(crate) enum Link<N: Net> {
    /// All of it.
    Http1(Box<http1::Connection<Stream<N::Stream>>>),
    /// A share of it.
    Http2 { sender: Sender2, _share: Share },
}

/// A connection that many exchanges share.
pub(crate) struct Shared {
    sender: Sender2,
    streams: Rc<Cell<usize>>,
    /// As many as the upstream allows.
    streams_max: Rc<Cell<usize>>,
}

/// One exchange's place on such a connection.
pub(crate) struct Share(Rc<Cell<usize>>);

impl Drop for Share {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Shared {
    /// A place on it, if it is open and has one.
    pub(crate) fn link<N: Net>(&self) -> Option<Link<N>> {
        let streams = self.streams.get();
        if self.sender.is_closed() || streams >= self.streams_max.get().min(STREAMS_MAX) {
            return None;
        }
        self.streams.set(streams + 1);
        Some(Link::Http2 { sender: self.sender.clone(), _share: Share(self.streams.clone()) })
    }

    /// Whether it can be let go: closed, or carrying nothing.
    pub(crate) fn idle(&self) -> bool {
        self.sender.is_closed() || self.streams.get() == 0
    }

    /// Whether no exchange can begin on it any more.
    pub(crate) fn closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// A connection that has just been made.
pub(crate) enum Opened<N: Net> {
    Own(Link<N>),
    Shared(Shared),
}

/// Shakes hands as far as HTTP needs it.
pub(crate) async fn open<N: Net>(
    connected: Connected<N::Stream>,
    scratch: &Scratch,
) -> hyper::Result<Opened<N>> {
    if !connected.http2 {
        let connection = http1::Connection::new(connected.stream, scratch.clone());
        return Ok(Opened::Own(Link::Http1(Box::new(connection))));
    }
    let io = TokioIo::new(connected.stream);
    let mut builder = http2::Builder::new(OnThisThread);
    builder.timer(TokioTimer::new());
    builder.keep_alive_interval(SIGN_OF_LIFE).keep_alive_timeout(SIGN_OF_LIFE);
    builder.initial_stream_window_size(STREAM_WINDOW);
    builder.initial_connection_window_size(CONNECTION_WINDOW);
    let (sender, connection) = builder.handshake(io).await?;
    let streams_max = Rc::new(Cell::new(STREAMS_MAX));
    let (mut connection, allowed) = (Box::pin(connection), streams_max.clone());
    // It ends when its last sender and its last exchange are gone; its errors reach its exchanges.
    drop(tokio::task::spawn_local(poll_fn(move |cx| {
        let ended = connection.as_mut().poll(cx).map(drop);
        // The upstream may change it at any time; one, at the least, or nothing would ever be sent.
        allowed.set(connection.current_max_send_streams().max(1));
        ended
    })));
    Ok(Opened::Shared(Shared { sender, streams: Rc::default(), streams_max }))
}

/// Runs what an HTTP/2 connection starts.
#[derive(Clone, Copy)]
struct OnThisThread;

impl<F: Future + 'static> hyper::rt::Executor<F> for OnThisThread {
    fn execute(&self, future: F) {
        drop(tokio::task::spawn_local(async move { drop(future.await) }));
    }
}

impl<N: Net> Link<N> {
    /// Whether a request may be sent, as far as is known without waiting.
    pub(crate) fn usable(&mut self) -> bool {
        match self {
            Self::Http1(connection) => connection.usable(),
            Self::Http2 { sender, .. } => !sender.is_closed(),
        }
    }

    /// Sends a request and waits for the answer's head.
    pub(crate) async fn send(
        mut self,
        access: &Access<'_>,
        request: &Outgoing<'_>,
    ) -> Result<(Response<()>, Exchange<N>), SendError> {
        match &mut self {
            Self::Http1(connection) => {
                let head = connection.send(request.http1_head(access), request.body.clone()).await;
                let head = head.map_err(SendError::Http1)?;
                Ok((head, Exchange { link: self, body: None }))
            }
            Self::Http2 { sender, .. } => {
                sender.ready().await.map_err(SendError::Http2)?;
                let sent = sender.send_request(request.http2(access)).await;
                let (head, body) = sent.map_err(SendError::Http2)?.into_parts();
                Ok((Response::from_parts(head, ()), Exchange { link: self, body: Some(body) }))
            }
        }
    }
}

/// Why there is no answer's head.
pub(crate) enum SendError {
    Http1(Failed),
    Http2(hyper::Error),
}

/// The answer broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BrokenOff;

/// A request that has been answered, whose answer is being read.
pub(crate) struct Exchange<N: Net> {
    pub(crate) link: Link<N>,
    /// In HTTP/2, apart from the connection.
    body: Option<Incoming>,
}

impl<N: Net> Exchange<N> {
    /// The next piece of the answer; `None` at its proper end.
    pub(crate) async fn chunk(&mut self) -> Option<Result<Bytes, BrokenOff>> {
        poll_fn(|cx| match (&mut self.link, &mut self.body) {
            (Link::Http1(connection), _) => {
                connection.poll_chunk(cx).map(|chunk| chunk.map(|data| data.map_err(|_| BrokenOff)))
            }
            (Link::Http2 { .. }, Some(body)) => poll_body(body, cx),
            (Link::Http2 { .. }, None) => Poll::Ready(None),
        })
        .await
    }
}

fn poll_body(body: &mut Incoming, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
    while let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
        match frame {
            None => return Poll::Ready(None),
            Some(Err(_)) => return Poll::Ready(Some(Err(BrokenOff))),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if !data.is_empty() => return Poll::Ready(Some(Ok(data))),
                // Trailers say nothing to us.
                Ok(_) | Err(_) => {}
            },
        }
    }
    Poll::Pending
}
