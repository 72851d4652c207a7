//! One connection to an upstream, and the exchanges on it.
//!
//! An HTTP/1.1 connection carries one exchange at a time and has no task of its own: whoever waits
//! for an answer on it polls it, and dropping the exchange closes it at once, in the middle of
//! whatever it was doing. An HTTP/2 connection carries many, in a task of its own; dropping an
//! exchange resets its stream.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::unconstrained;

use super::connect::{Connected, Stream};
use crate::net::Net;

type Io<N> = TokioIo<Stream<<N as Net>::Stream>>;
type Http1<N> = http1::Connection<Io<N>, Full<Bytes>>;
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
    Http1 {
        sender: http1::SendRequest<Full<Bytes>>,
        /// `None` once it has ended.
        connection: Option<Pin<Box<Http1<N>>>>,
    },
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
pub(crate) async fn open<N: Net>(connected: Connected<N::Stream>) -> hyper::Result<Opened<N>> {
    let io = TokioIo::new(connected.stream);
    if !connected.http2 {
        let (sender, connection) = http1::handshake(io).await?;
        return Ok(Opened::Own(Link::Http1 { sender, connection: Some(Box::pin(connection)) }));
    }
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
    /// Lets the connection do what it can.
    fn poll(&mut self, cx: &mut Context<'_>) {
        if let Self::Http1 { connection, .. } = self
            && connection.as_mut().is_some_and(|c| c.as_mut().poll(cx).is_ready())
        {
            *connection = None;
        }
    }

    /// Whether a request may be sent, as far as is known without waiting.
    pub(crate) fn usable(&mut self) -> bool {
        self.poll(&mut Context::from_waker(Waker::noop()));
        match self {
            Self::Http1 { sender, connection } => connection.is_some() && sender.is_ready(),
            Self::Http2 { sender, .. } => !sender.is_closed(),
        }
    }

    /// Sends a request and waits for the answer's head.
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        let (sender, connection) = match self {
            Self::Http2 { sender, .. } => {
                sender.ready().await?;
                return sender.send_request(request).await;
            }
            Self::Http1 { sender, connection } => (sender, connection),
        };
        // It comes by what the connection does here and by nothing else: it needs to wake nobody. A
        // budget would.
        let mut answer = pin!(unconstrained(sender.send_request(request)));
        poll_fn(|cx| {
            if connection.as_mut().is_some_and(|c| c.as_mut().poll(cx).is_ready()) {
                *connection = None;
            }
            answer.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        })
        .await
    }
}

/// A request that has been answered, whose answer is being read.
pub(crate) struct Exchange<N: Net> {
    pub(crate) link: Link<N>,
    body: Incoming,
}

impl<N: Net> Exchange<N> {
    pub(crate) const fn new(link: Link<N>, body: Incoming) -> Self {
        Self { link, body }
    }

    /// The next piece of the answer; `None` at its proper end.
    pub(crate) async fn chunk(&mut self) -> Option<hyper::Result<Bytes>> {
        poll_fn(|cx| match self.poll_body(cx) {
            Poll::Pending => {
                self.link.poll(cx);
                self.poll_body(cx)
            }
            ready @ Poll::Ready(_) => ready,
        })
        .await
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Bytes>>> {
        while let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            match frame {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Poll::Ready(Some(Ok(data))),
                    // Trailers say nothing to us.
                    Ok(_) | Err(_) => {}
                },
            }
        }
        Poll::Pending
    }
}
