//! A whole process: workers on threads of their own, and an orderly end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sluice_engine::rng::Seed;
use sluice_storage::{MemoryStore, Watch};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use crate::clock::Clock;
use crate::config::{Config, Listen};
use crate::directory::Directory;
use crate::gateway::{Phase, Setup, Worker};
use crate::handler::admin;
use crate::net::{Net, TcpNet};

/// Where a running gateway can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// By clients.
    pub listen: SocketAddr,
    /// By operators.
    pub admin: Option<SocketAddr>,
}

/// Runs a gateway with a store in memory until the process is told to stop. `ready` is called once
/// it can be reached.
///
/// # Errors
/// A configuration that makes no sense, or an address that cannot be listened at.
pub fn run(config: Config, ready: impl FnOnce(Addresses)) -> io::Result<()> {
    let runtime = runtime()?;
    runtime.block_on(LocalSet::new().run_until(async move {
        let (phase, watched) = watch::channel(Phase::Serving);
        let limits = config.limits.clone();
        let mut gateway = start(config, watched).await?;
        ready(gateway.addresses);
        stop_signal().await?;
        tracing::info!("leaving");
        // Nobody listening is nobody to be told.
        phase.send_replace(Phase::Leaving);
        sleep(Duration::from_millis(limits.shutdown_delay_ms)).await;
        phase.send_replace(Phase::Draining);
        let drained = timeout(Duration::from_millis(limits.drain_timeout_ms), gateway.ended());
        if drained.await.is_err() {
            tracing::warn!("cutting off what did not end in time");
        }
        Ok(())
    }))
}

/// Workers that run.
pub struct Gateway {
    /// Where they can be reached.
    pub addresses: Addresses,
    workers: usize,
    ends: mpsc::UnboundedReceiver<()>,
}

impl Gateway {
    /// Returns when all workers have ended.
    pub async fn ended(&mut self) {
        for _ in 0..self.workers {
            let _ = self.ends.recv().await;
        }
    }
}

/// Starts the workers of a gateway with a store in memory, and its admin listener on the current
/// local set. Workers end with the process, or when `phase` tells them to.
///
/// # Errors
/// As [`run`].
pub async fn start(config: Config, phase: watch::Receiver<Phase>) -> io::Result<Gateway> {
    let directory = Arc::new(Directory::new(&config).map_err(io::Error::other)?);
    let config = Arc::new(config);
    let clock = Clock::system();
    let store = Arc::new(MemoryStore::new(clock.now()));
    let shared = config.server.workers > 1;
    let tcp = |listen: &Listen| match listen {
        Listen::Tcp(address) => Some(*address),
        Listen::Unix(_) => None,
    };
    let first = config.server.listen.0.iter().find_map(tcp);
    let mut listen = first.ok_or_else(|| io::Error::other("no address to listen at"))?;
    let (ended, ends) = mpsc::unbounded_channel();
    for index in 0..config.server.workers {
        let seed = Seed(clock.start().0.wrapping_add(index as u64));
        let setup = Setup {
            config: config.clone(),
            directory: directory.clone(),
            store: store.clone(),
            clock,
            index,
            seed,
        };
        let at = worker(setup, listen, shared, phase.clone(), ended.clone()).await;
        // The first may have been given any free port; the others share it.
        listen = at.map_err(|e| io::Error::new(e.kind(), format!("{listen}: {e}")))?;
    }
    let admin = match config.server.admin_listen.as_ref().and_then(tcp) {
        None => None,
        Some(address) => {
            let failed = |e: io::Error| io::Error::new(e.kind(), format!("{address}: {e}"));
            let listener = TcpNet::bind(address, false).await.map_err(failed)?;
            let address = TcpNet::local_address(&listener)?;
            let served = admin::serve::<TcpNet, MemoryStore>(listener, store, directory);
            drop(tokio::task::spawn_local(served));
            Some(address)
        }
    };
    let addresses = Addresses { listen, admin };
    Ok(Gateway { addresses, workers: config.server.workers, ends })
}

/// Starts one worker on its own thread; returns where it listens.
async fn worker<S: Watch>(
    setup: Setup<S>,
    address: SocketAddr,
    shared: bool,
    phase: watch::Receiver<Phase>,
    ended: mpsc::UnboundedSender<()>,
) -> io::Result<SocketAddr> {
    let (bound, mut address_of) = mpsc::unbounded_channel();
    let name = format!("sluice-{}", setup.index);
    let body = move || {
        let serve = async {
            let listener = TcpNet::bind(address, shared).await?;
            let worker = Worker::<TcpNet, S>::start(setup, phase);
            // The starter waits for it; if it has gone, there is nobody to serve.
            let _ = bound.send(TcpNet::local_address(&listener));
            worker.serve(listener).await;
            Ok(())
        };
        let served = runtime().and_then(|rt| rt.block_on(LocalSet::new().run_until(serve)));
        if let Err(error) = served {
            let _ = bound.send(Err(error));
        }
        let _ = ended.send(());
    };
    thread::Builder::new().name(name).spawn(body)?;
    address_of.recv().await.unwrap_or_else(|| Err(io::Error::other("the worker has ended")))
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Returns when the process is told to stop.
pub(crate) async fn stop_signal() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        biased; // They mean the same.
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
