//! Engines, one ledger, and what happens between them, step by step.

use std::sync::Arc;

use sluice_engine::engine::Config;
use sluice_engine::event::RequestSpec;
use sluice_engine::rng::Seed;
use sluice_engine::roster::{Roster, User};
use sluice_engine::store::{Instance, Limit, StoreOp, StoreReply, Want};
use sluice_engine::{
    Action, Denial, Engine, Event, Executor, GateId, Ledger, Outcome, Policy, RequestId,
    SessionKey, Span, StoreFault, Time, turn,
};

use super::life::Key;
use super::net::{Answer, Caller, Net, Sent, pick};
use super::ops::node_of;
use super::reference::Reference;
use super::shape::{MODEL, Shape, account, pool_key, user};
use super::step::{Change, Fate, Step};

/// An engine, or the place where one was.
struct Host {
    engine: Option<Engine>,
    life: u32,
    next_request: u64,
}

/// See the module's documentation.
pub(crate) struct World {
    shape: Shape,
    hosts: Vec<Host>,
    ledger: Ledger,
    pub(crate) net: Net,
    pub(crate) reference: Reference,
    pub(crate) now: Time,
    roster: Arc<Roster>,
    /// Whether the store answers at once.
    pub(crate) prompt: bool,
    /// What happened, to be read by people; only where asked for.
    pub(crate) trace: Option<Vec<String>>,
    tamper: Option<Tamper>,
}

/// Something wrong with the world that the reference is not told of, and must find out.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tamper {
    /// The store has one slot more than the roster says: of accounts, or of users.
    AccountRoom,
    UserRoom,
    /// Who is to wait for an account is told that it holds one.
    FalseHeld,
    /// Engines have this other policy.
    Policy(fn(&mut Policy)),
}

/// Every clock has an epoch of its own.
const HOST_EPOCHS: [Span; 2] = [Span::from_secs(1_000), Span::from_secs(5_000_000)];
const STORE_EPOCH: Span = Span::from_secs(1_700_000_000);
/// Far more than one event can lead to.
const ACTIONS_MAX: u32 = 100_000;

impl World {
    pub(crate) fn new(shape: &Shape, trace: bool) -> Self {
        Self::tampered(shape, trace, None)
    }

    pub(crate) fn tampered(shape: &Shape, trace: bool, tamper: Option<Tamper>) -> Self {
        let mut world = Self {
            hosts: Vec::new(),
            ledger: Ledger::new(Time::ZERO + STORE_EPOCH),
            net: Net::default(),
            reference: Reference::new(shape.policy(), shape.engines),
            now: Time::ZERO,
            roster: shape.roster(),
            prompt: shape.prompt,
            trace: trace.then(Vec::new),
            tamper,
            shape: shape.clone(),
        };
        for _ in 0..shape.engines {
            world.hosts.push(Host { engine: None, life: 0, next_request: 1 });
        }
        for host in 0..shape.engines {
            world.start(host);
        }
        world
    }

    pub(crate) fn host(&self, nth: u8) -> usize {
        usize::from(nth) % self.hosts.len()
    }

    pub(crate) fn engines(&self) -> impl Iterator<Item = (usize, &Engine)> {
        self.hosts.iter().enumerate().filter_map(|(n, host)| Some((n, host.engine.as_ref()?)))
    }

    pub(crate) fn roster(&self) -> &Roster {
        &self.roster
    }

    pub(crate) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(crate) fn trace(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9}.{:03} ms  {}", now.0 / 1_000, now.0 % 1_000, line()));
        }
    }

    pub(crate) fn start(&mut self, nth: usize) {
        let host = &mut self.hosts[nth];
        if host.engine.is_some() {
            return;
        }
        host.life += 1;
        let name = if nth == 0 { "a" } else { "b" };
        let mut policy = self.shape.policy();
        if let Some(Tamper::Policy(change)) = self.tamper {
            change(&mut policy);
        }
        let config = Config {
            instance: Instance(name.into()),
            seed: Seed(7 * nth as u64 + u64::from(host.life)),
            policy,
        };
        host.engine = Some(Engine::new(config, Arc::clone(&self.roster)));
        let life = host.life;
        self.reference.born(nth, life, &self.roster);
        self.trace(|| format!("engine {nth} starts, life {life}"));
        self.give(nth, Event::Tick);
    }

    /// Gives one event to an engine, and drains it.
    pub(crate) fn give(&mut self, nth: usize, event: Event) {
        let Some(mut engine) = self.hosts[nth].engine.take() else { return };
        self.reference.event(nth, self.now, &event);
        self.trace(|| format!("engine {nth} < {event:?}"));
        let now = self.now + HOST_EPOCHS[nth];
        turn(&mut engine, now, event, &mut Wire { world: self, host: nth, actions: 0 });
        let due = engine.next_timeout();
        self.check_engine(nth, &engine);
        self.hosts[nth].engine = Some(engine);
        self.trace(|| format!("engine {nth} to be woken for {due:?}"));
    }

    fn check_engine(&mut self, nth: usize, engine: &Engine) {
        for broken in engine.check_invariants() {
            self.reference.complain(format!("engine {nth}: {broken}"));
        }
        let live = self.reference.live().filter(|(key, _)| key.host == nth).count();
        if engine.live_requests() != live {
            let engines = engine.live_requests();
            self.reference
                .complain(format!("engine {nth} has {engines} live requests, not {live}"));
        }
        let node = self.reference.hosts[nth].node;
        if engine.node() != node {
            let engines = engine.node();
            self.reference.complain(format!("engine {nth} is {engines:?}, not {node:?}"));
        }
        let gone = self.reference.live().filter(|(key, life)| key.host == nth && life.abandoned());
        let cancelled = |life: &super::life::Life| {
            life.open.is_some_and(|attempt| life.cancelled.contains(&attempt))
        };
        let lingering = gone.filter(|(_, life)| !cancelled(life)).map(|(key, _)| *key).next();
        if let Some(key) = lingering {
            self.reference.complain(format!("{key:?} was abandoned but goes on"));
        }
    }

    pub(crate) fn check_ledger(&mut self) {
        for broken in self.ledger.check_invariants() {
            self.reference.complain(format!("ledger: {broken}"));
        }
    }

    /// Applies one operation, as the store.
    fn apply(&mut self, op: &StoreOp) -> StoreReply {
        let raw = self.now + STORE_EPOCH;
        let mut done = op.clone();
        if let Some(tamper) = self.tamper {
            more_room(tamper, &mut done);
        }
        let (mut reply, grants) = self.ledger.apply(raw, done);
        if let Some(Tamper::FalseHeld) = self.tamper {
            reply = false_held(op, reply);
        }
        self.trace(|| format!("  store: {op:?} -> {reply:?}, grants {grants:?}"));
        self.reference.applied(raw, op, &reply);
        self.net.hints.extend(grants);
        reply
    }

    /// Applies it for a caller, who learns his node's name by it.
    fn serve(&mut self, from: Caller, op: &StoreOp) -> StoreReply {
        let reply = self.apply(op);
        if let StoreReply::Joined { node, .. } = reply {
            self.net.nodes.push((node, from.host));
        }
        reply
    }

    fn answer(
        &mut self,
        from: Caller,
        call: sluice_engine::Ask,
        result: Result<StoreReply, StoreFault>,
    ) {
        if self.hosts[from.host].life == from.life {
            self.give(from.host, Event::Store { call, result });
        }
    }

    pub(crate) fn store(&mut self, nth: u8, fate: Fate) {
        let Some(at) = pick(&self.net.sent, nth) else { return };
        let Sent { from, call, op } = self.net.sent.remove(at);
        self.trace(|| format!("store: call {call} of engine {} meets {fate:?}", from.host));
        match fate {
            Fate::Answer => {
                let reply = self.serve(from, &op);
                self.answer(from, call, Ok(reply));
            }
            Fate::Hold => {
                let reply = self.serve(from, &op);
                self.net.answers.push(Answer { from, call, reply });
            }
            Fate::Twice => {
                self.serve(from, &op);
                let reply = self.serve(from, &op);
                self.answer(from, call, Ok(reply));
            }
            Fate::Lose { again } => {
                self.serve(from, &op);
                if again {
                    self.net.late.push(op);
                }
                self.answer(from, call, Err(StoreFault::Unknown));
            }
            Fate::Refuse => self.answer(from, call, Err(StoreFault::Refused)),
            Fate::Late => {
                self.net.late.push(op);
                self.answer(from, call, Err(StoreFault::Unknown));
            }
        }
    }

    pub(crate) fn deliver_answer(&mut self, nth: u8) {
        let Some(at) = pick(&self.net.answers, nth) else { return };
        let Answer { from, call, reply } = self.net.answers.remove(at);
        self.answer(from, call, Ok(reply));
    }

    pub(crate) fn apply_late(&mut self, nth: u8, keep: bool) {
        let Some(at) = pick(&self.net.late, nth) else { return };
        let op = if keep { self.net.late[at].clone() } else { self.net.late.remove(at) };
        self.trace(|| format!("late: {op:?}"));
        let reply = self.apply(&op);
        let seen = &mut self.reference.seen;
        let lost = reply == StoreReply::Lost && node_of(&op).is_some();
        seen.note_if(lost, "late operation of a lost session");
        if let StoreOp::Enter(_) = op {
            seen.note_if(reply == StoreReply::Left, "late enter after its leave");
            seen.note_if(matches!(reply, StoreReply::Held { .. }), "late enter finds a slot");
        }
    }

    pub(crate) fn hint(&mut self, nth: u8, keep: bool) {
        let Some(at) = pick(&self.net.hints, nth) else { return };
        let grant = if keep { self.net.hints[at] } else { self.net.hints.remove(at) };
        if let Some(host) = self.net.host_of(grant.lease.node) {
            self.give(host, Event::Granted { lease: grant.lease, gate: grant.gate });
        }
    }

    pub(crate) fn bill(&mut self, nth: u8, denied: bool) {
        let Some(at) = pick(&self.net.billing, nth) else { return };
        let (key, _) = self.net.billing.remove(at);
        let denial = Denial { retry_after: Some(Span::from_secs(9)) };
        let result = if denied { Err(denial) } else { Ok(()) };
        if self.hosts[key.host].life == key.life {
            self.give(key.host, Event::Billing { req: key.req, result });
        }
    }

    /// Its name, unless the engine is down.
    pub(crate) fn arrive(&mut self, nth: usize, spec: RequestSpec) -> Option<Key> {
        let host = &mut self.hosts[nth];
        host.engine.as_ref()?;
        let key = Key { host: nth, life: host.life, req: RequestId(host.next_request) };
        host.next_request += 1;
        self.give(nth, Event::Arrived { req: key.req, spec });
        Some(key)
    }

    fn abandon(&mut self, nth: u8) {
        // The last few of those that have finished may be abandoned too.
        let known: Vec<Key> = self.reference.lives.keys().rev().take(12).copied().collect();
        let live = |key: &Key| self.reference.lives[key].finished.is_none();
        let live: Vec<Key> = known.iter().copied().filter(live).collect();
        let of = if nth % 8 == 7 || live.is_empty() { known } else { live };
        let Some(at) = pick(&of, nth / 2) else { return };
        let key = of[at];
        if self.hosts[key.host].life == key.life {
            self.give(key.host, Event::Abandoned { req: key.req });
        }
    }

    pub(crate) fn started(&mut self, nth: u8) {
        let flights = &self.reference.capacity.flights;
        let fresh: Vec<_> = flights.iter().filter(|f| !f.started).copied().collect();
        if let Some(at) = pick(&fresh, nth) {
            let flight = fresh[at];
            let (req, attempt) = (flight.key.req, flight.attempt);
            self.give(flight.key.host, Event::Started { req, attempt });
        }
    }

    pub(crate) fn end(&mut self, nth: u8, outcome: Outcome) {
        let Some(at) = pick(&self.reference.capacity.flights, nth) else { return };
        let flight = self.reference.capacity.flights[at];
        let outcome = fitting(outcome, flight.started, flight.cancelled && nth.is_multiple_of(2));
        let (req, attempt) = (flight.key.req, flight.attempt);
        self.give(flight.key.host, Event::Ended { req, attempt, outcome });
    }

    /// When an engine wants to be woken next, on the world's clock.
    pub(crate) fn timeout(&self, nth: usize) -> Option<Time> {
        let (at, _) = self.hosts[nth].engine.as_ref()?.next_timeout()?;
        Some(at - HOST_EPOCHS[nth])
    }

    fn wake(&mut self, nth: usize, early: bool) {
        let Some(at) = self.timeout(nth) else { return };
        let at = if early { at - Span(1) } else { at };
        self.jump(at);
        self.give(nth, Event::Tick);
    }

    /// Time passes, and nobody is woken meanwhile.
    fn jump(&mut self, to: Time) {
        let from = self.now;
        self.now = from.max(to);
        self.reference.frozen = self.reference.frozen + self.now.since(from);
    }

    /// Time passes; everybody is woken when due.
    pub(crate) fn advance(&mut self, until: Time) {
        let mut spins = 0;
        while let Some((at, nth)) =
            (0..self.hosts.len()).filter_map(|nth| Some((self.timeout(nth)?, nth))).min()
        {
            if at > until {
                break;
            }
            spins = if at > self.now { 0 } else { spins + 1 };
            if spins > 2_000 {
                return self.reference.complain(format!("engine {nth} wants ticks without end"));
            }
            self.now = self.now.max(at);
            self.give(nth, Event::Tick);
            if self.prompt {
                self.flush_hints();
            }
        }
        self.now = self.now.max(until);
    }

    fn flush_hints(&mut self) {
        while !self.net.hints.is_empty() {
            self.hint(0, false);
        }
    }

    /// Everything on its way arrives, and everything that follows from it.
    pub(crate) fn flush(&mut self) {
        for _ in 0..ACTIONS_MAX {
            if !self.net.answers.is_empty() {
                self.deliver_answer(0);
            } else if !self.net.sent.is_empty() {
                self.store(0, Fate::Answer);
            } else if !self.net.hints.is_empty() {
                self.hint(0, false);
            } else if !self.net.billing.is_empty() {
                self.bill(0, false);
            } else {
                return;
            }
        }
        self.reference.complain("the network never comes to rest".into());
    }

    pub(crate) fn crash(&mut self, nth: usize) {
        if self.hosts[nth].engine.take().is_none() {
            return;
        }
        self.trace(|| format!("engine {nth} crashes"));
        self.reference.crashed(nth);
        self.net.billing.retain(|(key, _)| key.host != nth);
        self.net.answers.retain(|answer| answer.from.host != nth);
        // What it had sent may still be applied: it lies in a dead socket.
        let sent = std::mem::take(&mut self.net.sent);
        let (of_it, others): (Vec<_>, Vec<_>) =
            sent.into_iter().partition(|sent| sent.from.host == nth);
        self.net.sent = others;
        self.net.late.extend(of_it.into_iter().map(|sent| sent.op));
        self.reference.seen.note("crash");
    }

    pub(crate) fn change(&mut self, change: Change, to: [bool; 2]) {
        let mut roster = Roster::clone(&self.roster);
        roster.version.stamp += 1;
        let shape = &self.shape;
        match change {
            Change::AccountLimit { account: nth, limit } => {
                let id = account(usize::from(nth) % shape.accounts.len());
                roster.accounts.get_mut(&id).expect("accounts stay listed").limit = limit;
            }
            Change::UserLimit { user: nth, limit } => {
                let id = user(usize::from(nth) % shape.users.len());
                roster.users.insert(id, User { limit });
            }
            Change::Member { pool, account: nth } => {
                let id = account(usize::from(nth) % shape.accounts.len());
                let key = pool_key(usize::from(pool) % shape.pools.len());
                let members = &mut roster.pools.get_mut(&key).expect("pools stay listed").members;
                match members.iter().position(|member| *member == id) {
                    Some(at) => drop(members.remove(at)),
                    None => members.push(id),
                }
            }
        }
        self.roster = Arc::new(roster);
        for nth in (0..self.hosts.len()).filter(|nth| to[*nth]) {
            self.reload(nth);
        }
    }

    pub(crate) fn reload(&mut self, nth: usize) {
        self.give(nth, Event::Roster(Arc::clone(&self.roster)));
    }

    pub(crate) fn spec(&self, user_nth: u8, pool: u8, session: Option<u8>) -> RequestSpec {
        let key = pool_key(usize::from(pool) % self.shape.pools.len());
        RequestSpec {
            user: user(usize::from(user_nth) % self.shape.users.len()),
            group: key.group,
            platform: key.platform,
            model: MODEL,
            // Sessions are scoped by group, as the runtime's keys are.
            session: session.map(|nth| {
                let mut bytes = [nth; 16];
                bytes[0] = u8::try_from(key.group.0).expect("there are few groups");
                SessionKey(bytes)
            }),
            stream: user_nth.is_multiple_of(2),
            warmup: false,
        }
    }

    /// Does one step. `Heal` is [`World::heal`].
    pub(crate) fn step(&mut self, step: &Step) {
        self.trace(|| format!("== {step:?}"));
        match *step {
            Step::Arrive { host, user, pool, session, warmup } => {
                let spec = RequestSpec { warmup, ..self.spec(user, pool, session) };
                self.arrive(self.host(host), spec);
            }
            Step::Abandon { nth } => self.abandon(nth),
            Step::Store { nth, fate } => self.store(nth, fate),
            Step::Answer { nth } => self.deliver_answer(nth),
            Step::Late { nth, keep } => self.apply_late(nth, keep),
            Step::Hint { nth, keep } => self.hint(nth, keep),
            Step::LoseHint { nth } => {
                if let Some(at) = pick(&self.net.hints, nth) {
                    self.net.hints.remove(at);
                }
            }
            Step::Started { nth } => self.started(nth),
            Step::End { nth, outcome } => self.end(nth, outcome),
            Step::Bill { nth, denied } => self.bill(nth, denied),
            Step::Advance { ms, frozen } => {
                let until = self.now + Span::from_ms(u64::from(ms));
                if frozen { self.jump(until) } else { self.advance(until) }
            }
            Step::Wake { host, early } => self.wake(self.host(host), early),
            Step::Prompt(prompt) => self.prompt = prompt,
            Step::Flush => self.flush(),
            Step::Change { change, to } => self.change(change, to),
            Step::Reload { host } => self.reload(self.host(host)),
            Step::Crash { host } => self.crash(self.host(host)),
            Step::Restart { host } => self.start(self.host(host)),
            Step::Heal => self.heal(),
        }
        self.check_ledger();
    }
}

/// What carries out an engine's actions.
struct Wire<'a> {
    world: &'a mut World,
    host: usize,
    actions: u32,
}

impl Executor for Wire<'_> {
    fn execute(&mut self, _now: Time, action: Action) -> Option<Event> {
        let (world, host) = (&mut *self.world, self.host);
        self.actions += 1;
        assert!(self.actions < ACTIONS_MAX, "one event leads to actions without end");
        world.trace(|| {
            if let Action::Finish { req, verdict, .. } = &action {
                return format!("engine {host} > Finish {req} {verdict:?}");
            }
            format!("engine {host} > {action:?}")
        });
        world.reference.action(host, world.now, &action);
        let from = Caller { host, life: world.hosts[host].life };
        let answer = match action {
            Action::Store { call, op } if world.prompt => {
                let reply = world.serve(from, &op);
                Some(Event::Store { call, result: Ok(reply) })
            }
            Action::Store { call, op } => {
                world.net.sent.push(Sent { from, call, op });
                None
            }
            Action::CheckBilling { req, .. } if world.prompt => {
                Some(Event::Billing { req, result: Ok(()) })
            }
            Action::CheckBilling { req, user } => {
                world.net.billing.push((Key { host, life: from.life, req }, user));
                None
            }
            Action::Forward { .. }
            | Action::Cancel { .. }
            | Action::Ping { .. }
            | Action::Finish { .. } => None,
        };
        if let Some(event) = &answer {
            world.reference.event(host, world.now, event);
            world.trace(|| format!("engine {host} < {event:?} at once"));
        }
        answer
    }
}

/// An outcome that an attempt at this stage can have.
fn fitting(outcome: Outcome, started: bool, cancelled: bool) -> Outcome {
    if outcome == Outcome::Completed && cancelled {
        Outcome::Cancelled
    } else if outcome == Outcome::Truncated && !started {
        Outcome::Unreachable
    } else if outcome == Outcome::Unreachable && started {
        Outcome::Truncated
    } else {
        outcome
    }
}

fn more_room(tamper: Tamper, op: &mut StoreOp) {
    let more = |limit: &mut Limit| {
        if let Limit::Slots(n) = limit {
            *n += 1;
        }
    };
    match (tamper, op) {
        (Tamper::AccountRoom, StoreOp::Define(define)) => {
            define.accounts.iter_mut().for_each(|account| more(&mut account.limit));
        }
        (Tamper::UserRoom, StoreOp::Enter(enter)) => {
            if let Want::User { limit, .. } = &mut enter.want {
                more(limit);
            }
        }
        _ => {}
    }
}

fn false_held(op: &StoreOp, reply: StoreReply) -> StoreReply {
    match (op, reply) {
        (StoreOp::Enter(enter), StoreReply::Waiting { tag, .. }) if enter.lease.attempt.0 > 0 => {
            let gate = GateId::Account(account(0));
            StoreReply::Held { gate, tag, probe: false }
        }
        (_, reply) => reply,
    }
}
