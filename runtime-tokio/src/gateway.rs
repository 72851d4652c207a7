//! One worker of the gateway: its engine, its connections, its requests.
//!
//! Generic over sockets and store, so that a simulation runs it unchanged. Everything in it stays
//! on one thread.

use std::cell::Cell;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sluice_engine::rng::Seed;
use sluice_engine::store::Instance;
use sluice_storage::Watch;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::clock::{Clock, duration};
use crate::config::{Config, OnDisconnect};
use crate::directory::Directory;
use crate::driver::Driver;
use crate::handler;
use crate::handler::places::Places;
use crate::net::Net;
use crate::shared::{Local, Shared};
use crate::stall::{Patience, Stage, StallGuard};
use crate::telemetry::AccessLog;
use crate::upstream::oauth::RENEWAL_MAX;
use crate::upstream::pool::Pool;
use crate::vital::spawn_vital;

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
    /// It tells whoever is still served that it ends, and ends.
    Closing,
}

impl Phase {
    /// As operators are shown it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Leaving => "leaving",
            Self::Draining => "draining",
            Self::Closing => "closing",
        }
    }
}

/// What a worker is made of.
pub struct Setup<S> {
    /// What to do.
    pub config: Arc<Config>,
    /// The same, for looking up.
    pub directory: Arc<Directory>,
    /// The store that all workers share.
    pub store: Arc<S>,
    /// What else they share.
    pub shared: Arc<Shared>,
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
    pub(crate) local: Rc<Local>,
    /// Of requests that hold no slots.
    pub(crate) places: Rc<Places>,
    pub(crate) config: Arc<Config>,
    pub(crate) idle_timeout: Duration,
    pub(crate) total_timeout: Duration,
    patience: Patience,
    connections_max: usize,
    /// Renewals of access tokens that are under way.
    pub(crate) renewals: Cell<usize>,
    /// What the names of its requests begin with.
    id_prefix: String,
    minted: Cell<u64>,
    phase: watch::Receiver<Phase>,
    phase_changed: Notify,
}

/// How long a connection may be open between two requests, or before its first.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// The headers of one request that hyper reads without a heap allocation, which is also its limit.
const HEADERS_INLINE: usize = 100;
/// What is read of a connection at once. It stays with the connection while its request waits.
pub(crate) const READ_BYTES_MAX: usize = 128 * 1024;
/// Digits of the largest number.
const DIGITS_MAX: usize = 20;
/// After a connection could not be accepted.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long the last words of what was cut off may take.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long leases may take to be given back in the end, and how often that is looked at.
const GIVING_BACK: Duration = Duration::from_secs(1);
const GIVING_BACK_LOOK: Duration = Duration::from_millis(10);

impl<N: Net, S: Watch> Worker<N, S> {
    /// Starts a worker on the current local set: its engine joins the store at once.
    #[must_use]
    pub fn start(setup: Setup<S>, phase: watch::Receiver<Phase>) -> Rc<Self> {
        let Setup { config, directory, store, shared, clock, index, seed } = setup;
        let instance = Instance(format!("{}/{index}", config.server.name).into());
        let engine = sluice_engine::Config { instance, seed, policy: directory.policy.clone() };
        let (limits, upstream) = (&config.limits, &config.upstream);
        let ms = Duration::from_millis;
        let local = Local::new(shared, index);
        let watched = store.clone();
        local.watch_store(move || watched.condition());
        let worker = Rc::new(Self {
            pool: Pool::new(upstream, directory.clone()),
            driver: Driver::start(engine, store, clock, directory),
            id_prefix: format!("req_{:x}-{index}-", clock.start().0),
            local,
            places: Places::new(limits.asides_max),
            idle_timeout: ms(upstream.idle_timeout_ms),
            total_timeout: ms(upstream.total_timeout_ms),
            patience: Patience {
                write: ms(limits.client_stall_timeout_ms),
                idle: IDLE_TIMEOUT,
                head: ms(limits.header_timeout_ms),
            },
            connections_max: limits.connections_max.div_ceil(config.server.workers),
            config,
            renewals: Cell::new(0),
            minted: Cell::new(0),
            phase,
            phase_changed: Notify::new(),
        });
        let sweeper = worker.clone();
        spawn_vital("sweeper", async move { sweeper.pool.sweep().await });
        spawn_vital("phase", worker.clone().follow_phase());
        worker
    }

    /// Goes by this directory from now on; see [`Setup::directory`]. What runs goes on: to the account,
    /// and with the credential, that it was sent with. One that is older than that in force changes
    /// nothing.
    pub fn reload(&self, directory: Arc<Directory>) {
        self.driver.reload(directory);
        self.pool.renew(Arc::clone(&self.driver.directory()));
    }

    /// Between signs of life to a streaming client that waits.
    pub(crate) fn ping_interval(&self) -> Duration {
        duration(self.driver.directory().policy.ping_interval)
    }

    /// How long a request is served on after its client has left.
    pub(crate) fn linger(&self) -> Option<Duration> {
        let upstream = &self.config.upstream;
        match upstream.on_disconnect {
            OnDisconnect::Cancel => None,
            OnDisconnect::Drain => Some(Duration::from_millis(upstream.drain_time_max_ms)),
        }
    }

    /// Serves what arrives at a listener; see [`serve_all`](Self::serve_all).
    pub async fn serve(self: Rc<Self>, listener: N::Listener) {
        self.serve_all(vec![listener]).await;
    }

    /// Serves what arrives at these listeners until the phase is [`Phase::Draining`], and then what
    /// is still running until it has ended, or until the phase is [`Phase::Closing`] and a moment
    /// longer. In the end leases are given back, as far as that can be done in a second. Dropping
    /// the future cuts everything off.
    pub async fn serve_all(self: Rc<Self>, listeners: Vec<N::Listener>) {
        let mut connections = JoinSet::new();
        self.accept(&listeners, &mut connections).await;
        drop(listeners);
        tokio::select! {
            biased; // What has ended needs no end.
            () = self.all_served(&mut connections) => {}
            () = self.reached(Phase::Closing) => {
                self.driver.shut_down_requests();
                // Who does not take its last words in time goes without.
                let _ = timeout(LAST_WORDS, self.all_ended(&mut connections)).await;
            }
        }
        connections.shutdown().await;
        self.local.connections(0);
        let _ = timeout(GIVING_BACK, self.given_back()).await;
        // A token that was exchanged for another must not be lost.
        let _ = timeout(RENEWAL_MAX, self.renewed()).await;
    }

    async fn accept(self: &Rc<Self>, listeners: &[N::Listener], connections: &mut JoinSet<()>) {
        let mut next = 0;
        let mut draining = pin!(self.reached(Phase::Draining));
        loop {
            self.local.connections(connections.len());
            let room = connections.len() < self.connections_max;
            next = (next + 1) % listeners.len().max(1);
            let accepted = tokio::select! {
                biased; // No connection is taken after the signal.
                () = draining.as_mut() => break,
                Some(_) = connections.join_next() => continue,
                accepted = accept_any::<N>(listeners, next), if room => accepted,
            };
            match accepted {
                Ok(stream) => {
                    connections.spawn_local(self.clone().connection(stream));
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting failed");
                    // Out of files, for instance: the loop must not spin.
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Returns when all connections have ended, and what goes on without a client.
    async fn all_served(&self, connections: &mut JoinSet<()>) {
        self.all_ended(connections).await;
        while self.driver.live_requests() > 0 {
            sleep(GIVING_BACK_LOOK).await;
        }
    }

    async fn all_ended(&self, connections: &mut JoinSet<()>) {
        while connections.join_next().await.is_some() {
            self.local.connections(connections.len());
        }
    }

    /// Returns when nothing is owed to the store any more.
    async fn given_back(&self) {
        while self.driver.live_requests() > 0 || self.driver.owed() > 0 {
            sleep(GIVING_BACK_LOOK).await;
        }
    }

    /// Returns when no access token is still to come.
    async fn renewed(&self) {
        while self.renewals.get() > 0 {
            sleep(GIVING_BACK_LOOK).await;
        }
    }

    async fn connection(self: Rc<Self>, stream: N::Stream) {
        let stage = Rc::<Stage>::default();
        let service = service_fn(|request| {
            let (worker, stage) = (self.clone(), stage.clone());
            async move { Ok::<_, Infallible>(handler::handle(worker, request, stage).await) }
        });
        let mut builder = http1::Builder::new();
        // The guard knows better what it waits for.
        builder.header_read_timeout(None).auto_date_header(N::DATES);
        builder.max_buf_size(READ_BYTES_MAX.max(2 * self.config.limits.header_bytes_max));
        if self.config.limits.headers_max != HEADERS_INLINE {
            builder.max_buf_size(READ_BYTES_MAX.max(2 * self.config.limits.header_bytes_max));
            builder.max_headers(self.config.limits.headers_max);
        }
        let stream = TokioIo::new(StallGuard::new(stream, self.patience, stage.clone()));
        let mut connection = pin!(builder.serve_connection(stream, service));
        let ended = tokio::select! {
            biased; // What can be served at once is served first.
            ended = connection.as_mut() => ended,
            () = self.reached(Phase::Draining) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            if error.is_parse() {
                // Answered by hyper: there was no request to be handled.
                self.log(self.mint_id()).status(if error.is_parse_too_large() { 431 } else { 400 });
            }
            tracing::debug!(%error, "connection");
        }
    }

    /// A request of this name begins.
    pub(crate) fn log(&self, request_id: String) -> Rc<AccessLog> {
        let driver = &self.driver;
        AccessLog::new(&self.local, driver.clock, driver.directory(), request_id)
    }

    /// Passes each change on to those who wait here, in the order in which they began to: a watch
    /// channel wakes its receivers in an order of its own drawing, which no simulation could repeat.
    async fn follow_phase(self: Rc<Self>) {
        let mut phase = self.phase.clone();
        while phase.changed().await.is_ok() {
            self.phase_changed.notify_waiters();
        }
    }

    /// Returns when the gateway's end has come so far.
    pub(crate) async fn reached(&self, wanted: Phase) {
        loop {
            // Before looking: it is told of every change from here on.
            let changed = self.phase_changed.notified();
            if self.phase() >= wanted {
                return;
            }
            changed.await;
        }
    }

    /// How far the gateway's end has come.
    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// A new request's name: unlike any other of this process, and hardly like one of another.
    pub(crate) fn mint_id(&self) -> String {
        self.minted.set(self.minted.get() + 1);
        let mut id = String::with_capacity(self.id_prefix.len() + DIGITS_MAX);
        id.push_str(&self.id_prefix);
        write!(id, "{}", self.minted.get()).expect("memory takes what is written");
        id
    }
}

/// The next connection at any of these listeners, the one at `first` being looked at first.
async fn accept_any<N: Net>(listeners: &[N::Listener], first: usize) -> std::io::Result<N::Stream> {
    let (before, after) = listeners.split_at(first);
    let ordered = after.iter().chain(before);
    let mut all: Vec<_> = ordered.map(|listener| Box::pin(N::accept(listener))).collect();
    poll_fn(|cx| {
        let mut polled = all.iter_mut().map(|accept| accept.as_mut().poll(cx));
        polled.find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
    .map(|(stream, _)| stream)
}
