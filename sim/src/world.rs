//! The world on a simulated network: whole gateways, clients, upstreams and a store, over TCP that
//! delays, cuts and holds, on hosts that crash.
//!
//! The gateways are [`sluice_runtime_tokio::gateway::Worker`] as it is, on other sockets and another
//! clock. Everything runs on one thread; the only chance in it is the scenario's seed.

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use sluice_engine::ledger::LineView;
use sluice_engine::{Span, Time};
use turmoil::{Builder, Sim};

use crate::history::{History, What};
use crate::scenario::Scenario;

mod answer;
mod client;
mod cx;
mod faults;
mod frame;
mod gateway;
mod http;
mod judge;
mod logs;
mod net;
mod reloads;
mod road;
mod seen;
mod setup;
mod store;
mod upstream;

pub(crate) use judge::all as judges;
pub use seen::{ClientEnd, Deadline, Logged, Refusal, Seen, StreamEnd, UpstreamEnd};
pub(crate) use setup::expressible;

use cx::{Cx, Node, World};
use faults::Faults;
use store::Memory;

/// What clocks of machines show at the simulated time 0.
const EPOCH: Time = Time(1_700_000_000_000_000);
/// Where every host listens.
const PORT: u16 = 80;
const EVERYWHERE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const STORE: &str = "store";
const CLIENTS: &str = "clients";
/// Segments and connections that may wait at one socket.
const TCP_CAPACITY: usize = 1024;
/// Between two looks whether everything is at rest.
const LOOK: Span = Span::from_ms(500);
/// What convergence may take beyond all waits and attempts: sessions, timeouts, reconnecting.
const CONVERGENCE: Span = Span::from_secs(60);

/// A node's name on the network.
fn node_host(node: usize) -> String {
    format!("node-{node}")
}

/// Runs a scenario to its end. The history is filled as it happens, so that it tells the story even
/// if the run panics.
///
/// # Panics
/// If the scenario has no network.
pub fn run(scenario: &Scenario, history: &mut History) {
    net::begin();
    let cx = world(scenario, std::mem::take(history));
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| simulate(&cx)));
    *history = cx.history.take();
    if let Err(why) = ran {
        std::panic::resume_unwind(why);
    }
}

fn world(scenario: &Scenario, history: History) -> Cx {
    let network = scenario.network.clone().expect("a scenario for this lane has a network");
    let configs = setup::configured(scenario, &network);
    Rc::new(World {
        scenario: scenario.clone(),
        network,
        configs,
        history: RefCell::new(history),
        now: Cell::new(Time::ZERO),
        healed: Cell::new(false),
        memory: RefCell::new(Memory::empty(Time::ZERO, 0)),
        owners: RefCell::default(),
        listeners: RefCell::default(),
        nodes: scenario.nodes.iter().map(|_| Node::default()).collect(),
        addresses: RefCell::default(),
        open: RefCell::default(),
        tries: RefCell::default(),
        idle: RefCell::default(),
        left: RefCell::default(),
        logs: RefCell::default(),
        clients: Cell::new(0),
        serving: Cell::new(0),
    })
}

fn simulate(cx: &Cx) {
    let mut sim = build(cx);
    let mut faults = Faults::new(cx);
    let end = cx.scenario.safety_end;
    let bound = end + Span(cx.patience().as_micros() as u64) + CONVERGENCE;
    let mut look = end;
    loop {
        let now = Time(sim.elapsed().as_micros() as u64);
        cx.now.set(now);
        if now < end {
            faults.advance(&mut sim, now);
        } else if !cx.healed.get() {
            cx.healed.set(true);
            faults.heal(&mut sim);
            cx.push(What::Healed);
        } else if now >= look {
            look = now + LOOK;
            let why = restless(cx);
            if why.is_none() || now >= bound {
                let (quiet, why) = (why.is_none(), why.unwrap_or_default());
                logs::read(cx);
                cx.push(What::Over { quiet, why });
                return;
            }
        }
        if let Err(error) = sim.step() {
            cx.push(What::Broken { how: format!("a host: {error}") });
        }
    }
}

fn build(cx: &Cx) -> Sim<'static> {
    let network = &cx.network;
    let mut builder = Builder::new();
    builder
        .rng_seed(cx.scenario.seed.0)
        .epoch(SystemTime::UNIX_EPOCH + duration(Span(EPOCH.0)))
        .simulation_duration(Duration::from_secs(24 * 3600))
        .tick_duration(duration(network.tick))
        .min_message_latency(duration(network.latency_min))
        .max_message_latency(duration(network.latency_max))
        .tcp_capacity(TCP_CAPACITY);
    if network.random_order {
        builder.enable_random_order();
    }
    let mut sim = builder.build();
    let host = cx.clone();
    sim.host(STORE, move || store::serve(host.clone()));
    for account in cx.accounts() {
        let host = cx.clone();
        sim.host(account.to_string(), move || upstream::serve(host.clone(), account));
    }
    for node in 0..cx.nodes.len() {
        let host = cx.clone();
        sim.host(node_host(node), move || gateway::serve(host.clone(), node));
        cx.addresses.borrow_mut().insert(sim.lookup(node_host(node)), node);
    }
    let host = cx.clone();
    sim.host(CLIENTS, move || client::serve(host.clone()));
    sim
}

/// What is not at rest, if anything.
fn restless(cx: &Cx) -> Option<String> {
    if cx.clients.get() > 0 {
        return Some(format!("{} clients wait", cx.clients.get()));
    }
    if cx.serving.get() > 0 {
        return Some(format!("{} attempts are open at upstreams", cx.serving.get()));
    }
    for (index, node) in cx.nodes.iter().enumerate() {
        let (live, owed, ready) = node.state.get();
        if live > 0 || owed > 0 || !ready {
            return Some(format!("node {index}: {live} live, {owed} owed, ready: {ready}"));
        }
    }
    let view = cx.memory.borrow().ledger.view();
    let busy = |v: &&LineView| !v.held.is_empty() || !v.waiting.is_empty();
    let line = view.iter().find(busy)?;
    Some(format!("the store keeps {:?}: {:?} {:?}", line.line, line.held, line.waiting))
}

const fn duration(span: Span) -> Duration {
    Duration::from_micros(span.0)
}
