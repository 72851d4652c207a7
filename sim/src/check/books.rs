//! What a history amounts to so far: who holds and waits where, which sessions and health keys there
//! are, what became of each request. Computed from the records alone, by rules much simpler than the
//! ledger's: facts are believed, never derived.

use std::collections::BTreeMap;
use std::rc::Rc;

use sluice_engine::ledger::history::{Ending, Entry, Fact, Line, Way};
use sluice_engine::store::{
    Define, Discipline, Enter, HealthChange, Limit, Resync, SESSION, Version, Want,
};
use sluice_engine::{
    AccountId, Ask, Attempt, GateId, LeaseId, ModelId, NodeId, Outcome, PoolId, RequestId, Span,
    StoreOp, StoreReply, Tag, Time,
};

use crate::history::{Record, What};
use crate::scenario::Scenario;

/// A lease's name in the order of requests.
pub(super) type Key = (RequestId, Attempt, NodeId);

/// The key of a lease.
#[must_use]
pub(super) const fn key(lease: LeaseId) -> Key {
    (lease.request, lease.attempt, lease.node)
}

/// A gate.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// Its limit, once it is known.
    pub limit: Option<Limit>,
    /// Leases held.
    pub held: u32,
}

/// A lease that holds a slot.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Where.
    pub gate: GateId,
    /// Whether it is claimed.
    pub claimed: bool,
    /// How it came by it.
    pub way: Way,
    /// Since when, on the store clock.
    pub since: Time,
    /// Its place among all grants and closings; 0 for one entered by a resync.
    pub order: u64,
}

/// A lease that waits.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// Where.
    pub line: Line,
    /// At which place.
    pub tag: Tag,
    /// What it wants, if the operation that put it there is known.
    pub want: Option<Want>,
    /// The end of its patience, on the store clock.
    pub deadline: Time,
}

/// A node's session.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// Index of the node.
    pub node: usize,
    /// When it began or was last prolonged, on the store clock.
    pub last: Time,
    /// Whether another took its place.
    pub replaced: bool,
}

/// A health key that was closed.
#[derive(Clone, Copy, Debug)]
pub struct Closing {
    /// Until when, on the raw clock.
    pub until: Time,
    /// The place among all grants and closings of the first one since it was open.
    pub order: u64,
    /// The lease that probes it.
    pub probe: Option<Key>,
}

/// One upstream attempt.
#[derive(Clone, Copy, Debug)]
pub struct Try {
    /// Which.
    pub attempt: Attempt,
    /// Where.
    pub account: AccountId,
    /// Whether its first semantic byte came.
    pub started: bool,
    /// How it ended, if it did; `Some(None)`: its node crashed.
    pub closed: Option<Option<Outcome>>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where it arrived.
    pub node: usize,
    /// When.
    pub arrived: Time,
    /// When its end reached the client.
    pub finished: Option<Time>,
    /// When the engine was told that its client is gone.
    pub abandoned: Option<Time>,
    /// Its node crashed.
    pub crashed: bool,
    /// Its attempts.
    pub tries: Vec<Try>,
}

impl Request {
    /// Arrived, not finished, on a node that still lives.
    #[must_use]
    pub const fn live(&self) -> bool {
        self.finished.is_none() && !self.crashed
    }

    /// The attempt that is open.
    #[must_use]
    pub fn open(&self) -> Option<&Try> {
        self.tries.iter().find(|t| t.closed.is_none())
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Books<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// The store's raw reading.
    pub raw: Time,
    /// The store clock.
    pub clock: Time,
    /// All gates that were ever limited or held.
    pub gates: BTreeMap<GateId, Gate>,
    /// All leases that hold.
    pub leases: BTreeMap<Key, Held>,
    /// All leases that wait.
    pub tickets: BTreeMap<Key, Ticket>,
    /// How leases lost their slots, the last time.
    pub lost: BTreeMap<(RequestId, Attempt), Ending>,
    /// All sessions that ever began.
    pub sessions: BTreeMap<NodeId, Session>,
    /// All health keys that are closed or half-open.
    pub closings: BTreeMap<(AccountId, Option<ModelId>), Closing>,
    /// Accounts that the operator drains or disabled.
    pub operated: BTreeMap<AccountId, HealthChange>,
    /// Grants and closings so far.
    order: u64,
    /// Pools as defined.
    pub pools: BTreeMap<PoolId, Vec<AccountId>>,
    /// The discipline, once defined.
    pub discipline: Option<Discipline>,
    version: Version,
    /// All requests that arrived.
    pub requests: BTreeMap<RequestId, Request>,
    /// When the store last lost its data.
    pub forgot: Option<Time>,
    /// When faults ended, and the store clock then.
    pub healed: Option<(Time, Time)>,
    /// The operation that is being applied.
    pub applying: Option<Rc<StoreOp>>,
    /// What each unanswered or newest call was for.
    pub calls: BTreeMap<(usize, Ask), Rc<StoreOp>>,
    asks: BTreeMap<Key, Ask>,
}

impl<'a> Books<'a> {
    /// Empty books.
    #[must_use]
    pub const fn new(scenario: &'a Scenario) -> Self {
        Self {
            scenario,
            raw: Time::ZERO,
            clock: Time::ZERO,
            gates: BTreeMap::new(),
            leases: BTreeMap::new(),
            tickets: BTreeMap::new(),
            lost: BTreeMap::new(),
            sessions: BTreeMap::new(),
            closings: BTreeMap::new(),
            operated: BTreeMap::new(),
            order: 0,
            pools: BTreeMap::new(),
            discipline: None,
            version: Version { stamp: 0, digest: 0 },
            requests: BTreeMap::new(),
            forgot: None,
            healed: None,
            applying: None,
            calls: BTreeMap::new(),
            asks: BTreeMap::new(),
        }
    }

    /// The lease of this attempt that holds a slot, under whatever name of its node.
    #[must_use]
    pub fn held(&self, req: RequestId, attempt: Attempt) -> Option<(Key, Held)> {
        let range = (req, attempt, NodeId(0))..=(req, attempt, NodeId(u64::MAX));
        self.leases.range(range).next().map(|(&key, &held)| (key, held))
    }

    /// The highest ask of a lease that the store has seen.
    #[must_use]
    pub fn known_ask(&self, lease: Key) -> Option<Ask> {
        self.asks.get(&lease).copied()
    }

    /// Whether a session had ended at the present store clock.
    #[must_use]
    pub fn session_over(&self, node: NodeId) -> bool {
        self.sessions.get(&node).is_none_or(|s| s.replaced || self.clock >= s.last + SESSION)
    }

    /// Whether this ticket may be served by this gate as far as roster, operator, exclusions and
    /// health go, if `probe` is nothing that is in the way.
    #[must_use]
    pub fn eligible(&self, ticket: &Ticket, gate: GateId, probe: Option<Key>) -> bool {
        let limit = self.gates.get(&gate).and_then(|g| g.limit);
        if limit.is_none_or(|l| l == Limit::Closed) || ticket.deadline <= self.clock {
            return false;
        }
        let GateId::Account(account) = gate else { return ticket.line == Line::Gate(gate) };
        let model = match (&ticket.line, &ticket.want) {
            (Line::Gate(own), Some(Want::Gate { model, .. })) if *own == gate => *model,
            (Line::Pool(pool), Some(Want::Pool { model, excluded, .. })) => {
                let member = self.pools.get(pool).is_some_and(|m| m.contains(&account));
                if !member || excluded.contains(&account) {
                    return false;
                }
                *model
            }
            _ => return false,
        };
        let open = |of| {
            let closing = self.closings.get(&(account, of));
            closing.is_none_or(|c| c.until <= self.raw && (c.probe.is_none() || c.probe == probe))
        };
        !self.operated.contains_key(&account) && open(None) && open(Some(model))
    }

    /// Takes in what checkers may rely on while they see the record.
    pub fn begin(&mut self, record: &Record) {
        if let What::Applying { op, raw, clock, .. } = &record.what {
            (self.raw, self.clock) = (*raw, *clock);
            self.applying = Some(Rc::clone(op));
            if let StoreOp::Define(define) = &**op
                && define.version > self.version
            {
                self.define(define);
            }
            if let StoreOp::Enter(enter) = &**op {
                let key = key(enter.lease);
                if !self.leases.contains_key(&key) && !self.tickets.contains_key(&key) {
                    self.asks.remove(&key);
                }
            }
        }
    }

    /// Takes in a record.
    pub fn apply(&mut self, record: &Record) {
        match &record.what {
            What::Fact(entry) => self.fact(entry),
            What::Applied { op, reply, .. } => self.applied(op, reply),
            What::Forgot => self.forget(record.at),
            What::Healed => self.healed = Some((record.at, self.clock)),
            What::Sent { node, call, op } => {
                self.calls.insert((*node, *call), Rc::clone(op));
            }
            What::Told { node, call, .. } => {
                self.calls.remove(&(*node, *call));
            }
            What::Applying { .. }
            | What::StoreAway(_)
            | What::ClockStep(_)
            | What::Hinted { .. }
            | What::BillingAsked { .. }
            | What::Billed { .. }
            | What::Pinged { .. }
            | What::Cancelled { .. }
            | What::Launched { .. }
            | What::Froze { .. }
            | What::Thawed { .. }
            | What::Reloaded { .. }
            | What::Seen(_)
            | What::Broken { .. }
            | What::Over { .. } => {}
            What::Arrived { .. }
            | What::Abandoned { .. }
            | What::Finished { .. }
            | What::Opened { .. }
            | What::Started { .. }
            | What::Closed { .. }
            | What::Crashed { .. } => self.life(record),
        }
    }

    fn life(&mut self, record: &Record) {
        let at = record.at;
        if let What::Arrived { node, req } = record.what {
            let request = Request {
                node,
                arrived: at,
                finished: None,
                abandoned: None,
                crashed: false,
                tries: Vec::new(),
            };
            self.requests.insert(req, request);
        }
        if let What::Crashed { node } = record.what {
            for request in self.requests.values_mut().filter(|r| r.node == node && r.live()) {
                request.crashed = true;
            }
            self.calls.retain(|&(of, _), _| of != node);
        }
        let mut with = |req: RequestId, change: &dyn Fn(&mut Request)| {
            if let Some(request) = self.requests.get_mut(&req) {
                change(request);
            }
        };
        if let What::Abandoned { req, .. } = record.what {
            with(req, &|r| r.abandoned = r.abandoned.or(Some(at)));
        }
        if let What::Finished { req, .. } = record.what {
            with(req, &|r| r.finished = r.finished.or(Some(at)));
        }
        if let What::Opened { req, attempt, account, .. } = record.what {
            let one = Try { attempt, account, started: false, closed: None };
            with(req, &|r| r.tries.push(one));
        }
        let with_try = |r: &mut Request, attempt, change: &dyn Fn(&mut Try)| {
            if let Some(one) = r.tries.iter_mut().find(|t| t.attempt == attempt) {
                change(one);
            }
        };
        if let What::Started { req, attempt, .. } = record.what {
            with(req, &|r| with_try(r, attempt, &|t| t.started = true));
        }
        if let What::Closed { req, attempt, outcome, .. } = record.what {
            with(req, &|r| with_try(r, attempt, &|t| t.closed = Some(outcome)));
        }
    }

    fn forget(&mut self, at: Time) {
        self.gates.clear();
        self.leases.clear();
        self.tickets.clear();
        self.sessions.clear();
        self.closings.clear();
        self.operated.clear();
        self.pools.clear();
        self.asks.clear();
        self.discipline = None;
        self.version = Version::default();
        self.forgot = Some(at);
    }

    fn applied(&mut self, op: &StoreOp, reply: &StoreReply) {
        if let (StoreOp::Enter(enter), StoreReply::Waiting { .. }) = (op, reply) {
            let key = key(enter.lease);
            if self.asks.get(&key).is_none_or(|&known| known < enter.ask)
                && let Some(ticket) = self.tickets.get_mut(&key)
            {
                ticket.want = Some(enter.want.clone());
                ticket.deadline = self.clock + enter.patience.unwrap_or(Span::ZERO);
            }
        }
        if let StoreOp::Enter(Enter { lease, ask, .. }) = op {
            let known = self.asks.entry(key(*lease)).or_insert(*ask);
            *known = (*known).max(*ask);
        }
        if let (StoreOp::Resync(resync), StoreReply::Done) = (op, reply) {
            self.resynced(resync);
        }
        if let (StoreOp::Health { account, change, .. }, StoreReply::Done) = (op, reply) {
            match change {
                HealthChange::Drain | HealthChange::Disable => {
                    self.operated.insert(*account, *change);
                }
                HealthChange::Recover => {
                    self.operated.remove(account);
                    self.closings.retain(|(of, _), _| of != account);
                }
                HealthChange::Proved(_) => {}
            }
        }
        self.applying = None;
    }

    fn resynced(&mut self, resync: &Resync) {
        let held = resync.held.iter().map(|h| h.lease);
        for lease in held.chain(resync.waiting.iter().map(|w| w.lease)) {
            let known = self.asks.entry(key(lease)).or_insert(resync.ask);
            *known = (*known).max(resync.ask);
        }
        for waiting in &resync.waiting {
            if let Some(ticket) = self.tickets.get_mut(&key(waiting.lease)) {
                ticket.want = Some(waiting.want.clone());
                ticket.deadline = self.clock + waiting.patience;
            }
        }
    }

    fn define(&mut self, define: &Define) {
        self.version = define.version;
        self.discipline = Some(define.discipline);
        self.pools = define.pools.iter().map(|p| (p.pool, p.members.clone())).collect();
    }

    fn fact(&mut self, entry: &Entry) {
        match &entry.fact {
            Fact::Joined { instance, node, replaces, .. } => {
                if let Some(former) = replaces.and_then(|n| self.sessions.get_mut(&n)) {
                    former.replaced = true;
                }
                if let Some(index) = self.scenario.node_named(instance) {
                    let session = Session { node: index, last: entry.clock, replaced: false };
                    self.sessions.insert(*node, session);
                }
            }
            Fact::Beaten { node } => {
                if let Some(session) = self.sessions.get_mut(node) {
                    session.last = entry.clock;
                }
            }
            Fact::Renamed { from, to } => self.rename(key(*from), key(*to)),
            Fact::Limited { gate, limit } => self.gate(*gate).limit = Some(*limit),
            Fact::Granted { lease, gate, way, .. } => {
                self.gate(*gate).held += 1;
                self.order += 1;
                let held = Held {
                    gate: *gate,
                    claimed: *way != Way::Settled,
                    way: *way,
                    since: entry.clock,
                    order: if *way == Way::Resynced { 0 } else { self.order },
                };
                self.leases.insert(key(*lease), held);
            }
            Fact::Claimed { lease, .. } => {
                if let Some(held) = self.leases.get_mut(&key(*lease)) {
                    held.claimed = true;
                }
            }
            Fact::Ended { lease, gate, how } => {
                self.leases.remove(&key(*lease));
                self.lost.insert((lease.request, lease.attempt), *how);
                let gate = self.gate(*gate);
                gate.held = gate.held.saturating_sub(1);
            }
            Fact::Queued { lease, line, tag } => self.queue(*lease, *line, *tag),
            Fact::Unqueued { lease, .. } => {
                self.tickets.remove(&key(*lease));
            }
            Fact::Left { .. } => {}
            Fact::Closed { .. }
            | Fact::Probing { .. }
            | Fact::ProbeEnded { .. }
            | Fact::Proved { .. } => self.health(&entry.fact),
        }
    }

    fn health(&mut self, fact: &Fact) {
        if let Fact::Closed { account, model, until, .. } = *fact {
            self.order += 1;
            let fresh = Closing { until, order: self.order, probe: None };
            let closing = self.closings.entry((account, model)).or_insert(fresh);
            (closing.until, closing.probe) = (until, None);
        }
        if let Fact::Probing { account, model, lease } = *fact
            && let Some(closing) = self.closings.get_mut(&(account, model))
        {
            closing.probe = Some(key(lease));
        }
        if let Fact::ProbeEnded { account, model } = *fact
            && let Some(closing) = self.closings.get_mut(&(account, model))
        {
            closing.probe = None;
        }
        if let Fact::Proved { account, model } = *fact {
            self.closings.remove(&(account, model));
        }
    }

    fn gate(&mut self, gate: GateId) -> &mut Gate {
        self.gates.entry(gate).or_insert(Gate { limit: None, held: 0 })
    }

    fn rename(&mut self, from: Key, to: Key) {
        if let Some(held) = self.leases.remove(&from) {
            self.leases.insert(to, held);
        }
        if let Some(ticket) = self.tickets.remove(&from) {
            self.tickets.insert(to, ticket);
        }
        if let Some(ask) = self.asks.remove(&from) {
            self.asks.insert(to, ask);
        }
        for closing in self.closings.values_mut() {
            if closing.probe == Some(from) {
                closing.probe = Some(to);
            }
        }
    }

    fn queue(&mut self, lease: LeaseId, line: Line, tag: Tag) {
        let mut ticket = Ticket { line, tag, want: None, deadline: Time(u64::MAX) };
        match self.applying.as_deref() {
            Some(StoreOp::Enter(enter)) if enter.lease == lease => {
                ticket.want = Some(enter.want.clone());
                ticket.deadline = self.clock + enter.patience.unwrap_or(Span::ZERO);
            }
            Some(StoreOp::Resync(resync)) => {
                if let Some(listed) = resync.waiting.iter().find(|w| w.lease == lease) {
                    ticket.want = Some(listed.want.clone());
                    ticket.deadline = self.clock + listed.patience;
                }
            }
            _ => {}
        }
        self.tickets.insert(key(lease), ticket);
    }
}
