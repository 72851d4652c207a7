//! A gateway's host: one worker of the real thing, with its own clock and its own name.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sluice_engine::Span;
use sluice_engine::rng::Seed;
use sluice_runtime_tokio::clock::Clock;
use sluice_runtime_tokio::gateway::{Phase, Setup, Worker};
use sluice_runtime_tokio::net::Net as _;
use sluice_runtime_tokio::shared::Shared;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::cx::Cx;
use super::net::TurmoilNet;
use super::road::RoadStore;
use super::seen::Seen;
use super::{EPOCH, EVERYWHERE, PORT, logs};
use crate::history::What;

/// Between two looks at the engine from outside.
const LOOK: Duration = Duration::from_millis(100);

/// The host's process: serves until it is told to leave.
pub(super) async fn serve(cx: Cx, node: usize) -> turmoil::Result {
    let known = &cx.nodes[node];
    known.life.set(known.life.get() + 1);
    let life = known.life.get();
    let roster = known.roster.get();
    cx.push(What::Launched { node, roster });
    let (phase, watched) = watch::channel(Phase::Serving);
    known.phase.replace(Some(phase));
    let spec = &cx.scenario.nodes[node];
    let (news, heard) = mpsc::unbounded_channel();
    known.reloads.replace(Some(news));
    let (mut config, directory) = cx.configs[roster].clone();
    let (name, _) = spec.name.split_once('/').unwrap_or((&spec.name, ""));
    config.server.name = name.to_owned();
    let setup = Setup {
        config: Arc::new(config),
        directory,
        store: Arc::new(RoadStore::start(&cx, node, life)),
        shared: Shared::new(logs::writer(&cx, node), 1),
        clock: Clock::starting_at(EPOCH + Span(cx.now().0) + spec.offset),
        index: 0,
        seed: Seed(cx.scenario.seed.0 ^ ((node as u64) << 32) ^ u64::from(life)),
    };
    let worker = Worker::<TurmoilNet, RoadStore>::start(setup, watched);
    let listener = TurmoilNet::bind(SocketAddr::from((EVERYWHERE, PORT)), false).await?;
    let looking = spawn_local(look(cx.clone(), node, worker.clone()));
    let reloading = spawn_local(reload(cx.clone(), node, worker.clone(), heard));
    worker.serve(listener).await;
    reloading.abort();
    looking.abort();
    cx.push(What::Seen(Seen::Gone { node }));
    // What it left unfinished ends with the process.
    cx.nodes[node].state.set((0, 0, false));
    std::future::pending().await
}

/// Gives the node's gateway what its file says, as often as that changes.
async fn reload(
    cx: Cx,
    node: usize,
    worker: Rc<Worker<TurmoilNet, RoadStore>>,
    mut heard: mpsc::UnboundedReceiver<usize>,
) {
    while let Some(roster) = heard.recv().await {
        cx.push(What::Reloaded { node, roster });
        let (_, directory) = &cx.configs[roster];
        worker.reload(directory.clone());
    }
}

/// Keeps what is known of a node up to date, and asks its engine what it finds wrong with itself.
async fn look(cx: Cx, node: usize, worker: Rc<Worker<TurmoilNet, RoadStore>>) {
    loop {
        let driver = &worker.driver;
        cx.nodes[node].state.set((driver.live_requests(), driver.owed(), driver.ready()));
        for how in driver.check_invariants() {
            cx.push(What::Broken { how: format!("node {node}: {how}") });
        }
        sleep(LOOK).await;
    }
}
