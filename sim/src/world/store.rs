//! The store's host: the engine's ledger behind a listener, on a machine clock that faults may set.

use std::rc::Rc;
use std::time::Duration;

use sluice_engine::store::{GAP_MAX, Grant};
use sluice_engine::{Ask, Ledger, StoreOp, StoreReply, Time};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::timeout;
use turmoil::net::{TcpListener, TcpStream};

use super::cx::{Cx, Sender};
use super::frame::{self, Hello, Order, Push, Receipt};
use super::{EPOCH, EVERYWHERE, PORT};
use crate::history::What;

/// Between two signs of life to those who listen for grants.
const ALIVE: Duration = Duration::from_millis(500);
/// Operations between two looks of the ledger at its own invariants.
const CHECK_EVERY: u64 = 16;

/// What survives a crash of the store.
pub(super) struct Memory {
    pub(super) ledger: Ledger,
    /// How far the machine clock was set, in microseconds.
    pub(super) step_us: i64,
    raw: Time,
    clock: Time,
    applied: u64,
}

impl Memory {
    /// Nothing, at this time of the machine's clock.
    pub(super) fn empty(now: Time, step_us: i64) -> Self {
        let start = reading(now, step_us);
        let mut ledger = Ledger::new(start);
        ledger.record_history();
        Self { ledger, step_us, raw: start, clock: start, applied: 0 }
    }
}

/// What the machine clock shows.
const fn reading(now: Time, step_us: i64) -> Time {
    Time((EPOCH.0 + now.0).saturating_add_signed(step_us))
}

/// The host's process.
pub(super) async fn serve(cx: Cx) -> turmoil::Result {
    cx.listeners.borrow_mut().clear();
    let listener = TcpListener::bind((EVERYWHERE, PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        drop(spawn_local(connection(cx.clone(), stream)));
    }
}

async fn connection(cx: Cx, mut stream: TcpStream) {
    let Ok(Hello { node, life, listens }) = frame::read(&mut stream).await else { return };
    if listens {
        return push_grants(&cx, node, stream).await;
    }
    while let Ok(Order { call, op }) = frame::read(&mut stream).await {
        let reply = apply(&cx, Some((node, life)), call, op);
        if frame::write(&mut stream, &Receipt { call, reply }).await.is_err() {
            return;
        }
    }
}

async fn push_grants(cx: &Cx, node: usize, mut stream: TcpStream) {
    let (to, mut grants) = mpsc::unbounded_channel();
    // In place of a former connection of this node's.
    cx.listeners.borrow_mut().insert(node, to);
    loop {
        let push = match timeout(ALIVE, grants.recv()).await {
            Ok(Some(grant)) => Push::Grant(grant),
            Ok(None) => return,
            Err(_) => Push::Alive,
        };
        if frame::write(&mut stream, &push).await.is_err() {
            return;
        }
    }
}

/// Applies one operation and writes down all there is to know of it.
pub(super) fn apply(cx: &Cx, from: Option<Sender>, call: u64, op: StoreOp) -> StoreReply {
    let mut memory = cx.memory.borrow_mut();
    let memory = &mut *memory;
    let reading = reading(cx.now(), memory.step_us);
    if !matches!(op, StoreOp::Survey { .. }) {
        let advance = reading.since(memory.raw);
        memory.raw = memory.raw.max(reading);
        memory.clock = memory.clock + advance.min(GAP_MAX);
    }
    let (raw, clock) = (memory.raw, memory.clock);
    let (sender, call) = (from.map(|(node, _)| node), Ask(call));
    let shown = Rc::new(cx.renamed(op.clone()));
    cx.push(What::Applying { from: sender, call, op: shown.clone(), raw, clock });
    let (reply, grants) = memory.ledger.apply(reading, op);
    if let (StoreReply::Joined { node, .. }, Some(owner)) = (&reply, from) {
        cx.owners.borrow_mut().insert(*node, owner);
    }
    for entry in memory.ledger.take_history() {
        cx.push(What::Fact(cx.renamed_fact(entry)));
    }
    let due = memory.ledger.due_now();
    cx.push(What::Applied { from: sender, call, op: shown, reply: reply.clone(), due });
    memory.applied += 1;
    if memory.applied.is_multiple_of(CHECK_EVERY) {
        for how in memory.ledger.check_invariants() {
            cx.push(What::Broken { how: format!("ledger: {how}") });
        }
    }
    push(cx, &grants);
    reply
}

fn push(cx: &Cx, grants: &[Grant]) {
    for &grant in grants {
        let owner = cx.owners.borrow().get(&grant.lease.node).copied();
        let Some((node, _)) = owner else { continue };
        if let Some(to) = cx.listeners.borrow().get(&node) {
            // Who has gone is told nothing: a grant is only a hint.
            let _ = to.send(grant);
        }
    }
}
