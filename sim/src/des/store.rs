//! The store's host and the network before it: operations that arrive late, twice, or not at all, a
//! ledger on a clock of its own, and pushed grants that may get lost.

use std::collections::BTreeMap;
use std::rc::Rc;

use sluice_engine::rng::Purpose;
use sluice_engine::store::{Grant, HealthChange};
use sluice_engine::{
    AccountId, Ask, Event, Ledger, NodeId, Span, StoreFault, StoreOp, StoreReply, Time,
    store::GAP_MAX,
};
use sluice_storage::fate::{Fate, Rates};

use super::node::Mail;
use super::world::{Due, Flight, World};
use crate::history::What;
use crate::scenario::Draw;

/// What the store's machine clock shows at the simulated time 0.
const BASE: Time = Time(1_700_000_000_000_000);
/// Operations between two looks of the ledger at its own invariants.
const CHECK_EVERY: u64 = 16;

pub(super) struct StoreHost {
    pub(super) ledger: Ledger,
    /// How far the machine clock was set, in microseconds.
    step_us: i64,
    raw: Time,
    clock: Time,
    /// While away: whether operations are refused at once.
    pub(super) away: Option<bool>,
    /// How often it went away.
    pub(super) spell: u32,
    grants: GrantNoise,
    owners: BTreeMap<NodeId, (usize, u32)>,
    pushed: u64,
    applied: u64,
    pub(super) operated: Vec<AccountId>,
}

/// How pushed grants fare.
#[derive(Clone, Copy, Default)]
pub(super) struct GrantNoise {
    pub(super) lost: u32,
    pub(super) twice: u32,
    pub(super) delay_max: Span,
}

impl StoreHost {
    pub(super) fn new() -> Self {
        let mut ledger = Ledger::new(BASE);
        ledger.record_history();
        Self {
            ledger,
            step_us: 0,
            raw: BASE,
            clock: BASE,
            away: None,
            spell: 0,
            grants: GrantNoise::default(),
            owners: BTreeMap::new(),
            pushed: 0,
            applied: 0,
            operated: Vec::new(),
        }
    }

    /// What the machine clock shows.
    const fn reading(&self, now: Time) -> Time {
        Time((BASE.0 + now.0).saturating_add_signed(self.step_us))
    }
}

impl World<'_> {
    /// An engine sends an operation.
    pub(super) fn send(&mut self, node: usize, call: Ask, op: StoreOp) -> Option<Event> {
        let op = Rc::new(op);
        self.history.push(self.now, What::Sent { node, call, op: Rc::clone(&op) });
        let spec = &self.scenario.nodes[node];
        let well = Rates::healthy(spec.delay_max);
        let rates = self.nodes[node].rates.unwrap_or(well);
        self.nodes[node].ops += 1;
        let n = self.nodes[node].ops;
        if let Some(refuses) = self.store.away {
            let (fault, told) = if refuses {
                (StoreFault::Refused, Span::from_ms(1))
            } else {
                (StoreFault::Unknown, rates.timeout)
            };
            self.tell_later(node, call, Err(fault), told);
            return None;
        }
        let fate = rates.fate(self.scenario.seed, node as u64, n);
        let timeout = self.now + rates.timeout;
        let life = self.nodes[node].life;
        let flight = |back| Flight { node, life, call, op: Rc::clone(&op), back, timeout };
        match fate {
            Fate::Answered { there, back, twice } => {
                let stream = self.scenario.seed.stream(Purpose::Client, 3 << 32 | node as u64, n);
                if !twice && Draw::of(stream).thousandth(spec.instant) {
                    let result = Ok(self.apply(Some(node), call, &op));
                    let answer = Event::Store { call, result };
                    self.note(node, &answer);
                    return Some(answer);
                }
                if there + back > rates.timeout {
                    self.launch_flight(there, flight(None));
                    self.tell_later(node, call, Err(StoreFault::Unknown), rates.timeout);
                    return None;
                }
                self.launch_flight(there, flight(Some(back)));
                if twice {
                    self.launch_flight(there + Span(back.0 / 2), flight(None));
                }
            }
            Fate::Refused { told } => self.tell_later(node, call, Err(StoreFault::Refused), told),
            Fate::Unknown { told, first, second } => {
                for after in [first, second].into_iter().flatten() {
                    self.launch_flight(after, flight(None));
                }
                self.tell_later(node, call, Err(StoreFault::Unknown), told);
            }
        }
        None
    }

    fn launch_flight(&mut self, after: Span, flight: Flight) {
        self.flights += 1;
        self.queue.push(self.now + after, Due::Apply(flight));
    }

    fn tell_later(
        &mut self,
        node: usize,
        call: Ask,
        result: Result<StoreReply, StoreFault>,
        after: Span,
    ) {
        self.mail_event(self.now + after, node, Event::Store { call, result });
    }

    /// An operation reaches the store.
    pub(super) fn land(&mut self, flight: Flight) {
        let Flight { node, life, call, op, back, timeout } = flight;
        self.flights -= 1;
        let result = if self.store.away.is_some() {
            Err(StoreFault::Unknown)
        } else {
            Ok(self.apply_for(Some((node, life)), call, &op))
        };
        // An answer is for the life that asked.
        if let Some(back) = back {
            let at = if result.is_ok() { self.now + back } else { timeout.max(self.now) };
            let mail = Mail::Event(Box::new(Event::Store { call, result }));
            self.queue.push(at, Due::Mail { node, life, mail });
        }
    }

    fn apply(&mut self, from: Option<usize>, call: Ask, op: &Rc<StoreOp>) -> StoreReply {
        self.apply_for(from.map(|node| (node, self.nodes[node].life)), call, op)
    }

    fn apply_for(&mut self, from: Option<(usize, u32)>, call: Ask, op: &Rc<StoreOp>) -> StoreReply {
        let reading = self.store.reading(self.now);
        if !matches!(**op, StoreOp::Survey { .. }) {
            let advance = reading.since(self.store.raw);
            self.store.raw = self.store.raw.max(reading);
            self.store.clock = self.store.clock + advance.min(GAP_MAX);
        }
        let (raw, clock) = (self.store.raw, self.store.clock);
        let sender = from.map(|(node, _)| node);
        let begin = What::Applying { from: sender, call, op: Rc::clone(op), raw, clock };
        self.history.push(self.now, begin);
        let (reply, grants) = self.store.ledger.apply(reading, (**op).clone());
        for entry in self.store.ledger.take_history() {
            self.history.push(self.now, What::Fact(entry));
        }
        let due = self.store.ledger.due_now();
        if let (StoreReply::Joined { node, .. }, Some(owner)) = (&reply, from) {
            self.store.owners.insert(*node, owner);
        }
        let op = Rc::clone(op);
        self.history
            .push(self.now, What::Applied { from: sender, call, op, reply: reply.clone(), due });
        for grant in grants {
            self.push_grant(grant);
        }
        self.store.applied += 1;
        if self.store.applied.is_multiple_of(CHECK_EVERY) {
            self.check_ledger();
        }
        reply
    }

    fn push_grant(&mut self, grant: Grant) {
        let Some(&(node, life)) = self.store.owners.get(&grant.lease.node) else { return };
        self.store.pushed += 1;
        let stream = self.scenario.seed.stream(Purpose::StoreFault, 1 << 40, self.store.pushed);
        let mut d = Draw::of(stream);
        let noise = self.store.grants;
        if d.thousandth(noise.lost) {
            return;
        }
        let copies = if d.thousandth(noise.twice) { 2 } else { 1 };
        let most = noise.delay_max + self.scenario.nodes[node].delay_max;
        for _ in 0..copies {
            let at = self.now + Span(d.range(0, most.0));
            let event = Event::Granted { lease: grant.lease, gate: grant.gate };
            let mail = Mail::Event(Box::new(event));
            self.queue.push(at, Due::Mail { node, life, mail });
        }
    }

    pub(super) const fn set_grants(&mut self, noise: GrantNoise) {
        self.store.grants = noise;
    }

    pub(super) fn store_away(&mut self, until: Time, forget: bool, refuses: bool) {
        self.store.away = Some(refuses);
        self.store.spell += 1;
        let spell = self.store.spell;
        self.history.push(self.now, What::StoreAway(true));
        self.queue.push(until, Due::Back { spell, forget });
    }

    pub(super) fn store_back(&mut self, forget: bool) {
        self.store.away = None;
        self.store.spell += 1;
        if forget {
            // Another machine: its clock is right, and it knows nothing.
            self.store.step_us = self.store.step_us.max(0);
            let start = self.store.reading(self.now);
            self.store.ledger = Ledger::new(start);
            self.store.ledger.record_history();
            (self.store.raw, self.store.clock) = (start, start);
            self.history.push(self.now, What::Forgot);
        }
        self.history.push(self.now, What::StoreAway(false));
    }

    pub(super) fn step_clock(&mut self, step_us: i64) {
        self.store.step_us += step_us;
        self.history.push(self.now, What::ClockStep(step_us));
    }

    /// The operator changes an account's health.
    pub(super) fn operate(&mut self, account: AccountId, change: HealthChange) {
        if self.store.away.is_none() {
            let op = Rc::new(StoreOp::Health { account, model: None, change });
            self.apply(None, Ask(0), &op);
            self.store.operated.push(account);
        }
    }

    pub(super) fn heal_store(&mut self) {
        self.store.grants = GrantNoise::default();
        if self.store.away.is_some() {
            self.store_back(false);
        }
        for account in std::mem::take(&mut self.store.operated) {
            self.operate(account, HealthChange::Recover);
        }
        self.store.operated.clear();
    }

    pub(super) fn check_ledger(&mut self) {
        for how in self.store.ledger.check_invariants() {
            self.history.push(self.now, What::Broken { how: format!("ledger: {how}") });
        }
    }
}
