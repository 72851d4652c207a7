//! The reference of admission: who may run now, judged from events and actions alone. It is told
//! everything that goes into an engine, comes out of it, or is applied by the store, and complains.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sluice_engine::store::{Enter, StoreOp, StoreReply, Version};
use sluice_engine::{
    AccountId, Action, Ask, Attempt, Event, GateId, LeaseId, NodeId, Outcome, Policy, RequestId,
    Roster, Span, StoreFault, Time, UserId,
};

use super::capacity::{Capacity, Flight, UserSlot, fits, since};
use super::life::{Asks, Billing, Key, Life};
use super::ops::{concerns, enters, listed, node_of};
use super::seen::{Seen, verdict_name};
use super::verdicts::{gives_cause, members};

/// One engine, as an outsider sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostSeen {
    /// Its incarnation.
    pub(crate) life: u32,
    pub(crate) up: bool,
    /// What it was given, by the observation from which on.
    pub(crate) rosters: Vec<(u64, Arc<Roster>)>,
    pub(crate) node: Option<NodeId>,
    /// The last one it had; what it asked for before it was told of the loss still names that.
    last_node: Option<NodeId>,
    /// When its last acknowledged beat or join was sent.
    pub(crate) acked: Option<Time>,
    /// The last observation at which the store was in doubt for it.
    pub(crate) trouble: Option<u64>,
    last_call: Option<Ask>,
    joins: u32,
}

/// A store operation without its answer.
#[derive(Clone, Debug)]
struct Sent {
    op: StoreOp,
    at: Time,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) policy: Policy,
    pub(crate) hosts: Vec<HostSeen>,
    pub(crate) lives: BTreeMap<Key, Life>,
    pub(crate) capacity: Capacity,
    pub(crate) seen: Seen,
    pub(crate) complaints: Vec<String>,
    /// Every roster there has been.
    rosters: BTreeMap<Version, Arc<Roster>>,
    sent: BTreeMap<(usize, u32, Ask), Sent>,
    /// Accounts of which an attempt ended in a way that may close them.
    pub(crate) failed: BTreeSet<AccountId>,
    /// Leases of which an `Enter` or `Resync` was answered `Unknown`.
    doubtful: BTreeSet<LeaseId>,
    /// Counts observations.
    pub(crate) mark: u64,
    pub(crate) now: Time,
    /// Time in which nobody was woken when due: a wait that follows another begins so much later.
    pub(crate) frozen: Span,
}

impl Reference {
    pub(crate) fn new(policy: Policy, hosts: usize) -> Self {
        Self {
            policy,
            hosts: vec![HostSeen::default(); hosts],
            lives: BTreeMap::new(),
            capacity: Capacity::default(),
            seen: Seen::default(),
            complaints: Vec::new(),
            rosters: BTreeMap::new(),
            sent: BTreeMap::new(),
            failed: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            mark: 0,
            now: Time::ZERO,
            frozen: Span::ZERO,
        }
    }

    pub(crate) fn complain(&mut self, what: String) {
        self.complaints.push(what);
    }

    fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.complaints.push(what());
        }
    }

    pub(crate) fn born(&mut self, host: usize, life: u32, roster: &Arc<Roster>) {
        self.mark += 1;
        let mark = self.mark;
        let seen = &mut self.hosts[host];
        let rosters = std::mem::take(&mut seen.rosters);
        *seen = HostSeen { life, up: true, rosters, trouble: Some(mark), ..HostSeen::default() };
        self.given(host, roster);
    }

    fn given(&mut self, host: usize, roster: &Arc<Roster>) {
        let mark = self.mark;
        self.rosters.insert(roster.version, Arc::clone(roster));
        let list = &mut self.hosts[host].rosters;
        if list.last().is_none_or(|(_, last)| last.version < roster.version) {
            list.push((mark, Arc::clone(roster)));
        }
    }

    /// The engine is gone, and all its connections with it.
    pub(crate) fn crashed(&mut self, host: usize) {
        self.hosts[host].up = false;
        self.hosts[host].node = None;
        self.lives.retain(|key, life| key.host != host || life.finished.is_some());
        self.capacity.flights.retain(|flight| flight.key.host != host);
        self.capacity.slots.retain(|slot| slot.key.host != host);
        self.sent.retain(|(of, _, _), _| *of != host);
    }

    pub(crate) fn key(&self, host: usize, req: RequestId) -> Key {
        Key { host, life: self.hosts[host].life, req }
    }

    /// Requests of one engine that have arrived and not finished.
    pub(crate) fn live(&self) -> impl Iterator<Item = (&Key, &Life)> {
        self.lives.iter().filter(|(_, life)| life.finished.is_none())
    }

    fn believing(&self, host: usize) -> bool {
        let recent = |at: Time| self.now.since(at) <= self.policy.belief;
        self.hosts[host].node.is_some() && self.hosts[host].acked.is_some_and(recent)
    }

    /// An event is about to go into an engine.
    pub(crate) fn event(&mut self, host: usize, now: Time, event: &Event) {
        self.mark += 1;
        self.now = now;
        if !self.believing(host) {
            self.hosts[host].trouble = Some(self.mark);
        }
        match event {
            Event::Arrived { req, spec } => {
                let key = self.key(host, *req);
                self.lives.insert(key, Life::new(spec.clone(), now, self.mark));
            }
            Event::Abandoned { req } => self.abandoned(self.key(host, *req)),
            Event::Store { call, result } => self.answered(host, *call, result),
            Event::Granted { lease, .. } => self.hinted(host, *lease),
            Event::Billing { req, result } => {
                let key = self.key(host, *req);
                let Some(life) = self.lives.get_mut(&key) else { return };
                life.billing = result.map_or_else(Billing::Denied, |()| Billing::Allowed);
                life.waits_since = Some(now);
            }
            Event::Started { req, attempt } => {
                let key = self.key(host, *req);
                let is_it = |f: &&mut Flight| f.key == key && f.attempt == *attempt;
                self.capacity.flights.iter_mut().filter(is_it).for_each(|f| f.started = true);
                let Some(life) = self.lives.get_mut(&key) else { return };
                life.started |= life.open == Some(*attempt);
            }
            Event::Ended { req, attempt, outcome } => {
                self.ended(self.key(host, *req), *attempt, *outcome);
            }
            Event::Roster(roster) => self.given(host, &Arc::clone(roster)),
            Event::Policy(_) | Event::Tick => {}
        }
    }

    fn abandoned(&mut self, key: Key) {
        let Some(life) = self.lives.get_mut(&key) else { return };
        let stage = life.stage();
        if life.finished.is_none() {
            life.abandoned_at.get_or_insert(self.now);
        }
        self.seen.note(match stage {
            "in the user's line" => "abandoned in the user's line",
            "before the user's slot" => "abandoned before the user's slot",
            "at billing" => "abandoned at billing",
            "in an account's line" => "abandoned in an account's line",
            "before an account's slot" => "abandoned before an account's slot",
            "forwarded" => "abandoned when forwarded",
            "streaming" => "abandoned when streaming",
            _ => "abandoned when finished",
        });
    }

    fn hinted(&mut self, host: usize, lease: LeaseId) {
        let key = self.key(host, lease.request);
        let asks = self.lives.get(&key).filter(|life| life.finished.is_none());
        let asks = asks.and_then(|life| life.asks.get(&lease.attempt.0));
        let reply = asks.and_then(|asks| asks.reply.clone());
        self.seen.note(match reply {
            Some(StoreReply::Waiting { .. }) => "hint to a waiting lease",
            Some(_) => "hint to a lease that waits no more",
            None if asks_unanswered(asks) => "hint that overtook an answer",
            None => "hint for nobody",
        });
    }

    fn ended(&mut self, key: Key, attempt: Attempt, outcome: Outcome) {
        let now = self.now;
        let flights = &mut self.capacity.flights;
        let Some(at) = flights.iter().position(|f| f.key == key && f.attempt == attempt) else {
            return;
        };
        let flight = flights.remove(at);
        if gives_cause(outcome) {
            self.failed.insert(flight.account);
        }
        let Some(life) = self.lives.get_mut(&key) else { return };
        if life.finished.is_none() {
            life.open = None;
            life.last_end = Some((flight.account, attempt, outcome));
            life.waits_since = Some(now);
        }
    }

    fn answered(&mut self, host: usize, call: Ask, result: &Result<StoreReply, StoreFault>) {
        let sent = self.sent.remove(&(host, self.hosts[host].life, call));
        let Some(Sent { op, at }) = sent else {
            return self.complain(format!("the test answered {call} twice"));
        };
        let mark = self.mark;
        let reply = match result {
            Ok(reply) => reply,
            Err(fault) => return self.faulted(host, &op, *fault),
        };
        let seen = &mut self.hosts[host];
        match (&op, reply) {
            (_, StoreReply::Lost) if node_of(&op) == seen.node => {
                (seen.node, seen.acked, seen.trouble) = (None, None, Some(mark));
                self.seen.note("session lost");
            }
            (_, StoreReply::Lost) => {}
            (_, StoreReply::Joined { node, .. }) => {
                (seen.node, seen.last_node, seen.acked) = (Some(*node), Some(*node), Some(at));
                seen.joins += 1;
                self.seen.note_if(seen.joins > 1, "session rejoined");
            }
            (_, StoreReply::Taken { .. }) => self.seen.note("join taken"),
            (StoreOp::Beat { node, .. }, StoreReply::Alive { .. }) if seen.node == Some(*node) => {
                seen.acked = seen.acked.max(Some(at));
            }
            (StoreOp::Enter(enter), reply) => self.entered(host, enter, reply),
            _ => {}
        }
    }

    fn entered(&mut self, host: usize, enter: &Enter, reply: &StoreReply) {
        let key = self.key(host, enter.lease.request);
        let Some(life) = self.lives.get_mut(&key) else { return };
        self.seen.note_if(*reply == StoreReply::Left, "enter answered left");
        self.seen.note_if(matches!(reply, StoreReply::Shut { .. }), "enter answered shut");
        let late = matches!(reply, StoreReply::Held { .. }) && life.finished.is_some();
        self.seen.note_if(late, "slot for a finished request");
        life.answered(enter, reply);
    }

    fn faulted(&mut self, host: usize, op: &StoreOp, fault: StoreFault) {
        let unknown = fault == StoreFault::Unknown;
        if let StoreOp::Leave { .. } = op {
            return self.seen.note_if(unknown, "leave lost");
        }
        let StoreOp::Enter(enter) = op else {
            self.hosts[host].trouble = Some(self.mark);
            if let (StoreOp::Resync(resync), true) = (op, unknown) {
                self.doubtful.extend(listed(resync));
            }
            return;
        };
        let key = self.key(host, enter.lease.request);
        if let Some(life) = self.lives.get_mut(&key) {
            life.doubt = true;
        }
        if unknown {
            self.doubtful.insert(enter.lease);
            self.seen.note("enter lost");
        }
    }

    /// The store applied an operation.
    pub(crate) fn applied(&mut self, raw: Time, op: &StoreOp, reply: &StoreReply) {
        self.mark += 1;
        self.capacity.applied(raw, op, reply);
        if let (StoreOp::Define(define), StoreReply::Done) = (op, reply) {
            match self.rosters.get(&define.version) {
                Some(roster) => self.capacity.define(self.mark, roster),
                None => self.complain(format!("Define of an unknown roster {:?}", define.version)),
            }
        }
    }

    /// An engine asked for something.
    pub(crate) fn action(&mut self, host: usize, now: Time, action: &Action) {
        self.mark += 1;
        self.now = now;
        match action {
            Action::Store { call, op } => self.sent(host, *call, op),
            Action::CheckBilling { req, user } => {
                self.billing(self.key(host, *req), *user);
            }
            Action::Forward { req, attempt, account } => {
                self.forward(self.key(host, *req), *attempt, *account);
            }
            Action::Cancel { req, attempt } => self.cancel(self.key(host, *req), *attempt),
            Action::Ping { req } => {
                let key = self.key(host, *req);
                // One that is abandoned now may be pinged first, where the ping was due.
                let there = |l: &Life| l.abandoned_at.is_none_or(|at| at == now);
                let waits = |l: &Life| l.finished.is_none() && !l.started && there(l);
                let may = self.lives.get(&key).is_some_and(|l| waits(l) && l.spec.stream);
                self.seen.note("ping");
                self.require(may, || format!("Ping {key:?}: no stream that waits"));
            }
            Action::Finish { req, verdict, .. } => {
                let key = self.key(host, *req);
                self.check_verdict(key, *verdict);
                self.seen.note(verdict_name(*verdict));
                self.capacity.slots.retain(|slot| slot.key != key);
                if let Some(life) = self.lives.get_mut(&key) {
                    life.finished = Some(*verdict);
                }
            }
        }
    }

    fn sent(&mut self, host: usize, call: Ask, op: &StoreOp) {
        let (now, life) = (self.now, self.hosts[host].life);
        let last = self.hosts[host].last_call.replace(call);
        self.require(last < Some(call), || format!("{call} after {last:?}: must increase"));
        match op {
            StoreOp::Enter(enter) => self.check_enter(host, call, enter),
            StoreOp::Leave { lease, fence, .. } => self.check_leave(*lease, *fence),
            StoreOp::Resync(resync) => {
                self.require(resync.ask == call, || format!("{call}: Resync as {}", resync.ask));
            }
            StoreOp::Join { .. }
            | StoreOp::Beat { .. }
            | StoreOp::Define(_)
            | StoreOp::Survey { .. }
            | StoreOp::Session { .. }
            | StoreOp::Health { .. }
            | StoreOp::Reap { .. } => {}
        }
        self.sent.insert((host, life, call), Sent { op: op.clone(), at: now });
    }

    fn check_enter(&mut self, host: usize, call: Ask, enter: &Enter) {
        let lease = enter.lease;
        let key = self.key(host, lease.request);
        let node = self.hosts[host].last_node;
        self.require(enter.ask == call, || format!("{call}: Enter as {}", enter.ask));
        self.require(node == Some(lease.node), || format!("Enter {lease} by node {node:?}"));
        let (now, mark) = (self.now, self.mark);
        let Some(life) = self.lives.get_mut(&key).filter(|life| life.finished.is_none()) else {
            return self.complain(format!("Enter {lease} for no live request"));
        };
        let open = life.open == Some(lease.attempt);
        let known = if lease.attempt.0 == 0 { life.user_tag } else { life.account_tag };
        life.asked(enter, now, mark);
        self.require(!open, || format!("Enter {lease} while it is forwarded"));
        let tag = enter.tag;
        self.require(known.is_none() || tag == known, || {
            format!("Enter {lease} with tag {tag:?}, but it was given {known:?}")
        });
    }

    fn check_leave(&mut self, lease: LeaseId, fence: bool) {
        let under_way = self.sent.values().any(|sent| enters(&sent.op, lease));
        let doubtful = self.doubtful.contains(&lease);
        self.seen.note_if(fence, "fenced leave");
        self.require(fence || !(under_way || doubtful), || {
            let why = if doubtful { "was answered Unknown" } else { "is unanswered" };
            format!("Leave {lease} without fence, but an Enter or Resync of it {why}")
        });
    }

    fn billing(&mut self, key: Key, user: UserId) {
        let now = self.now;
        let Some(life) = self.lives.get_mut(&key) else {
            return self.complain(format!("CheckBilling {key:?}: unknown"));
        };
        let (present, _) = life.waits(now);
        life.end_wait(now);
        let fresh =
            life.finished.is_none() && life.billing == Billing::NotAsked && !life.abandoned();
        let mine = life.spec.user == user;
        life.billing = Billing::Asked;
        let asks = life.asks.get(&0).cloned();
        self.require(fresh && mine, || format!("CheckBilling {key:?}: asked out of turn"));
        self.require(present <= self.policy.user_patience, || {
            format!("CheckBilling {key:?}: its patience for the user's slot was over")
        });
        let Some(asks) = asks.filter(|asks| held_at(asks, GateId::User(user))) else {
            return self.complain(format!("CheckBilling {key:?}: without the user's slot"));
        };
        let node = asks.lease.node;
        let sound = self.capacity.alive(node);
        let slot = UserSlot { key, user, node, asked: asks.first_at, sound };
        self.capacity.slots.push(slot);
        let hosts = self.hosts.iter();
        let rosters = hosts.flat_map(|host| since(&host.rosters, asks.first_mark));
        let limit = rosters.filter_map(|roster| roster.users.get(&user)).map(|u| u.limit).max();
        let open = self.capacity.slots_of(user, now, self.policy.lease_ttl);
        self.require(!sound || limit.is_some_and(|limit| fits(limit, open)), || {
            format!("{user}: {open} requests beyond the user's slot, limit {limit:?}")
        });
    }

    fn forward(&mut self, key: Key, attempt: Attempt, account: AccountId) {
        let now = self.now;
        let Some(life) = self.lives.get(&key).cloned() else {
            return self.complain(format!("Forward {key:?}: unknown"));
        };
        self.check_turn(key, &life, attempt, account);
        self.check_budgets(key, &life, attempt);
        let asks = life.asks.get(&attempt.0).cloned();
        let live = self.lives.get_mut(&key).expect("it was found above");
        live.end_wait(now);
        live.attempts = attempt.0;
        live.tried.push(account);
        live.open = Some(attempt);
        live.server_errors += u16::from(failed_with_5xx(&life));
        self.seen.note(if life.last_end.is_some() { "failover" } else { "first forward" });
        self.require(self.believing(key.host), || {
            format!("Forward {key:?}: the node does not believe in its session")
        });
        let Some(asks) = asks.filter(|asks| held_at(asks, GateId::Account(account))) else {
            return self.complain(format!("Forward {key:?}: {account} has not been given to it"));
        };
        self.check_member(key, &life, account, &asks);
        let node = asks.lease.node;
        let sound = self.capacity.alive(node);
        self.require(sound, || format!("Forward {key:?}: the session of {node} had ended"));
        let asked = asks.first_at;
        let (started, cancelled) = (false, false);
        let flight = Flight { key, attempt, account, node, asked, started, cancelled, sound };
        self.capacity.flights.push(flight);
        let limit = self.capacity.limit_since(account, asks.first_mark);
        let open = self.capacity.open_on(account, now, self.policy.lease_ttl);
        self.require(fits(limit, open), || format!("{account}: {open} attempts, limit {limit:?}"));
    }

    fn check_turn(&mut self, key: Key, life: &Life, attempt: Attempt, account: AccountId) {
        let rules = [
            (life.finished.is_none(), "it is finished"),
            (!life.abandoned(), "its client has gone"),
            (life.billing == Billing::Allowed, "billing has not allowed it"),
            (attempt.0 == life.attempts + 1, "attempts are numbered one by one"),
            (life.open.is_none(), "an attempt is open"),
            (!life.started, "its first semantic byte was sent"),
            (!life.tried.contains(&account), "the account was tried"),
            (life.last_end.is_none_or(|(_, _, outcome)| may_switch(outcome)), "its end was final"),
        ];
        for (holds, why) in rules {
            self.require(holds, || format!("Forward {key:?} {attempt} {account}: {why}"));
        }
    }

    fn check_budgets(&mut self, key: Key, life: &Life, attempt: Attempt) {
        let policy = &self.policy;
        let switches = policy.switches_max(life.spec.platform);
        let server_errors = life.server_errors + u16::from(failed_with_5xx(life));
        let (_, total) = life.waits(self.now);
        // It waits for an account from the first ask on; the survey before that is no wait.
        let asked = life.asks.get(&attempt.0).map_or(self.now, |asks| asks.first_at);
        let present = self.now.since(asked);
        let patience = policy.sticky_patience + policy.fallback_patience + self.frozen;
        let rules = [
            (life.attempts <= switches, "too many switches"),
            (server_errors <= policy.switches.server_error_max, "too many switches after 5xx"),
            (self.now.since(life.arrived) <= policy.failover_time_max, "too late to begin"),
            (present <= patience, "its patience for an account was over"),
            (total <= policy.wait_total_max, "it waited too long in all"),
        ];
        for (holds, why) in rules {
            self.require(holds, || format!("Forward {key:?}: {why}"));
        }
    }

    /// The account is in the pool by a roster that the engine has had since the newest ask.
    fn check_member(&mut self, key: Key, life: &Life, account: AccountId, asks: &Asks) {
        let member = |roster: &Arc<Roster>| members(roster, life).contains(&account);
        let own = since(&self.hosts[key.host].rosters, asks.newest_mark).any(member);
        self.require(own, || format!("Forward {key:?}: {account} is not in its pool"));
    }

    fn cancel(&mut self, key: Key, attempt: Attempt) {
        let abort = self.policy.on_session_lost == sluice_engine::policy::OnSessionLost::Abort;
        let lost = abort && !self.believing(key.host);
        let abandoned = self.lives.get(&key).is_some_and(|life| life.abandoned());
        let is_it = |f: &&mut Flight| f.key == key && f.attempt == attempt;
        let found = self.capacity.flights.iter_mut().find(is_it).map(|f| f.cancelled = true);
        if let Some(life) = self.lives.get_mut(&key) {
            life.cancelled.insert(attempt);
            life.aborted |= !abandoned;
        }
        self.require(found.is_some(), || format!("Cancel {key:?} {attempt}: it is not open"));
        self.require(abandoned || lost, || format!("Cancel {key:?} {attempt}: without a reason"));
    }

    /// Whether an operation of this engine, or for this request, has no answer yet.
    pub(crate) fn unanswered_for(&self, key: Key) -> bool {
        let mut of_host = self.sent.iter().filter(|((host, _, _), _)| *host == key.host);
        of_host.any(|(_, sent)| concerns(&sent.op, key.req))
    }
}

fn asks_unanswered(asks: Option<&Asks>) -> bool {
    asks.is_some_and(|asks| asks.reply.is_none())
}

fn failed_with_5xx(life: &Life) -> bool {
    matches!(life.last_end, Some((_, _, Outcome::ServerError { .. })))
}

/// Whether another account may be tried after this.
pub(crate) const fn may_switch(outcome: Outcome) -> bool {
    match outcome {
        Outcome::RateLimited { .. }
        | Outcome::Overloaded { .. }
        | Outcome::ServerError { .. }
        | Outcome::Unauthorized { .. }
        | Outcome::Unable { .. }
        | Outcome::Unreachable => true,
        Outcome::Completed
        | Outcome::ClientError { .. }
        | Outcome::Truncated
        | Outcome::Cancelled => false,
    }
}

fn held_at(asks: &Asks, wanted: GateId) -> bool {
    matches!(&asks.reply, Some(StoreReply::Held { gate, .. }) if *gate == wanted)
}
