//! The meaning of the store protocol: pure, exact, in memory. Every backend answers as this does.
//!
//! [`crate::store`] states the contract. `enter` gets places, `settle` hands them on, `nodes` and
//! `resync` are the life of sessions, `health` is the fold, `survey` ranks, `define` takes rosters
//! in.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, Ask, Attempt, GateId, LeaseId, ModelId, NodeId, RequestId, Tag};
use crate::store::{
    DUE_PER_OP, Discipline, GAP_MAX, Grant, HealthRules, Instance, Limit, StoreOp, StoreReply,
    Version,
};
use crate::time::{Span, Time};
use history::{Entry as HistoryEntry, Fact, Line};

mod define;
mod enter;
mod gate;
mod health;
pub mod history;
mod invariants;
mod leave;
mod nodes;
mod resync;
mod sessions;
mod settle;
mod survey;
#[cfg(test)]
mod tests;
mod view;

use gate::{GateIx, Gates, LineIx};
use sessions::Sessions;
pub use view::LineView;

/// What one operation did: the answer, and the grants it made, in order.
pub type Applied = (StoreReply, Vec<Grant>);

/// Counted since the ledger began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Leases that a resync's node did not know.
    pub leases_orphaned: u64,
    /// Leases whose ttl was over.
    pub leases_expired: u64,
    /// Leases and tickets of ended sessions.
    pub leases_reaped: u64,
    /// Grants that were not claimed in time.
    pub grants_passed_on: u64,
    /// Leases entered over the limit by a resync.
    pub over_limit: u64,
}

/// A lease within its node.
type Key = (RequestId, Attempt);

/// A slot that a lease has.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Slot {
    gate: GateIx,
    /// When it was assigned; 0 for one entered by a resync.
    stamp: u64,
    /// When the grant passes on; `None` once claimed.
    claim_by: Option<Time>,
    /// When the lease's ttl is over.
    expires: Option<Time>,
}

impl Slot {
    /// Whether it ends as an unclaimed grant rather than by its ttl: whichever is due first.
    fn passes_on(&self) -> bool {
        self.claim_by.is_some_and(|claim_by| self.expires.is_none_or(|at| claim_by <= at))
    }
}

/// What a lease has.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Lease {
    /// The highest known.
    ask: Ask,
    tag: Tag,
    /// On the raw clock: since when it has what it has.
    since: Time,
    model: ModelId,
    excluded: Vec<AccountId>,
    ttl: Option<Span>,
    slot: Option<Slot>,
    /// Its line. In `Settle` it waits there; in `Poll` a held lease may still count there.
    line: Option<LineIx>,
    patience_ends: Time,
}

impl Lease {
    /// When the store has to look at it by itself.
    fn due(&self) -> Option<Time> {
        match (&self.slot, self.line) {
            (Some(slot), _) => match (slot.claim_by, slot.expires) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
            (None, Some(_)) => Some(self.patience_ends),
            (None, None) => None,
        }
    }
}

/// A node with a session, or with one that has ended and is not reaped yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Node {
    instance: Instance,
    /// On the store clock.
    ends: Time,
    /// Boxed, because neighbours are moved about when one comes or goes.
    #[serde(with = "as_list")]
    leases: BTreeMap<Key, Box<Lease>>,
    /// Until when, on the store clock.
    #[serde(with = "as_list")]
    tombstones: BTreeMap<Key, Time>,
    /// The same in order of time, with some that have been renewed since.
    tombstones_by_end: VecDeque<(Time, Key)>,
    /// What the newest resync passes have listed, known or not: the first ask of a busy lease may
    /// yet arrive, and the call of an older pass.
    passes: BTreeMap<Ask, BTreeSet<Key>>,
}

/// See the module's documentation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ledger {
    /// The machine's clock, never going back.
    raw: Time,
    /// The store clock, which swallows gaps.
    clock: Time,
    next: u64,
    epoch: u64,
    version: Version,
    discipline: Discipline,
    rules: HealthRules,
    gates: Gates,
    nodes: BTreeMap<NodeId, Node>,
    instances: BTreeMap<Instance, NodeId>,
    sessions: Sessions,
    /// Unclaimed grants, patience and ttl, on the store clock.
    due: BTreeSet<(Time, LeaseId)>,
    /// Ends of closings, on the raw clock.
    openings: BTreeSet<(Time, AccountId, Option<ModelId>)>,
    grants: Vec<Grant>,
    /// Gates and pools that the running operation may have left without a reason to be known.
    #[serde(skip)]
    idle: Vec<LineIx>,
    counters: Counters,
    history: Option<Vec<HistoryEntry>>,
}

impl Ledger {
    /// An empty ledger. Its counter, from which node ids, tags, stamps and the epoch are drawn,
    /// starts at `start`, the store's time, so that nothing is reused after a loss of data.
    #[must_use]
    pub fn new(start: Time) -> Self {
        let first = start.0.clamp(1, COUNTER_START_MAX);
        Self {
            raw: start,
            clock: start,
            next: first,
            epoch: first,
            version: Version::default(),
            discipline: Discipline::Settle,
            rules: HealthRules::default(),
            gates: Gates::default(),
            nodes: BTreeMap::new(),
            instances: BTreeMap::new(),
            sessions: Sessions::default(),
            due: BTreeSet::new(),
            openings: BTreeSet::new(),
            grants: Vec::new(),
            idle: Vec::new(),
            counters: Counters::default(),
            history: None,
        }
    }

    /// Applies one operation. See [`crate::store`] for what each means.
    pub fn apply(&mut self, now: Time, op: StoreOp) -> Applied {
        if !matches!(op, StoreOp::Survey { .. }) {
            self.advance(now);
            self.work_off_due(DUE_PER_OP);
            self.drop_idle();
        }
        let reply = if self.names_the_dead(&op) { StoreReply::Lost } else { self.run(now, op) };
        self.drop_idle();
        (reply, core::mem::take(&mut self.grants))
    }

    fn run(&mut self, now: Time, op: StoreOp) -> StoreReply {
        match op {
            StoreOp::Join { instance, replaces, resume, protocol: _ } => {
                self.join(instance, replaces, resume)
            }
            StoreOp::Beat { node, settled: _, in_flight: _ } => self.beat(node),
            StoreOp::Resync(resync) => self.resync(resync),
            StoreOp::Define(define) => self.define(define),
            StoreOp::Enter(enter) => self.enter(enter),
            StoreOp::Leave { lease, mark, fence } => self.leave(lease, mark, fence),
            StoreOp::Survey { pool, model, session, excluded, best } => {
                let surveyed = self.survey(now, pool, model, session, &excluded, best);
                StoreReply::Surveyed(Box::new(surveyed))
            }
            StoreOp::Session { key, change, if_home } => {
                StoreReply::Home(self.sessions.apply(self.raw, key, change, if_home))
            }
            StoreOp::Health { account, model, change } => {
                self.change_health(account, model, change)
            }
            StoreOp::Reap { max } => self.reap(max),
        }
    }

    /// Whether the operation names a node that has no live session.
    fn names_the_dead(&self, op: &StoreOp) -> bool {
        let Some(node) = op.node() else { return false };
        self.nodes.get(&node).is_none_or(|node| node.ends <= self.clock)
    }

    /// The store's identity: another one means another history.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What has been counted.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Leases held on a gate now, grants included.
    #[must_use]
    pub fn held(&self, gate: GateId) -> u32 {
        self.gates.find(gate).map_or(0, |ix| self.gates.hot[ix as usize].held)
    }

    /// Begins to record [`history`].
    pub fn record_history(&mut self) {
        self.history.get_or_insert_default();
    }

    /// The facts since the last call.
    pub fn take_history(&mut self) -> Vec<HistoryEntry> {
        self.history.as_mut().map(core::mem::take).unwrap_or_default()
    }

    /// Whether due entries are left over at the clocks' present readings.
    #[must_use]
    pub fn due_now(&self) -> bool {
        self.due.first().is_some_and(|(at, _)| *at <= self.clock)
            || self.openings.first().is_some_and(|(at, ..)| *at <= self.raw)
    }

    fn advance(&mut self, now: Time) {
        let gone = now.since(self.raw);
        self.raw = self.raw.max(now);
        self.clock = self.clock + gone.min(GAP_MAX);
    }

    /// Works off at most `max` due entries. Says how many.
    fn work_off_due(&mut self, max: usize) -> usize {
        for done in 0..max {
            if let Some((_, lease)) = self.due.first().filter(|(at, _)| *at <= self.clock) {
                let lease = *lease;
                self.lease_due(lease);
            } else if let Some(opening) = self.openings.first().filter(|(at, ..)| *at <= self.raw) {
                let account = opening.1;
                self.openings.pop_first();
                if let Some(ix) = self.gates.find(GateId::Account(account)) {
                    self.settle(ix);
                }
            } else {
                return done;
            }
        }
        max
    }

    fn draw(&mut self) -> u64 {
        let drawn = self.next;
        self.next += 1;
        drawn
    }

    fn lease(&self, id: LeaseId) -> Option<&Lease> {
        self.nodes.get(&id.node)?.leases.get(&(id.request, id.attempt)).map(|lease| &**lease)
    }

    /// Changes a lease and keeps the due list true.
    fn with_lease<T>(&mut self, id: LeaseId, change: impl FnOnce(&mut Lease) -> T) -> Option<T> {
        let node = self.nodes.get_mut(&id.node)?;
        let lease = node.leases.get_mut(&(id.request, id.attempt))?;
        let before = lease.due();
        let result = change(lease);
        let after = lease.due();
        if before != after {
            if let Some(at) = before {
                self.due.remove(&(at, id));
            }
            if let Some(at) = after {
                self.due.insert((at, id));
            }
        }
        Some(result)
    }

    /// Forgets what says nothing any more. Before and after an operation, never during it: every
    /// place in the arrays that it has looked up stays what it is.
    fn drop_idle(&mut self) {
        while let Some(line) = self.idle.pop() {
            match line {
                LineIx::Gate(ix) => self.drop_gate_if_idle(ix),
                LineIx::Pool(ix) => self.gates.drop_pool_if_idle(ix),
            }
        }
    }

    fn drop_gate_if_idle(&mut self, ix: GateIx) {
        let gone = self.gates.drop_if_idle(ix, self.raw);
        if let Some((GateId::Account(account), gate)) = gone.map(|gate| (gate.id, gate)) {
            for (of, at) in gate.health.closings() {
                self.openings.remove(&(at, account, of));
            }
        }
    }

    fn note(&mut self, fact: impl FnOnce(&Gates) -> Fact) {
        if let Some(history) = &mut self.history {
            let (raw, clock, gates) = (self.raw, self.clock, &self.gates);
            write_down(history, || HistoryEntry { raw, clock, fact: fact(gates) });
        }
    }

    fn line_name(gates: &Gates, line: LineIx) -> Line {
        match line {
            LineIx::Gate(ix) => Line::Gate(gates.gate(ix).id),
            LineIx::Pool(ix) => Line::Pool(gates.pool(ix).id),
        }
    }

    /// Whether this account is closed, draining or disabled for everything now.
    #[must_use]
    pub fn account_shut(&self, account: AccountId) -> bool {
        let Some(ix) = self.gates.find(GateId::Account(account)) else { return true };
        let gate = self.gates.gate(ix);
        let serving = gate.operator == gate::Operator::Serving;
        let limit = self.gates.hot[ix as usize].limit;
        !serving || limit == Limit::Closed || self.raw < gate.health.account.closed_until
    }
}

#[cold]
fn write_down(history: &mut Vec<HistoryEntry>, entry: impl FnOnce() -> HistoryEntry) {
    history.push(entry());
}

/// Leaves the counter so many numbers that it never comes to its end.
const COUNTER_START_MAX: u64 = u64::MAX / 2;

/// JSON has no maps with structured keys.
mod as_list {
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<
        'de,
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    >(
        deserializer: D,
    ) -> Result<BTreeMap<K, V>, D::Error> {
        Vec::<(K, V)>::deserialize(deserializer).map(BTreeMap::from_iter)
    }
}
