//! Everything gets well: engines are started, the newest roster is given to all, everything on its
//! way arrives, attempts complete, and time passes. Then nobody may be left and nothing be held.

use sluice_engine::{Outcome, Span, Time};

use super::world::World;

/// Longer than a lease of the `seed` preset, with its reap, or an audit.
const REST_MAX: Span = Span::from_secs(20 * 60);

impl World {
    pub(crate) fn heal(&mut self) {
        let prompt = std::mem::replace(&mut self.prompt, true);
        self.come_to_rest();
        self.prompt = prompt;
    }

    fn come_to_rest(&mut self) {
        for host in 0..self.reference.hosts.len() {
            self.start(host);
            self.reload(host);
        }
        self.settle_down();
        while !self.net.late.is_empty() {
            self.apply_late(0, false);
        }
        let end = self.now + REST_MAX;
        while self.now < end && self.reference.complaints.is_empty() {
            self.settle_down();
            if self.at_rest() {
                self.reference.seen.note("healed");
                return self.check_ledger();
            }
            let next = self.next_timeout().unwrap_or(end).max(self.now + Span(1));
            self.advance(next.min(end));
        }
        if self.reference.complaints.is_empty() {
            let why = self.unrest();
            self.reference.complain(format!("does not come to rest: {why}"));
        }
    }

    /// Everything that can happen now happens.
    fn settle_down(&mut self) {
        loop {
            self.flush();
            if self.reference.capacity.flights.is_empty() || !self.reference.complaints.is_empty() {
                return;
            }
            self.end(1, Outcome::Completed);
        }
    }

    fn next_timeout(&self) -> Option<Time> {
        self.engines().filter_map(|(nth, _)| self.timeout(nth)).min()
    }

    fn at_rest(&self) -> bool {
        self.net.quiet()
            && self.reference.live().next().is_none()
            && self.engines().all(|(_, engine)| engine.owed() == 0 && engine.node().is_some())
            && self.ledger().view().iter().all(|l| l.held.is_empty() && l.waiting.is_empty())
    }

    fn unrest(&self) -> String {
        let live: Vec<_> = self.reference.live().collect();
        let owed: Vec<_> = self.engines().map(|(_, engine)| engine.owed()).collect();
        let nodes: Vec<_> = self.engines().map(|(_, engine)| engine.node()).collect();
        let view = self.ledger().view();
        format!("live {live:?}, owed {owed:?}, nodes {nodes:?}, ledger {view:?}")
    }
}
