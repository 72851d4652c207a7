//! One node: an engine's process with its clock, its mail, and its lives.

use std::sync::Arc;

use sluice_engine::rng::{Purpose, Seed};
use sluice_engine::{
    Alarm, Attempt, Engine, Event, Outcome, RequestId, Span, Time, drive::turn_with,
    engine::Config, journal::Journal, turn,
};
use sluice_storage::fate::Rates;

use super::hands::Hands;
use super::world::{Due, World};
use crate::history::What;
use crate::scenario::{Draw, NodeSpec};

/// What reaches a node. While it is frozen, mail piles up.
#[derive(Debug)]
pub(super) enum Mail {
    /// An event as it is.
    Event(Box<Event>),
    /// A request, by its index.
    Arrive(usize),
    /// A client's end, by its request's index.
    Leave(usize),
    /// An attempt's first semantic byte.
    First { req: RequestId, attempt: Attempt },
    /// An attempt's end.
    End { req: RequestId, attempt: Attempt, token: u64 },
    /// The tick that was asked for, or one that nobody asked for.
    Tick { token: Option<u64> },
    /// A roster, by its index.
    Reload(usize),
}

pub(super) struct Node {
    pub(super) engine: Option<Box<Engine>>,
    /// How many lives it has begun.
    pub(super) life: u32,
    pub(super) roster: usize,
    pub(super) frozen: bool,
    /// How often it was frozen.
    pub(super) spell: u32,
    backlog: Vec<Mail>,
    /// How its way to the store behaves, if not well.
    pub(super) rates: Option<Rates>,
    pub(super) late_max: Span,
    /// Operations sent, over all lives.
    pub(super) ops: u64,
    turns: u64,
    tick: Option<(Time, u64)>,
    /// Turns taken at one and the same moment.
    spin: (Time, u32),
    journal: Option<Journal>,
}

/// Turns between two looks of an engine at its own invariants.
const CHECK_EVERY: u64 = 16;
/// Ticks at one moment beyond which an engine is said to spin.
const SPIN_MAX: u32 = 1_000;
/// Events between two snapshots of a journal.
const JOURNAL_EVENTS: usize = 64;

impl Node {
    pub(super) const fn new(_: &NodeSpec) -> Self {
        Self {
            engine: None,
            life: 0,
            roster: 0,
            frozen: false,
            spell: 0,
            backlog: Vec::new(),
            rates: None,
            late_max: Span::ZERO,
            ops: 0,
            turns: 0,
            tick: None,
            spin: (Time::ZERO, 0),
            journal: None,
        }
    }

    pub(super) const fn up(&self) -> bool {
        self.engine.is_some()
    }
}

impl World<'_> {
    /// Starts a node's process.
    pub(super) fn launch(&mut self, index: usize) {
        let spec = &self.scenario.nodes[index];
        let node = &mut self.nodes[index];
        node.life += 1;
        let config = Config {
            instance: spec.instance(),
            seed: Seed(self.scenario.seed.0 ^ ((index as u64) << 32) ^ u64::from(node.life)),
            policy: self.scenario.policy.clone(),
        };
        let roster = Arc::clone(&self.rosters[node.roster]);
        node.engine = Some(Box::new(Engine::new(config, roster)));
        node.tick = None;
        node.journal = self.journal.then(|| Journal::new(JOURNAL_EVENTS, usize::MAX));
        let roster = node.roster;
        self.history.push(self.now, What::Launched { node: index, roster });
        self.turn(index, Event::Tick);
    }

    /// Ends a node's process with all it knows.
    pub(super) fn crash(&mut self, index: usize) {
        self.replay(index);
        let node = &mut self.nodes[index];
        node.engine = None;
        node.life += 1;
        node.frozen = false;
        node.spell += 1;
        node.backlog.clear();
        node.tick = None;
        let mine: Vec<_> =
            self.open.iter().filter(|(_, o)| o.node == index).map(|(&k, _)| k).collect();
        for (req, attempt) in mine {
            self.open.remove(&(req, attempt));
            self.history.push(self.now, What::Closed { node: index, req, attempt, outcome: None });
        }
        self.history.push(self.now, What::Crashed { node: index });
    }

    pub(super) fn freeze(&mut self, index: usize, until: Time) {
        let node = &mut self.nodes[index];
        node.frozen = true;
        node.spell += 1;
        let spell = node.spell;
        self.queue.push(until, Due::Thaw { node: index, spell });
        self.history.push(self.now, What::Froze { node: index });
    }

    pub(super) fn thaw(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.frozen = false;
        node.spell += 1;
        let mut backlog = std::mem::take(&mut node.backlog);
        self.history.push(self.now, What::Thawed { node: index });
        // What waits in the process' own queue comes after what its timer has to say, or before.
        if node.spell.is_multiple_of(2) {
            self.turn(index, Event::Tick);
        }
        for mail in backlog.drain(..) {
            self.read(index, mail);
        }
    }

    /// Gives mail to a node, or keeps it until the node can read it.
    pub(super) fn hand_over(&mut self, index: usize, mail: Mail) {
        let node = &mut self.nodes[index];
        if node.frozen {
            node.backlog.push(mail);
        } else if node.up() {
            self.read(index, mail);
        }
    }

    fn read(&mut self, index: usize, mail: Mail) {
        match mail {
            Mail::Event(event) => {
                self.note(index, &event);
                self.turn(index, *event);
            }
            Mail::Arrive(which) => {
                let arrival = &self.scenario.arrivals[which];
                let (req, spec) = (arrival.id, arrival.spec.clone());
                self.arrived[which] = self.nodes[index].life;
                self.history.push(self.now, What::Arrived { node: index, req });
                self.turn(index, Event::Arrived { req, spec });
            }
            Mail::Leave(which) => {
                let req = self.scenario.arrivals[which].id;
                if self.arrived[which] == self.nodes[index].life {
                    self.history.push(self.now, What::Abandoned { node: index, req });
                    self.turn(index, Event::Abandoned { req });
                }
            }
            Mail::First { req, attempt } => {
                if let Some(open) = self.open.get_mut(&(req, attempt))
                    && !open.started
                    && !open.cancelled
                {
                    open.started = true;
                    self.history.push(self.now, What::Started { node: index, req, attempt });
                    self.turn(index, Event::Started { req, attempt });
                }
            }
            Mail::End { req, attempt, token } => self.end(index, req, attempt, token),
            Mail::Tick { token } => {
                let asked = self.nodes[index].tick.map(|(_, token)| token);
                if token.is_none() || token == asked {
                    if token.is_some() {
                        self.nodes[index].tick = None;
                    }
                    self.turn(index, Event::Tick);
                }
            }
            Mail::Reload(roster) => {
                self.history.push(self.now, What::Reloaded { node: index, roster });
                self.nodes[index].roster = self.nodes[index].roster.max(roster);
                let roster = Arc::clone(&self.rosters[roster]);
                self.turn(index, Event::Roster(roster));
            }
        }
    }

    fn end(&mut self, index: usize, req: RequestId, attempt: Attempt, token: u64) {
        let key = (req, attempt);
        if self.open.get(&key).is_some_and(|open| open.token == token) {
            let outcome = self.open.remove(&key).map_or(Outcome::Cancelled, |open| open.outcome);
            let what = What::Closed { node: index, req, attempt, outcome: Some(outcome) };
            self.history.push(self.now, what);
            self.turn(index, Event::Ended { req, attempt, outcome });
        }
    }

    /// Writes down what an engine is told.
    pub(super) fn note(&mut self, node: usize, event: &Event) {
        let what = match event {
            Event::Store { call, result } => {
                What::Told { node, call: *call, result: result.clone() }
            }
            Event::Granted { lease, gate } => What::Hinted { node, lease: *lease, gate: *gate },
            Event::Billing { req, result } => What::Billed { node, req: *req, result: *result },
            Event::Ended { .. }
            | Event::Started { .. }
            | Event::Arrived { .. }
            | Event::Abandoned { .. }
            | Event::Roster(_)
            | Event::Policy(_)
            | Event::Tick => return,
        };
        self.history.push(self.now, what);
    }

    /// One turn of a node's engine.
    fn turn(&mut self, index: usize, event: Event) {
        let Some(mut engine) = self.nodes[index].engine.take() else { return };
        let now = self.now + self.scenario.nodes[index].offset;
        let mut journal = self.nodes[index].journal.take();
        let hands = &mut Hands { world: self, node: index };
        match &mut journal {
            None => turn(&mut engine, now, event, hands),
            Some(journal) => turn_with(&mut engine, now, event, hands, journal),
        }
        self.nodes[index].journal = journal;
        let wants = engine.next_timeout();
        self.nodes[index].turns += 1;
        if self.nodes[index].turns.is_multiple_of(CHECK_EVERY) {
            self.check_engine(index, &engine);
        }
        self.nodes[index].engine = Some(engine);
        self.schedule(index, wants.map(|(at, _)| at - self.scenario.nodes[index].offset));
        self.look_for_spin(index, wants);
    }

    fn schedule(&mut self, index: usize, wants: Option<Time>) {
        let node = &mut self.nodes[index];
        let wants = wants.map(|at| at.max(self.now));
        if node.tick.map(|(at, _)| at) != wants {
            node.tick = None;
            if let Some(at) = wants {
                let token = self.token();
                let node = &mut self.nodes[index];
                node.tick = Some((at, token));
                let mut d = Draw::of(self.scenario.seed.stream(
                    Purpose::Client,
                    1 << 32 | index as u64,
                    token,
                ));
                let late = Span(d.range(0, node.late_max.0));
                self.mail(at + late, index, Mail::Tick { token: Some(token) });
            }
        }
        let spurious = self.scenario.nodes[index].spurious;
        if spurious > 0 {
            let turns = self.nodes[index].turns;
            let stream = self.scenario.seed.stream(Purpose::Client, 2 << 32 | index as u64, turns);
            let mut d = Draw::of(stream);
            if d.thousandth(spurious) {
                self.mail(self.now + d.ms(0, 5), index, Mail::Tick { token: None });
            }
        }
    }

    fn look_for_spin(&mut self, index: usize, wants: Option<Alarm>) {
        let spin = &mut self.nodes[index].spin;
        *spin = if spin.0 == self.now { (self.now, spin.1 + 1) } else { (self.now, 0) };
        assert!(spin.1 < SPIN_MAX, "node {index} spins at {:?}: wants {wants:?}", self.now);
    }

    fn check_engine(&mut self, index: usize, engine: &Engine) {
        for how in engine.check_invariants() {
            let how = format!("engine of node {index}: {how}");
            self.history.push(self.now, What::Broken { how });
        }
    }

    /// Replays the journal of a node's life (I18).
    fn replay(&mut self, index: usize) {
        let Some(journal) = self.nodes[index].journal.take() else { return };
        if let Err(diverged) = journal.replay() {
            let how = format!("I18: journal of node {index}: {diverged}");
            self.history.push(self.now, What::Broken { how });
        }
    }

    /// Lets engines and ledger look at themselves.
    pub(super) fn check_all(&mut self) {
        for index in 0..self.nodes.len() {
            self.replay(index);
            if let Some(engine) = self.nodes[index].engine.take() {
                self.check_engine(index, &engine);
                self.nodes[index].engine = Some(engine);
            }
        }
        self.check_ledger();
    }
}
