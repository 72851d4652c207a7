//! What a scenario's faults do to the simulated network and its hosts.

use std::collections::{BTreeMap, BTreeSet};

use sluice_engine::store::HealthChange;
use sluice_engine::{AccountId, Span, StoreOp, Time};
use sluice_runtime_tokio::gateway::Phase;
use turmoil::Sim;

use super::cx::Cx;
use super::seen::Seen;
use super::store::{self, Memory};
use super::{CLIENTS, STORE, node_host, setup};
use crate::history::What;
use crate::scenario::{FaultKind, Place};

/// What is broken at present, and when it will be whole again.
pub(super) struct Faults {
    cx: Cx,
    next: usize,
    /// What is to be undone, by time; ties by the order in which it was done.
    later: BTreeMap<(Time, usize), Undo>,
    done: usize,
    /// Links that are cut or held, by whom.
    links: BTreeMap<usize, Vec<Link>>,
    down: BTreeSet<String>,
    operated: BTreeSet<AccountId>,
}

/// What is to be undone.
enum Undo {
    Links(usize),
    Frozen { node: usize, links: usize },
    Down(String),
    StoreDown { forget: bool },
    Closing(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Held,
    Cut,
}

/// One direction of one link.
#[derive(Clone, Debug)]
struct Link {
    from: String,
    to: String,
    way: Way,
}

impl Faults {
    pub(super) fn new(cx: &Cx) -> Self {
        Self {
            cx: cx.clone(),
            next: 0,
            later: BTreeMap::new(),
            done: 0,
            links: BTreeMap::new(),
            down: BTreeSet::new(),
            operated: BTreeSet::new(),
        }
    }

    /// Does what is due.
    pub(super) fn advance(&mut self, sim: &mut Sim<'_>, now: Time) {
        while let Some(entry) = self.later.first_entry()
            && entry.key().0 <= now
        {
            let undo = entry.remove();
            self.undo(sim, undo);
        }
        let cx = self.cx.clone();
        while let Some(fault) = cx.scenario.faults.get(self.next)
            && fault.at <= now
        {
            self.next += 1;
            self.fault(sim, now, &fault.kind);
        }
    }

    /// Makes everything whole, at once.
    pub(super) fn heal(&mut self, sim: &mut Sim<'_>) {
        self.next = self.cx.scenario.faults.len();
        for (_, undo) in std::mem::take(&mut self.later) {
            self.undo(sim, undo);
        }
        for account in std::mem::take(&mut self.operated) {
            self.operate(account, HealthChange::Recover);
        }
        // Every node learns the newest roster that any of them has.
        let newest = self.cx.nodes.iter().map(|node| node.roster.get()).max().unwrap_or(0);
        for node in 0..self.cx.nodes.len() {
            if self.cx.nodes[node].roster.get() < newest {
                self.cx.reload(node, newest);
            }
        }
    }

    fn fault(&mut self, sim: &mut Sim<'_>, now: Time, kind: &FaultKind) {
        match *kind {
            FaultKind::Cut { from, to, both, lasts } => {
                let mut links = self.between(from, to, Way::Cut);
                if both {
                    links.extend(self.between(to, from, Way::Cut));
                }
                let undo = Undo::Links(self.link(sim, links));
                self.undo_at(now + lasts, undo);
            }
            FaultKind::Hold { a, b, lasts } => {
                let links = self.both(a, b, Way::Held);
                let undo = Undo::Links(self.link(sim, links));
                self.undo_at(now + lasts, undo);
            }
            FaultKind::Freeze { node, lasts } => {
                self.cx.push(What::Froze { node });
                let mut links = self.both(Place::Node(node), Place::Clients, Way::Held);
                links.extend(self.both(Place::Node(node), Place::Store, Way::Held));
                for account in self.cx.accounts() {
                    links.extend(self.both(Place::Node(node), Place::Upstream(account), Way::Held));
                }
                let links = self.link(sim, links);
                self.undo_at(now + lasts, Undo::Frozen { node, links });
            }
            FaultKind::Crash { node, restart } => self.crash_node(sim, now, node, restart),
            FaultKind::Leave { node, drain, restart } => {
                self.tell(node, Phase::Draining);
                self.undo_at(now + drain, Undo::Closing(node));
                // As an operator's tool does that waits no longer.
                self.undo_at(now + drain + restart, Undo::Down(node_host(node)));
            }
            FaultKind::UpstreamDown { account, restart } => {
                self.crash(sim, &account.to_string());
                self.undo_at(now + restart, Undo::Down(account.to_string()));
            }
            FaultKind::Away { lasts, forget, refuses } => {
                self.cx.push(What::StoreAway(true));
                if refuses || forget {
                    self.crash(sim, STORE);
                    self.undo_at(now + lasts, Undo::StoreDown { forget });
                } else {
                    let mut links = Vec::new();
                    for node in 0..self.cx.nodes.len() {
                        links.extend(self.both(Place::Node(node), Place::Store, Way::Cut));
                    }
                    let undo = Undo::Links(self.link(sim, links));
                    self.undo_at(now + lasts, undo);
                    self.undo_at(now + lasts, Undo::StoreDown { forget: false });
                }
            }
            FaultKind::Clock { step_us } => {
                self.cx.memory.borrow_mut().step_us += step_us;
                self.cx.push(What::ClockStep(step_us));
            }
            FaultKind::Operator { account, change } => {
                self.operated.insert(account);
                self.operate(account, change);
            }
            FaultKind::Reload { node, roster } => self.cx.reload(node, roster),
            // These come of themselves on a network, or the gateway has no such thing.
            FaultKind::Rates { .. } | FaultKind::Grants { .. } | FaultKind::Ticks { .. } => {}
        }
    }

    fn undo(&mut self, sim: &mut Sim<'_>, undo: Undo) {
        match undo {
            Undo::Links(index) => self.unlink(sim, index),
            Undo::Frozen { node, links } => {
                self.unlink(sim, links);
                self.cx.push(What::Thawed { node });
            }
            Undo::Down(host) => {
                // One that is up has left in order, and ends now.
                self.crash(sim, &host);
                self.bounce(sim, &host);
            }
            Undo::StoreDown { forget } => {
                if forget {
                    let step_us = self.cx.memory.borrow().step_us.max(0);
                    self.cx.memory.replace(Memory::empty(self.cx.now.get(), step_us));
                    self.cx.push(What::Forgot);
                }
                self.cx.push(What::StoreAway(false));
                self.bounce(sim, STORE);
            }
            Undo::Closing(node) => self.tell(node, Phase::Closing),
        }
    }

    /// Tells a node how far its end has come, if it is up.
    fn tell(&self, node: usize, to: Phase) {
        if let Some(phase) = &*self.cx.nodes[node].phase.borrow() {
            let closing = to == Phase::Closing;
            self.cx.push(What::Seen(Seen::Told { node, closing }));
            phase.send_replace(to);
        }
    }

    fn undo_at(&mut self, at: Time, undo: Undo) {
        self.done += 1;
        self.later.insert((at, self.done), undo);
    }

    fn crash_node(&mut self, sim: &mut Sim<'_>, now: Time, node: usize, restart: Span) {
        self.crash(sim, &node_host(node));
        self.undo_at(now + restart, Undo::Down(node_host(node)));
    }

    fn crash(&mut self, sim: &mut Sim<'_>, host: &str) {
        if self.down.insert(host.to_owned()) {
            sim.crash(host);
            if let Some(node) = (0..self.cx.nodes.len()).find(|&node| node_host(node) == host) {
                self.cx.nodes[node].phase.replace(None);
                self.cx.nodes[node].reloads.replace(None);
                self.cx.nodes[node].state.set((0, 0, false));
                self.cx.push(What::Crashed { node });
            }
        }
    }

    fn bounce(&mut self, sim: &mut Sim<'_>, host: &str) {
        if self.down.remove(host) {
            sim.bounce(host);
        }
    }

    /// An operator speaks to the store.
    fn operate(&self, account: AccountId, change: HealthChange) {
        if !self.down.contains(STORE) {
            let op = StoreOp::Health { account: setup::account_of(account), model: None, change };
            store::apply(&self.cx, None, 0, op);
        }
    }

    fn both(&self, a: Place, b: Place, way: Way) -> Vec<Link> {
        let mut links = self.between(a, b, way);
        links.extend(self.between(b, a, way));
        links
    }

    fn between(&self, from: Place, to: Place, way: Way) -> Vec<Link> {
        let (from, to) = (host(from), host(to));
        vec![Link { from, to, way }]
    }

    fn link(&mut self, sim: &Sim<'_>, links: Vec<Link>) -> usize {
        self.done += 1;
        self.links.insert(self.done, links.clone());
        self.settle(sim, &links);
        self.done
    }

    fn unlink(&mut self, sim: &Sim<'_>, index: usize) {
        let links = self.links.remove(&index).unwrap_or_default();
        self.settle(sim, &links);
    }

    /// Gives these links the worst state that any fault wants for them.
    fn settle(&self, sim: &Sim<'_>, links: &[Link]) {
        for Link { from, to, .. } in links {
            let wanted = |a: &str, b: &str| {
                let all = self.links.values().flatten().filter(|l| l.from == a && l.to == b);
                all.map(|l| l.way).max()
            };
            let (there, back) = (wanted(from, to), wanted(to, from));
            let (from, to) = (from.as_str(), to.as_str());
            match (there, back) {
                (None, None) => sim.release(from, to),
                (Some(Way::Cut), Some(Way::Cut)) => sim.partition(from, to),
                (Some(Way::Cut), _) => {
                    sim.release(from, to);
                    sim.partition_oneway(from, to);
                }
                (_, Some(Way::Cut)) => {
                    sim.release(from, to);
                    sim.partition_oneway(to, from);
                }
                (Some(Way::Held), _) | (_, Some(Way::Held)) => {
                    sim.release(from, to);
                    sim.hold(from, to);
                }
            }
        }
    }
}

fn host(place: Place) -> String {
    match place {
        Place::Clients => CLIENTS.to_owned(),
        Place::Store => STORE.to_owned(),
        Place::Node(node) => node_host(node),
        Place::Upstream(account) => account.to_string(),
    }
}
