//! One worker of the gateway: its engine, its connections, its requests.
//!
//! Generic over sockets and store, so that a simulation runs it unchanged. Everything in it stays
//! on one thread.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use sluice_engine::rng::Seed;
use sluice_engine::store::Instance;
use sluice_storage::Watch;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::config::Config;
use crate::directory::Directory;
use crate::driver::Driver;
use crate::handler::body::Parking;
use crate::handler::{error_response, messages, refuse, request_id};
use crate::net::Net;
use crate::protocol::error::ApiError;
use crate::stall::StallGuard;
use crate::upstream::pool::Pool;
use crate::wire::Answer;

/// How far the gateway's end has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It serves.
    #[default]
    Serving,
    /// It serves, but says that it is not ready.
    Leaving,
    /// It takes no new connection and ends those it has with their present request.
    Draining,
}

/// What a worker is made of.
pub struct Setup<S> {
    /// What to do.
    pub config: Arc<Config>,
    /// The same, for looking up.
    pub directory: Arc<Directory>,
    /// The store that all workers share.
    pub store: Arc<S>,
    /// The clock that all workers share.
    pub clock: Clock,
    /// Which worker of the process this is, from 0.
    pub index: usize,
    /// The root of its engine's randomness.
    pub seed: Seed,
}

/// See the module's documentation.
pub struct Worker<N: Net, S: Watch> {
    /// Its engine.
    pub driver: Rc<Driver<S>>,
    pub(crate) pool: Pool<N>,
    pub(crate) parking: Parking,
    pub(crate) body_bytes_max: usize,
    pub(crate) body_idle_timeout: Duration,
    stall_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) total_timeout: Duration,
    header_timeout: Duration,
    connections_max: usize,
    index: usize,
    minted: Cell<u64>,
    phase: watch::Receiver<Phase>,
}

impl<N: Net, S: Watch> Worker<N, S> {
    /// Starts a worker on the current local set: its engine joins the store at once.
    #[must_use]
    pub fn start(setup: Setup<S>, phase: watch::Receiver<Phase>) -> Rc<Self> {
        let Setup { config, directory, store, clock, index, seed } = setup;
        let instance = Instance(format!("{}/{index}", config.server.name).into());
        let engine = sluice_engine::Config { instance, seed, policy: config.policy() };
        let (limits, upstream) = (&config.limits, &config.upstream);
        let ms = Duration::from_millis;
        let worker = Rc::new(Self {
            pool: Pool::new(upstream, directory.tls.clone()),
            driver: Driver::start(engine, store, clock, directory),
            parking: Parking::new(limits.parked_bytes_max / config.server.workers),
            body_bytes_max: limits.body_bytes_max,
            body_idle_timeout: ms(limits.body_idle_timeout_ms),
            stall_timeout: ms(limits.client_stall_timeout_ms),
            idle_timeout: ms(upstream.idle_timeout_ms),
            total_timeout: ms(upstream.total_timeout_ms),
            header_timeout: ms(limits.header_timeout_ms),
            connections_max: limits.connections_max.div_ceil(config.server.workers),
            index,
            minted: Cell::new(0),
            phase,
        });
        let sweeper = worker.clone();
        drop(tokio::task::spawn_local(async move { sweeper.pool.sweep().await }));
        worker
    }

    /// Serves what arrives at a listener until the phase is [`Phase::Draining`], and then what is
    /// still running until it has ended. Dropping the future cuts everything off.
    pub async fn serve(self: Rc<Self>, listener: N::Listener) {
        let mut connections = JoinSet::new();
        let mut phase = self.phase.clone();
        loop {
            let room = connections.len() < self.connections_max;
            let accepted = tokio::select! {
                biased; // No connection is taken after the signal.
                _ = phase.wait_for(|phase| *phase == Phase::Draining) => break,
                Some(_) = connections.join_next() => continue,
                accepted = N::accept(&listener), if room => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    connections.spawn_local(self.clone().connection(stream));
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting failed");
                    // Out of files, for instance: the loop must not spin.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    async fn connection(self: Rc<Self>, stream: N::Stream) {
        let mut phase = self.phase.clone();
        let service = service_fn(|request| {
            let worker = self.clone();
            async move { Ok::<_, Infallible>(worker.handle(request).await) }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(self.header_timeout);
        builder.auto_date_header(N::DATES);
        let stream = TokioIo::new(StallGuard::new(stream, self.stall_timeout));
        let mut connection = pin!(builder.serve_connection(stream, service));
        let ended = tokio::select! {
            biased; // What can be served at once is served first.
            ended = connection.as_mut() => ended,
            _ = phase.wait_for(|phase| *phase == Phase::Draining) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection");
        }
    }

    async fn handle(self: Rc<Self>, request: Request<Incoming>) -> Response<Answer> {
        let id = request_id(request.headers(), || self.mint_id()).into_owned();
        let not_allowed =
            || refuse(&ApiError::new(405, "invalid_request_error", "Method not allowed"), &id);
        let (get, post) = (request.method() == Method::GET, request.method() == Method::POST);
        match request.uri().path() {
            "/v1/messages" if post => messages::messages(self, request, id).await,
            "/livez" if get => plain(200, "ok", &id),
            "/readyz" if get => self.ready(&id),
            "/v1/messages" | "/livez" | "/readyz" => not_allowed(),
            _ => refuse(&ApiError::new(404, "not_found_error", "Not found"), &id),
        }
    }

    fn ready(&self, id: &str) -> Response<Answer> {
        if *self.phase.borrow() != Phase::Serving {
            return plain(503, "leaving", id);
        }
        if self.driver.ready() { plain(200, "ready", id) } else { plain(503, "not ready", id) }
    }

    /// A new request's name: unlike any other of this process, and hardly like one of another.
    fn mint_id(&self) -> String {
        self.minted.set(self.minted.get() + 1);
        let start = self.driver.clock.start().0;
        format!("req_{start:x}-{}-{}", self.index, self.minted.get())
    }
}

/// After a connection could not be accepted.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// For readiness that comes back by itself.
const READY_RETRY_SECS: u64 = 1;

fn plain(status: u16, text: &'static str, id: &str) -> Response<Answer> {
    let (mut head, _) = error_response(&ApiError::new(status, "", ""), id);
    let headers = head.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    if status == 503 {
        headers.insert(RETRY_AFTER, HeaderValue::from(READY_RETRY_SECS));
    }
    head.map(|()| Answer::whole(text))
}
