//! Connections to upstreams: one set per account, kept alive, bounded.
//!
//! A connection has no task of its own: whoever waits for an answer on it polls it. Dropping an
//! exchange therefore closes its connection at once, in the middle of whatever it was doing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use sluice_engine::AccountId;
use tokio::time::{Instant, timeout};

use crate::clock::Clock;
use crate::config;
use crate::directory::Endpoint;
use crate::net::Net;

type Connection<N> = http1::Connection<TokioIo<<N as Net>::Stream>, Full<Bytes>>;

/// An open connection.
pub(crate) struct Link<N: Net> {
    sender: http1::SendRequest<Full<Bytes>>,
    /// `None` once it has ended.
    connection: Option<Pin<Box<Connection<N>>>>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// Connecting failed or took too long.
    Connect,
    /// The connection broke before any byte of an answer.
    Broken,
    /// The head did not come in time.
    HeadTimeout,
}

impl<N: Net> Link<N> {
    async fn open(endpoint: &Endpoint) -> Option<Self> {
        let stream = N::connect(&endpoint.host, endpoint.port).await.ok()?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        Some(Self { sender, connection: Some(Box::pin(connection)) })
    }

    /// Lets the connection do what it can.
    fn poll(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(cx).is_ready()
        {
            self.connection = None;
        }
    }

    /// Whether a request may be sent, as far as is known without waiting.
    fn usable(&mut self) -> bool {
        self.poll(&mut Context::from_waker(Waker::noop()));
        self.connection.is_some() && self.sender.is_ready()
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        let Self { sender, connection, .. } = self;
        let mut answer = pin!(sender.send_request(request));
        poll_fn(|cx| {
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(answer);
            }
            if connection.as_mut().is_some_and(|c| c.as_mut().poll(cx).is_ready()) {
                *connection = None;
            }
            answer.as_mut().poll(cx)
        })
        .await
    }
}

/// A request that has been answered, whose answer is being read.
pub(crate) struct Exchange<N: Net> {
    link: Link<N>,
    body: Incoming,
}

impl<N: Net> Exchange<N> {
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

/// See the module's documentation.
pub(crate) struct Pool<N: Net> {
    idle: RefCell<BTreeMap<AccountId, Vec<Idle<N>>>>,
    idle_max: usize,
    idle_time: Duration,
    connect_timeout: Duration,
    header_timeout: Duration,
}

struct Idle<N: Net> {
    link: Link<N>,
    until: Instant,
}

impl<N: Net> Pool<N> {
    pub(crate) fn new(config: &config::Upstream) -> Self {
        Self {
            idle: RefCell::default(),
            idle_max: config.idle_connections_max,
            idle_time: Duration::from_millis(config.idle_connection_ms),
            connect_timeout: Duration::from_millis(config.connect_timeout_ms),
            header_timeout: Duration::from_millis(config.header_timeout_ms),
        }
    }

    /// Sends a request and waits for the answer's head. If a kept connection breaks before any byte
    /// of an answer, as one that the upstream was about to close does, a new one is tried, once.
    pub(crate) async fn send(
        &self,
        account: AccountId,
        endpoint: &Endpoint,
        request: &Request<Full<Bytes>>,
    ) -> Result<(Response<()>, Exchange<N>), NoAnswer> {
        if let Some(link) = self.take(account) {
            match self.send_on(link, request.clone()).await {
                Err(NoAnswer::Broken) => {}
                done @ (Ok(_) | Err(NoAnswer::Connect | NoAnswer::HeadTimeout)) => return done,
            }
        }
        let link = timeout(self.connect_timeout, Link::open(endpoint)).await;
        let link = link.ok().flatten().ok_or(NoAnswer::Connect)?;
        self.send_on(link, request.clone()).await
    }

    async fn send_on(
        &self,
        mut link: Link<N>,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<()>, Exchange<N>), NoAnswer> {
        match timeout(self.header_timeout, link.send(request)).await {
            Err(_) => Err(NoAnswer::HeadTimeout),
            Ok(Err(_)) => Err(NoAnswer::Broken),
            Ok(Ok(response)) => {
                let (parts, body) = response.into_parts();
                Ok((Response::from_parts(parts, ()), Exchange { link, body }))
            }
        }
    }

    /// The connection kept last of those that can still be used.
    fn take(&self, account: AccountId) -> Option<Link<N>> {
        let now = Clock::after(Duration::ZERO);
        let mut idle = self.idle.borrow_mut();
        let kept = idle.get_mut(&account)?;
        while let Some(mut last) = kept.pop() {
            if last.until > now && last.link.usable() {
                return Some(last.link);
            }
        }
        None
    }

    /// Keeps the connection of an answer that has been read to its end.
    pub(crate) fn keep(&self, account: AccountId, exchange: Exchange<N>) {
        let mut link = exchange.link;
        if !link.usable() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let kept = idle.entry(account).or_default();
        if kept.len() >= self.idle_max && !kept.is_empty() {
            kept.remove(0);
        }
        if self.idle_max > 0 {
            kept.push(Idle { link, until: Clock::after(self.idle_time) });
        }
    }
}
