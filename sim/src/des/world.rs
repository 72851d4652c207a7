//! The world and its main loop: what comes next, to whom, and when it is over.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use sluice_engine::ledger::LineView;
use sluice_engine::{
    AccountId, Ask, Attempt, Event, Outcome, RequestId, Roster, Span, StoreOp, Time,
};

use super::node::{Mail, Node};
use super::queue::Queue;
use super::store::StoreHost;
use crate::history::{History, What};
use crate::scenario::Scenario;

/// What is still to happen.
#[derive(Debug)]
pub(super) enum Due {
    /// Mail for a node, if it still lives this life of its.
    Mail { node: usize, life: u32, mail: Mail },
    /// A request reaches its node, whatever life it lives.
    Arrive(usize),
    /// Its client goes away.
    Leave(usize),
    /// An operation reaches the store.
    Apply(Flight),
    /// Something goes wrong.
    Fault(usize),
    /// A node starts again.
    Restart { node: usize, life: u32 },
    /// A node goes on.
    Thaw { node: usize, spell: u32 },
    /// The store comes back.
    Back { spell: u32, forget: bool },
    /// The safety phase ends.
    Heal,
    /// Is everything at rest?
    Look,
}

/// An operation on its way to the store.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) node: usize,
    pub(super) life: u32,
    pub(super) call: Ask,
    pub(super) op: Rc<StoreOp>,
    /// The answer takes so long; without it the sender has been or will be told otherwise.
    pub(super) back: Option<Span>,
    /// When the sender gives up if the store is away on arrival.
    pub(super) timeout: Time,
}

/// An upstream attempt that is open.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) account: AccountId,
    pub(super) node: usize,
    pub(super) outcome: Outcome,
    pub(super) started: bool,
    pub(super) cancelled: bool,
    /// The end that is under way; others are void.
    pub(super) token: u64,
}

pub(super) struct World<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) now: Time,
    pub(super) queue: Queue<Due>,
    pub(super) nodes: Vec<Node>,
    pub(super) store: StoreHost,
    pub(super) open: BTreeMap<(RequestId, Attempt), Open>,
    pub(super) rosters: Vec<Arc<Roster>>,
    pub(super) history: &'a mut History,
    pub(super) healed: bool,
    pub(super) tokens: u64,
    /// Operations on their way to the store.
    pub(super) flights: u32,
    /// In which life of its node each request arrived; 0 if it did not.
    pub(super) arrived: Vec<u32>,
    /// Whether engines are journalled.
    pub(super) journal: bool,
}

/// Between two looks whether everything is at rest.
const LOOK: Span = Span::from_ms(500);
/// What convergence may take beyond all waits and attempts: sessions, reaping, joining.
const CONVERGENCE: Span = Span::from_secs(60);

/// Runs a scenario to its end. The history is filled as it happens, so that it tells the story even
/// if the run panics.
///
/// With `journal`, every engine's life is journalled and replayed at its end (I18).
pub fn run(scenario: &Scenario, journal: bool, history: &mut History) {
    let mut world = World {
        scenario,
        now: Time::ZERO,
        queue: Queue::new(),
        nodes: scenario.nodes.iter().map(Node::new).collect(),
        store: StoreHost::new(),
        open: BTreeMap::new(),
        rosters: scenario.rosters.iter().cloned().map(Arc::new).collect(),
        history,
        healed: false,
        tokens: 0,
        flights: 0,
        arrived: vec![0; scenario.arrivals.len()],
        journal,
    };
    for node in 0..world.nodes.len() {
        world.launch(node);
    }
    for (index, arrival) in scenario.arrivals.iter().enumerate() {
        world.queue.push(arrival.at, Due::Arrive(index));
        if let Some(leaves) = arrival.leaves {
            world.queue.push(arrival.at + leaves, Due::Leave(index));
        }
    }
    for (index, fault) in scenario.faults.iter().enumerate() {
        world.queue.push(fault.at, Due::Fault(index));
    }
    world.queue.push(scenario.safety_end, Due::Heal);
    world.go();
}

impl World<'_> {
    fn go(&mut self) {
        let bound = self.bound();
        while let Some((at, due)) = self.queue.pop() {
            self.now = at;
            if at > bound {
                let why = self.restless().unwrap_or_default();
                self.history.push(at, What::Over { quiet: false, why });
                return;
            }
            if matches!(due, Due::Look) {
                match self.restless() {
                    Some(_) => self.queue.push(at + LOOK, Due::Look),
                    None => break,
                }
            } else {
                self.happen(due);
            }
        }
        self.check_all();
        self.history.push(self.now, What::Over { quiet: true, why: String::new() });
    }

    /// Everything must be at rest by then.
    fn bound(&self) -> Time {
        let policy = &self.scenario.policy;
        self.scenario.safety_end
            + policy.wait_total_max
            + policy.failover_time_max
            + self.scenario.longest_answer()
            + policy.reap_interval.unwrap_or(Span::ZERO)
            + CONVERGENCE
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Mail { node, life, mail } => {
                if self.nodes[node].life == life {
                    self.hand_over(node, mail);
                }
            }
            Due::Arrive(index) => {
                self.hand_over(self.scenario.arrivals[index].node, Mail::Arrive(index));
            }
            Due::Leave(index) => {
                if !self.healed {
                    self.hand_over(self.scenario.arrivals[index].node, Mail::Leave(index));
                }
            }
            Due::Apply(flight) => self.land(flight),
            Due::Fault(index) => self.fault(index),
            Due::Restart { node, life } => {
                if self.nodes[node].life == life && !self.nodes[node].up() {
                    self.launch(node);
                }
            }
            Due::Thaw { node, spell } => {
                if self.nodes[node].spell == spell {
                    self.thaw(node);
                }
            }
            Due::Back { spell, forget } => {
                if self.store.spell == spell {
                    self.store_back(forget);
                }
            }
            Due::Heal => self.heal(),
            Due::Look => {}
        }
    }

    /// What is not at rest, if anything.
    fn restless(&self) -> Option<String> {
        if !self.healed {
            return Some("faults".into());
        }
        if let Some(((req, attempt), open)) = self.open.first_key_value() {
            return Some(format!("{req}.{attempt} is open at {}", open.account));
        }
        if self.flights > 0 {
            return Some(format!("{} operations are on their way", self.flights));
        }
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(engine) = &node.engine else {
                return Some(format!("node {index} is down"));
            };
            if engine.live_requests() > 0 || engine.owed() > 0 {
                return Some(format!(
                    "node {index}: {} live requests, {} leaves owed",
                    engine.live_requests(),
                    engine.owed(),
                ));
            }
        }
        let busy = |v: &LineView| !v.held.is_empty() || !v.waiting.is_empty();
        let view = self.store.ledger.view();
        let line = view.iter().find(|v| busy(v))?;
        let held = line.held.iter().map(|(lease, ..)| lease.to_string());
        let waiting = line.waiting.iter().map(|(lease, ..)| lease.to_string());
        let who = held.chain(waiting).collect::<Vec<_>>().join(" ");
        Some(format!("the store keeps {:?}: {who}", line.line))
    }

    /// A number for something of which only the latest counts.
    pub(super) const fn token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    pub(super) fn mail(&mut self, at: Time, node: usize, mail: Mail) {
        let life = self.nodes[node].life;
        self.queue.push(at, Due::Mail { node, life, mail });
    }

    pub(super) fn mail_event(&mut self, at: Time, node: usize, event: Event) {
        self.mail(at, node, Mail::Event(Box::new(event)));
    }

    fn heal(&mut self) {
        self.healed = true;
        self.history.push(self.now, What::Healed);
        self.heal_store();
        for node in 0..self.nodes.len() {
            self.nodes[node].late_max = Span::ZERO;
            self.nodes[node].rates = None;
            if self.nodes[node].frozen {
                self.thaw(node);
            }
            if !self.nodes[node].up() {
                self.launch(node);
            }
        }
        // Every node learns the newest roster that any of them has.
        let newest = self.nodes.iter().map(|n| n.roster).max().unwrap_or(0);
        for node in 0..self.nodes.len() {
            if self.nodes[node].roster < newest {
                self.hand_over(node, Mail::Reload(newest));
            }
        }
        self.queue.push(self.now + LOOK, Due::Look);
    }
}
