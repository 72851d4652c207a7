//! What the hosts of one simulation have in common: the scenario, the history, and what outlives a
//! host's process.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sluice_engine::ledger::history::{Entry, Fact};
use sluice_engine::store::{Grant, HealthChange};
use sluice_engine::{AccountId, LeaseId, NodeId, RequestId, Span, StoreOp, Time};
use sluice_runtime_tokio::config::Config;
use sluice_runtime_tokio::directory::Directory;
use sluice_runtime_tokio::gateway::Phase;
use tokio::sync::{mpsc, watch};

use super::logs::Log;
use super::store::Memory;
use crate::history::{History, What};
use crate::scenario::{Network, Scenario};

/// A node, and which of its lives.
pub(super) type Sender = (usize, u32);

/// See the module's documentation.
pub(super) struct World {
    pub(super) scenario: Scenario,
    pub(super) network: Network,
    /// Every node's configuration but for its name, and the same for looking up, by roster.
    pub(super) configs: Vec<(Config, Arc<Directory>)>,
    pub(super) history: RefCell<History>,
    /// The time outside of all hosts.
    pub(super) now: Cell<Time>,
    pub(super) healed: Cell<bool>,
    pub(super) memory: RefCell<Memory>,
    /// Whose name is whose, as the store has handed them out.
    pub(super) owners: RefCell<BTreeMap<NodeId, Sender>>,
    /// Who hears the store's grants.
    pub(super) listeners: RefCell<BTreeMap<usize, mpsc::UnboundedSender<Grant>>>,
    pub(super) nodes: Vec<Node>,
    /// Which node has which address.
    pub(super) addresses: RefCell<BTreeMap<IpAddr, usize>>,
    /// Attempts that upstreams have not done with: at which account, and the node's end of it.
    pub(super) open: RefCell<BTreeMap<(RequestId, u16), (AccountId, SocketAddr)>>,
    /// How often each request has come to an upstream.
    pub(super) tries: RefCell<BTreeMap<RequestId, u16>>,
    /// Connections of nodes to accounts that carry nothing, and since when.
    pub(super) idle: RefCell<BTreeMap<SocketAddr, (AccountId, usize, Time)>>,
    /// Clients that went away before they had an answer, and when.
    pub(super) left: RefCell<BTreeMap<RequestId, Time>>,
    /// What gateways log of requests, one process after the other.
    pub(super) logs: RefCell<Vec<Log>>,
    /// Clients that are not done.
    pub(super) clients: Cell<usize>,
    /// Attempts that upstreams have not done with.
    pub(super) serving: Cell<usize>,
}

/// What is known of a node from outside.
#[derive(Default)]
pub(super) struct Node {
    pub(super) life: Cell<u32>,
    calls: Cell<u64>,
    /// Requests that live in its engine, leases that it owes, and whether it is ready.
    pub(super) state: Cell<(usize, usize, bool)>,
    pub(super) phase: RefCell<Option<watch::Sender<Phase>>>,
    /// What its file says, and how its process is told to read it again.
    pub(super) roster: Cell<usize>,
    pub(super) reloads: RefCell<Option<mpsc::UnboundedSender<usize>>>,
}

/// One simulation's.
pub(super) type Cx = Rc<World>;

/// What a client's patience allows for the way and slow readers.
const MARGIN: Span = Span::from_secs(20);
/// What a request's number is multiplied into, so that it is unique over nodes and their lives.
const LIFE: u64 = 1_000_000;
const NODE: u64 = 100 * LIFE;

impl World {
    /// The simulated time.
    pub(super) fn now(&self) -> Time {
        let Some(gone) = turmoil::sim_elapsed() else { return self.now.get() };
        Time(u64::try_from(gone.as_micros()).expect("no simulation takes that long"))
    }

    /// Writes down what happens.
    pub(super) fn push(&self, what: What) {
        self.history.borrow_mut().push(self.now(), what);
    }

    /// The longest that a client waits for its answer: longer than any that comes.
    pub(super) fn patience(&self) -> Duration {
        let (policy, network) = (&self.scenario.policy, &self.network);
        let attempt = self.scenario.longest_answer().max(network.header_timeout);
        // The last attempt may begin when the time for others is over, and each may stall.
        let all = policy.wait_total_max + policy.failover_time_max + attempt + network.idle_timeout;
        Duration::from_micros((all + MARGIN).0)
    }

    /// Which node has this address.
    pub(super) fn node_at(&self, address: IpAddr) -> usize {
        self.addresses.borrow().get(&address).copied().unwrap_or(usize::MAX)
    }

    /// All accounts that there ever are.
    pub(super) fn accounts(&self) -> BTreeSet<AccountId> {
        self.scenario.rosters.iter().flat_map(|roster| roster.accounts.keys().copied()).collect()
    }

    /// A node's file says this, unless it says something newer, and its process is told to read it.
    pub(super) fn reload(&self, node: usize, roster: usize) {
        let known = &self.nodes[node];
        known.roster.set(known.roster.get().max(roster));
        if let Some(reloads) = &*known.reloads.borrow() {
            // One that has ended reads it when it starts.
            let _ = reloads.send(roster);
        }
    }

    /// A number for a node's next operation.
    pub(super) fn next_call(&self, node: usize) -> u64 {
        let calls = &self.nodes[node].calls;
        calls.set(calls.get() + 1);
        calls.get()
    }

    /// A lease's name with a request's number that no other node, and no other life of its own, has.
    pub(super) fn unique(&self, lease: LeaseId) -> LeaseId {
        let Some(&(node, life)) = self.owners.borrow().get(&lease.node) else { return lease };
        let RequestId(n) = lease.request;
        let request = RequestId((node as u64 + 1) * NODE + u64::from(life) * LIFE + n);
        LeaseId { request, ..lease }
    }

    /// An operation with unique names of requests.
    pub(super) fn renamed(&self, op: StoreOp) -> StoreOp {
        let mut op = op;
        match &mut op {
            StoreOp::Enter(enter) => enter.lease = self.unique(enter.lease),
            StoreOp::Leave { lease, .. }
            | StoreOp::Health { change: HealthChange::Proved(lease), .. } => {
                *lease = self.unique(*lease);
            }
            StoreOp::Resync(resync) => {
                resync.busy.iter_mut().for_each(|lease| *lease = self.unique(*lease));
                resync.held.iter_mut().for_each(|held| held.lease = self.unique(held.lease));
                resync.waiting.iter_mut().for_each(|w| w.lease = self.unique(w.lease));
            }
            StoreOp::Join { .. }
            | StoreOp::Beat { .. }
            | StoreOp::Define(_)
            | StoreOp::Survey { .. }
            | StoreOp::Session { .. }
            | StoreOp::Health { .. }
            | StoreOp::Reap { .. } => {}
        }
        op
    }

    /// A fact with unique names of requests.
    pub(super) fn renamed_fact(&self, entry: Entry) -> Entry {
        let mut entry = entry;
        match &mut entry.fact {
            Fact::Renamed { from, to } => {
                *from = self.unique(*from);
                *to = self.unique(*to);
            }
            Fact::Granted { lease, .. }
            | Fact::Claimed { lease, .. }
            | Fact::Ended { lease, .. }
            | Fact::Queued { lease, .. }
            | Fact::Unqueued { lease, .. }
            | Fact::Left { lease, .. }
            | Fact::Probing { lease, .. } => *lease = self.unique(*lease),
            Fact::Joined { .. }
            | Fact::Beaten { .. }
            | Fact::Limited { .. }
            | Fact::Closed { .. }
            | Fact::ProbeEnded { .. }
            | Fact::Proved { .. } => {}
        }
        entry
    }
}

/// Counts something while it lives.
pub(super) struct Counted {
    cx: Cx,
    of: fn(&World) -> &Cell<usize>,
}

impl Counted {
    /// One more.
    pub(super) fn new(cx: &Cx, of: fn(&World) -> &Cell<usize>) -> Self {
        of(cx).set(of(cx).get() + 1);
        Self { cx: cx.clone(), of }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let count = (self.of)(&self.cx);
        count.set(count.get() - 1);
    }
}
