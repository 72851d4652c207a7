//! A whole process: workers on threads of their own, and an orderly end.
//!
//! Told to stop (SIGTERM or SIGINT), it says that it is not ready, takes no new connections, lets
//! what runs come to its end, cuts off what does not in time with a word to its client, gives back
//! what it holds, and ends. Told again, it ends at once.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sluice_engine::rng::Seed;
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::clock::Clock;
use crate::config::{Config, Limits, Listen, Store};
use crate::directory::Directory;
use crate::gateway::{Phase, Setup, Worker};
use crate::handler::admin::{self, Desk};
use crate::listen::{self, Bound, SocketFile};
use crate::net::TcpNet;
use crate::reload::{Follower, Hangups, Source, Switch};
use crate::shared::Shared;
use crate::store::{InMemory, InRedis, Stores};
use crate::telemetry::AccessWriter;
use crate::vital::spawn_vital;

/// Where a running gateway can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// By clients.
    pub listen: Vec<Listen>,
    /// By operators.
    pub admin: Option<Listen>,
}

impl Addresses {
    /// The first address of clients; `None` if there are sockets in the file system only.
    #[must_use]
    pub fn first_tcp(&self) -> Option<SocketAddr> {
        self.listen.iter().find_map(|listen| match listen {
            Listen::Tcp(address) => Some(*address),
            Listen::Unix(_) => None,
        })
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, listen) in self.listen.iter().enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            write!(f, "{comma}{listen}")?;
        }
        Ok(())
    }
}

/// How long workers may take to end after the last deadline of the drain.
const CLOSING_MAX: Duration = Duration::from_secs(3);
/// How long the last lines of the access log may take to be written.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// Runs a gateway until the process is told to stop. `ready` is called once it can be reached. With
/// a `source` it is told by SIGHUP to read that again.
///
/// # Errors
/// A configuration that makes no sense, a place that cannot be listened at, a store that cannot be
/// used, a worker that has ended by itself, and being told twice to stop.
pub fn run(
    config: Config,
    source: Option<Source>,
    ready: impl FnOnce(Addresses),
) -> io::Result<()> {
    block_on(async move {
        let mut stop = StopSignals::new()?;
        let reloads = source.map(|source| Hangups::new().map(|hangups| (hangups, source)));
        let reloads = reloads.transpose()?;
        let (phase, watched) = watch::channel(Phase::Serving);
        let limits = config.limits.clone();
        let mut gateway = start(config, watched).await?;
        if let Some(((hangups, source), switch)) = reloads.zip(gateway.switch.take()) {
            drop(tokio::task::spawn_local(hangups.follow(source, switch)));
        }
        ready(gateway.addresses.clone());
        let ended = tokio::select! {
            biased; // Told to stop, it does not matter who has stopped already.
            () = stop.next() => {
                tracing::info!("leaving");
                tokio::select! {
                    biased; // The second time is meant to be obeyed at once.
                    () = stop.next() => Err(io::Error::other("told twice to stop: ending at once")),
                    () = leave(&mut gateway, &phase, &limits) => Ok(()),
                }
            }
            () = gateway.one_ended() => Err(io::Error::other("a worker has ended by itself")),
        };
        if !gateway.shared.access.flush(FLUSH_MAX) {
            tracing::warn!("the last lines of the access log could not be written");
        }
        ended
    })
}

/// Brings a gateway to its end.
async fn leave(gateway: &mut Gateway, phase: &watch::Sender<Phase>, limits: &Limits) {
    phase.send_replace(Phase::Leaving);
    sleep(Duration::from_millis(limits.shutdown_delay_ms)).await;
    // Another process may take the names from here on.
    gateway.files.clear();
    phase.send_replace(Phase::Draining);
    let drained = timeout(Duration::from_millis(limits.drain_timeout_ms), gateway.ended());
    if drained.await.is_err() {
        tracing::warn!("cutting off what did not end in time");
        phase.send_replace(Phase::Closing);
        if timeout(CLOSING_MAX, gateway.ended()).await.is_err() {
            tracing::warn!("a worker does not end");
        }
    }
}

/// Workers that run.
pub struct Gateway {
    /// Where they can be reached.
    pub addresses: Addresses,
    /// What they share.
    pub shared: Arc<Shared>,
    files: Vec<SocketFile>,
    /// Until somebody uses it.
    switch: Option<Switch>,
    running: usize,
    ends: mpsc::UnboundedReceiver<()>,
}

impl Gateway {
    /// Returns when all workers have ended.
    pub async fn ended(&mut self) {
        while self.running > 0 {
            self.one_ended().await;
        }
    }

    /// Returns when one more worker has ended.
    async fn one_ended(&mut self) {
        // Every worker says so, also one that panics.
        let _ = self.ends.recv().await;
        self.running = self.running.saturating_sub(1);
    }
}

/// Starts the workers of a gateway, and its admin listener on the current local set. Workers end
/// with the process, or when `phase` tells them to.
///
/// # Errors
/// A configuration that makes no sense, a place that cannot be listened at, or a store that cannot
/// be used.
pub async fn start(config: Config, phase: watch::Receiver<Phase>) -> io::Result<Gateway> {
    let clock = Clock::system();
    match &config.store {
        Store::Memory => start_on(InMemory::new(clock.now()), config, clock, phase).await,
        Store::Redis(url) => start_on(InRedis::new(url, &config), config, clock, phase).await,
    }
}

async fn start_on<F: Stores>(
    stores: F,
    config: Config,
    clock: Clock,
    phase: watch::Receiver<Phase>,
) -> io::Result<Gateway> {
    let directory = Arc::new(Directory::new(&config).map_err(io::Error::other)?);
    let workers = config.server.workers;
    let mut files = Vec::new();
    let mut places = Vec::new();
    // Of each worker.
    let mut bound: Vec<Vec<Bound>> = (0..workers).map(|_| Vec::new()).collect();
    for listen in &config.server.listen.0 {
        let (place, all, file) = listen::take(listen, workers)?;
        places.push(place);
        files.extend(file);
        bound.iter_mut().zip(all).for_each(|(bound, one)| bound.push(one));
    }
    if places.is_empty() {
        return Err(io::Error::other("server.listen is empty: name a place to listen at"));
    }
    let admin = match &config.server.admin_listen {
        None => None,
        Some(listen) => {
            let (place, mut all, file) = listen::take(listen, 1)?;
            files.extend(file);
            all.pop().map(|bound| (place, bound))
        }
    };
    let config = Arc::new(config);
    let shared = Shared::new(AccessWriter::of(&config.log)?, workers);
    let (ended, ends) = mpsc::unbounded_channel();
    let switch = Switch::new(directory.clone(), workers);
    for (index, bound) in bound.into_iter().enumerate() {
        let seed = Seed(clock.start().0.wrapping_add(index as u64));
        let (config, directory, shared) = (config.clone(), directory.clone(), shared.clone());
        let setup = move |store| Setup { config, directory, store, shared, clock, index, seed };
        let task = Task { bound, follower: switch.follower(), ending: Ending(ended.clone()) };
        worker(index, stores.clone(), setup, task, phase.clone()).await?;
    }
    let admin = match admin {
        None => None,
        Some((place, bound)) => {
            let (store, directory) = (stores.open().await?, switch.current());
            let desk = Desk { store, directory, shared: shared.clone(), clock, phase };
            let served = admin::serve::<TcpNet, F::Store>(bound.listener()?, desk);
            drop(tokio::task::spawn_local(served));
            Some(place)
        }
    };
    let addresses = Addresses { listen: places, admin };
    let switch = Some(switch);
    Ok(Gateway { addresses, shared, files, switch, running: workers, ends })
}

/// Says that a worker has ended, in whatever way.
struct Ending(mpsc::UnboundedSender<()>);

impl Drop for Ending {
    fn drop(&mut self) {
        // Nobody listening is nobody to be told.
        let _ = self.0.send(());
    }
}

/// What a worker's thread has to itself.
struct Task {
    bound: Vec<Bound>,
    follower: Follower,
    ending: Ending,
}

/// Starts one worker on its own thread; returns when it serves. The store is opened on that thread.
async fn worker<F: Stores>(
    index: usize,
    stores: F,
    setup: impl FnOnce(Arc<F::Store>) -> Setup<F::Store> + Send + 'static,
    task: Task,
    phase: watch::Receiver<Phase>,
) -> io::Result<()> {
    let Task { bound, follower, ending } = task;
    let (started, mut starting) = mpsc::unbounded_channel();
    let name = format!("sluice-{index}");
    let body = move || {
        let _ending = ending;
        let serve = async {
            let listeners: io::Result<Vec<_>> = bound.into_iter().map(Bound::listener).collect();
            let listeners = listeners?;
            let setup = setup(stores.open().await?);
            let worker = Worker::<TcpNet, F::Store>::start(setup, phase);
            spawn_vital("reload", follower.follow(worker.clone()));
            // The starter waits for it; if it has gone, there is nobody to serve.
            let _ = started.send(Ok(()));
            worker.serve_all(listeners).await;
            Ok(())
        };
        if let Err(error) = block_on(serve) {
            let _ = started.send(Err(error));
        }
    };
    thread::Builder::new().name(name).spawn(body)?;
    starting.recv().await.unwrap_or_else(|| Err(io::Error::other("the worker has ended")))
}

/// Runs something to its end on this thread, and as long the tasks that it begins here.
///
/// # Errors
/// No runtime can be made, and its own.
pub(crate) fn block_on<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(work)
}

/// The signals to stop.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    pub(crate) fn new() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(crate) async fn next(&mut self) {
        tokio::select! {
            biased; // They mean the same.
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
