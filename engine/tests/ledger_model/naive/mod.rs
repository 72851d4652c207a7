//! The store, written down a second time from its contract alone: the comments of
//! `sluice_engine::store`. Everything is a list that is scanned from its start; nothing is indexed,
//! remembered or optimised, so that it can be read beside the contract and believed.

mod enter;
mod health;
mod look;
mod passes;
mod rest;

pub(crate) use enter::proper;
pub(crate) use health::{Account, Standing};
pub(crate) use look::Look;

use sluice_engine::ids::{
    AccountId, Ask, GateId, LeaseId, ModelId, NodeId, SessionKey, Tag, UserId,
};
use sluice_engine::ledger::Counters;
use sluice_engine::ledger::history::Line;
use sluice_engine::store::{
    CLAIM_WINDOW, DUE_PER_OP, Discipline, GAP_MAX, Grant, HealthRules, Instance, Limit, PoolDef,
    StoreOp, StoreReply, Version, Want,
};
use sluice_engine::time::{Span, Time};

/// The store's whole state.
#[derive(Clone, Debug)]
pub(crate) struct Naive {
    /// The next value that is drawn.
    pub(crate) counter: u64,
    pub(crate) epoch: u64,
    /// The raw reading: never goes back.
    pub(crate) raw: Time,
    /// The store clock: swallows gaps.
    pub(crate) clock: Time,
    pub(crate) version: Version,
    pub(crate) discipline: Discipline,
    pub(crate) rules: HealthRules,
    pub(crate) sessions: Vec<Session>,
    pub(crate) leases: Vec<Lease>,
    pub(crate) users: Vec<User>,
    pub(crate) accounts: Vec<Account>,
    pub(crate) pools: Vec<PoolDef>,
    /// Lease, and when it is forgotten (store clock).
    pub(crate) tombstones: Vec<(LeaseId, Time)>,
    /// Key, home, and when it ends (raw).
    pub(crate) bindings: Vec<(SessionKey, AccountId, Time)>,
    /// Which leases a resync pass, named by its node and `as_of`, has seen.
    pub(crate) seen: Vec<(NodeId, Ask, LeaseId)>,
    pub(crate) counters: Counters,
    /// What the operation under way has granted.
    pub(crate) grants: Vec<Grant>,
    /// Notable things that have happened: the ground of the distribution test.
    pub(crate) notes: Vec<&'static str>,
}

/// A node's session; ended when the store clock is at or past `ends`.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) instance: Instance,
    pub(crate) node: NodeId,
    pub(crate) ends: Time,
}

/// A lease that has something.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) id: LeaseId,
    /// The highest ask known.
    pub(crate) ask: Ask,
    pub(crate) tag: Tag,
    pub(crate) place: Place,
}

/// What a lease has.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Held(Held),
    Waiting(Ticket),
}

/// A slot.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) gate: GateId,
    pub(crate) model: ModelId,
    /// Drawn at the grant; 0 if entered by a resync, older than any closing.
    pub(crate) stamp: u64,
    /// When it was granted (raw).
    pub(crate) since: Time,
    /// A grant that is not claimed yet, and until when it may be.
    pub(crate) claim_by: Option<Time>,
    /// When its ttl is over.
    pub(crate) ends: Option<Time>,
    /// `Poll`: the line in which it waited and still counts.
    pub(crate) counted: Option<Line>,
}

/// A place in the line of its want.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    pub(crate) want: Want,
    pub(crate) until: Time,
    pub(crate) ttl: Option<Span>,
}

/// A user's gate; there is one only while somebody holds it or waits for it.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) id: UserId,
    pub(crate) limit: Limit,
    pub(crate) version: Version,
}

/// Something whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    Claim(LeaseId),
    Patience(LeaseId),
    Ttl(LeaseId),
    Opening(AccountId, Option<ModelId>),
}

impl Naive {
    pub(crate) fn new(start: Time) -> Self {
        let first = start.0.max(1);
        Self {
            counter: first,
            epoch: first,
            raw: start,
            clock: start,
            version: Version::default(),
            discipline: Discipline::Settle,
            rules: HealthRules::default(),
            sessions: Vec::new(),
            leases: Vec::new(),
            users: Vec::new(),
            accounts: Vec::new(),
            pools: Vec::new(),
            tombstones: Vec::new(),
            bindings: Vec::new(),
            seen: Vec::new(),
            counters: Counters::default(),
            grants: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(crate) fn apply(&mut self, now: Time, op: &StoreOp) -> (StoreReply, Vec<Grant>) {
        if let StoreOp::Survey { pool, model, session, excluded, best } = op {
            // It looks at what is there with the time as it is, and lets it be.
            let mut then = self.clone();
            then.raw = then.raw.max(now);
            let found = then.survey(*pool, *model, *session, excluded, usize::from(*best));
            return (StoreReply::Surveyed(Box::new(found)), Vec::new());
        }
        let advance = now.since(self.raw);
        self.raw = self.raw + advance;
        self.clock = self.clock + advance.min(GAP_MAX);
        for _ in 0..DUE_PER_OP {
            self.work_off_one();
        }
        self.forget_idle_users();
        let reply = match op {
            StoreOp::Join { instance, replaces, resume, protocol: _ } => {
                self.join(instance, *replaces, *resume)
            }
            StoreOp::Beat { node, settled: _, in_flight: _ } => self.beat(*node),
            StoreOp::Resync(resync) => self.resync(resync),
            StoreOp::Define(define) => self.define(define),
            StoreOp::Enter(enter) => self.enter(enter),
            StoreOp::Leave { lease, mark, fence } => self.leave(*lease, *mark, *fence),
            StoreOp::Survey { .. } => unreachable!("answered above"),
            StoreOp::Session { key, change, if_home } => self.session(*key, *change, *if_home),
            StoreOp::Health { account, model, change } => self.health(*account, *model, *change),
            StoreOp::Reap { max } => self.reap(*max),
        };
        self.forget_idle_users();
        self.forget_unlisted();
        (reply, std::mem::take(&mut self.grants))
    }

    // Small things.

    pub(crate) fn draw(&mut self) -> u64 {
        self.counter += 1;
        self.counter - 1
    }

    pub(crate) fn note(&mut self, what: &'static str) {
        self.notes.push(what);
    }

    pub(crate) fn lives(&self, node: NodeId) -> bool {
        self.sessions.iter().any(|s| s.node == node && self.clock < s.ends)
    }

    pub(crate) fn lease(&self, id: LeaseId) -> Option<&Lease> {
        self.leases.iter().find(|l| l.id == id)
    }

    pub(crate) fn held_by(&self, id: LeaseId) -> Option<&Held> {
        match &self.lease(id)?.place {
            Place::Held(held) => Some(held),
            Place::Waiting(_) => None,
        }
    }

    pub(crate) fn ticket_of(&self, id: LeaseId) -> Option<&Ticket> {
        match &self.lease(id)?.place {
            Place::Held(_) => None,
            Place::Waiting(ticket) => Some(ticket),
        }
    }

    /// How many hold the gate, grants included.
    pub(crate) fn held(&self, gate: GateId) -> u32 {
        let holds = |l: &&Lease| matches!(&l.place, Place::Held(held) if held.gate == gate);
        self.leases.iter().filter(holds).count() as u32
    }

    pub(crate) fn limit(&self, gate: GateId) -> Limit {
        let known = match gate {
            GateId::User(user) => self.users.iter().find(|u| u.id == user).map(|u| u.limit),
            GateId::Account(id) => self.accounts.iter().find(|a| a.id == id).map(|a| a.limit),
        };
        match known {
            None | Some(Limit::Slots(0)) => Limit::Closed,
            Some(limit) => limit,
        }
    }

    pub(crate) fn has_room(&self, gate: GateId) -> bool {
        self.limit(gate).has_room(self.held(gate))
    }

    /// Takes away whatever the lease has, and tells which gate it held.
    pub(crate) fn take(&mut self, id: LeaseId) -> Option<GateId> {
        let gate = self.held_by(id).map(|held| held.gate);
        self.leases.retain(|l| l.id != id);
        for account in &mut self.accounts {
            for key in &mut account.keys {
                if key.probe == Some(id) {
                    key.probe = None;
                    self.notes.push("probe ended unproved");
                }
            }
        }
        gate
    }

    /// Takes away whatever the lease has, and settles the gate it held.
    pub(crate) fn free(&mut self, id: LeaseId) {
        if let Some(gate) = self.take(id) {
            self.settle(gate);
        }
    }

    pub(crate) fn forget_idle_users(&mut self) {
        let leases = &self.leases;
        self.users.retain(|user| {
            let gate = GateId::User(user.id);
            leases.iter().any(|l| match &l.place {
                Place::Held(held) => held.gate == gate || held.counted == Some(Line::Gate(gate)),
                Place::Waiting(ticket) => line_of(&ticket.want) == Line::Gate(gate),
            })
        });
    }

    // The due list.

    /// Everything on the store clock's due list, due or not, in order.
    pub(crate) fn dues_of_clock(&self) -> Vec<(Time, LeaseId, Due)> {
        let mut dues = Vec::new();
        for lease in &self.leases {
            match &lease.place {
                Place::Held(held) => {
                    if let Some(by) = held.claim_by {
                        dues.push((by, lease.id, Due::Claim(lease.id)));
                    }
                    if let Some(ends) = held.ends {
                        dues.push((ends, lease.id, Due::Ttl(lease.id)));
                    }
                }
                Place::Waiting(ticket) => {
                    dues.push((ticket.until, lease.id, Due::Patience(lease.id)));
                }
            }
        }
        dues.sort();
        dues
    }

    /// Every opening that has not been worked off, due or not, in order.
    pub(crate) fn openings(&self) -> Vec<(Time, AccountId, Option<ModelId>)> {
        let mut openings = Vec::new();
        for account in &self.accounts {
            for key in &account.keys {
                if key.opening {
                    openings.push((key.until, account.id, key.model));
                }
            }
        }
        openings.sort();
        openings
    }

    fn next_due(&self) -> Option<Due> {
        if let Some((at, _, due)) = self.dues_of_clock().first()
            && self.clock >= *at
        {
            return Some(*due);
        }
        if let Some((at, account, model)) = self.openings().first()
            && self.raw >= *at
        {
            return Some(Due::Opening(*account, *model));
        }
        None
    }

    pub(crate) fn due_now(&self) -> bool {
        self.next_due().is_some()
    }

    /// Works off the first due entry; tells whether there was one.
    pub(crate) fn work_off_one(&mut self) -> bool {
        let Some(due) = self.next_due() else { return false };
        match due {
            Due::Claim(lease) => {
                self.counters.grants_passed_on += 1;
                self.note("grant passed on");
                self.free(lease);
            }
            Due::Patience(lease) => {
                self.note("patience ended");
                self.free(lease);
            }
            Due::Ttl(lease) => {
                self.counters.leases_expired += 1;
                self.note("ttl over");
                self.free(lease);
            }
            Due::Opening(account, model) => {
                self.note("opening");
                self.key_mut(account, model).expect("it has an opening").opening = false;
                self.settle(GateId::Account(account));
            }
        }
        true
    }

    // Settling.

    /// Hands the gate's free slots to the tickets of the least tags.
    pub(crate) fn settle(&mut self, gate: GateId) {
        if self.discipline == Discipline::Poll {
            return;
        }
        while self.has_room(gate) {
            let Some((_, lease)) = self.next_in_line(gate, None) else { return };
            self.grant(lease, gate);
        }
    }

    pub(crate) fn settle_all(&mut self) {
        let mut gates: Vec<GateId> = Vec::new();
        gates.extend(self.users.iter().map(|u| GateId::User(u.id)));
        gates.extend(self.accounts.iter().map(|a| GateId::Account(a.id)));
        gates.sort();
        for gate in gates {
            self.settle(gate);
        }
    }

    /// Of the tickets that the gate could serve, the one with the least tag.
    pub(crate) fn next_in_line(
        &self,
        gate: GateId,
        but: Option<LeaseId>,
    ) -> Option<(Tag, LeaseId)> {
        let mut served = Vec::new();
        for lease in &self.leases {
            let Place::Waiting(ticket) = &lease.place else { continue };
            if Some(lease.id) == but || self.clock >= ticket.until {
                continue;
            }
            if self.standing(gate, &ticket.want, Some(lease.id)) == Standing::Open {
                served.push((lease.tag, lease.id));
            }
        }
        served.into_iter().min()
    }

    pub(crate) fn grant(&mut self, id: LeaseId, gate: GateId) {
        let ticket = self.ticket_of(id).expect("it waits").clone();
        let tag = self.lease(id).expect("it waits").tag;
        let ask = self.lease(id).expect("it waits").ask;
        self.leases.retain(|l| l.id != id);
        self.hold(id, ask, tag, gate, model_of(&ticket.want), ticket.ttl);
        let until = self.clock + CLAIM_WINDOW;
        self.held_mut(id).expect("just held").claim_by = Some(until);
        self.grants.push(Grant { lease: id, gate });
        self.note("granted");
    }

    /// The lease, which has nothing, holds the gate from now on.
    pub(crate) fn hold(
        &mut self,
        id: LeaseId,
        ask: Ask,
        tag: Tag,
        gate: GateId,
        model: ModelId,
        ttl: Option<Span>,
    ) {
        let stamp = self.draw();
        if let GateId::Account(account) = gate {
            self.probe_if_half_open(account, model, id);
            self.account_mut(account).expect("it is usable").last_assigned = stamp;
        }
        let held = Held {
            gate,
            model,
            stamp,
            since: self.raw,
            claim_by: None,
            ends: ttl.map(|ttl| self.clock + ttl),
            counted: None,
        };
        self.leases.push(Lease { id, ask, tag, place: Place::Held(held) });
    }

    pub(crate) fn held_mut(&mut self, id: LeaseId) -> Option<&mut Held> {
        match &mut self.leases.iter_mut().find(|l| l.id == id)?.place {
            Place::Held(held) => Some(held),
            Place::Waiting(_) => None,
        }
    }
}

/// The line in which a lease with this want waits.
pub(crate) fn line_of(want: &Want) -> Line {
    match want {
        Want::User { user, .. } => Line::Gate(GateId::User(*user)),
        Want::Gate { account, .. } => Line::Gate(GateId::Account(*account)),
        Want::Pool { pool, .. } => Line::Pool(*pool),
    }
}

/// The model that is wanted; 0 for a user's slot.
pub(crate) fn model_of(want: &Want) -> ModelId {
    match want {
        Want::User { .. } => ModelId(0),
        Want::Gate { model, .. } | Want::Pool { model, .. } => *model,
    }
}
