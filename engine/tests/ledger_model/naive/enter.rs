//! `Enter`: the six steps of its contract, in their order.

use sluice_engine::ids::{GateId, LeaseId, Tag};
use sluice_engine::ledger::history::Line;
use sluice_engine::store::{Discipline, Enter, Limit, StoreReply, Want};
use sluice_engine::time::Span;

use super::{Lease, Naive, Place, Standing, Ticket, User, line_of, model_of};

impl Naive {
    pub(crate) fn enter(&mut self, enter: &Enter) -> StoreReply {
        let id = enter.lease;
        if !self.lives(id.node) {
            return StoreReply::Lost;
        }
        // 1
        if self.tombstones.iter().any(|(lease, until)| *lease == id && self.clock < *until) {
            return StoreReply::Left;
        }
        if self.lease(id).is_some_and(|lease| enter.ask <= lease.ask) {
            self.note("ask not above the known one");
            return self.report_unclaimed(id);
        }
        if self.define_user(&enter.want) {
            self.settle(gate_of(&enter.want).expect("a user's"));
        }
        // 2
        let tag = enter.tag.or_else(|| self.lease(id).map(|lease| lease.tag));
        let held = self.held_by(id).map(|held| held.gate);
        if let Some(gate) = held
            && self.standing(gate, &enter.want, Some(id)) == Standing::Open
        {
            if self.held_mut(id).expect("it holds").claim_by.take().is_some() {
                self.note("claimed");
            }
            let lease = self.lease_mut(id).expect("it holds");
            lease.ask = enter.ask;
            lease.tag = tag.expect("it has one");
            return self.report(id, None);
        }
        // 3
        let given_up = held;
        if self.held_by(id).is_some_and(|held| held.counted.is_some()) {
            self.note("a lease that counts in a line moves");
        }
        if given_up.is_some() {
            self.note("held elsewhere: given up");
            self.take(id);
        }
        let reply = self.find_place(enter, tag);
        if let Some(gate) = given_up {
            self.settle(gate);
        }
        reply
    }

    /// Steps 4 to 6, for a lease that waits or has nothing.
    fn find_place(&mut self, enter: &Enter, tag: Option<Tag>) -> StoreReply {
        let id = enter.lease;
        let candidates = self.candidates(&enter.want);
        // 4
        for gate in &candidates {
            if self.standing(*gate, &enter.want, Some(id)) != Standing::Open {
                continue;
            }
            self.serve_lesser_tags(*gate, id, tag);
            let still = self.standing(*gate, &enter.want, Some(id)) == Standing::Open;
            if still && self.has_room(*gate) {
                return self.hold_at_once(enter, *gate, tag);
            }
        }
        // 5
        let mut open_now = false;
        let mut opens_in: Option<Span> = None;
        for gate in &candidates {
            match self.standing(*gate, &enter.want, Some(id)) {
                Standing::Open | Standing::Probed => open_now = true,
                Standing::Closed(until) => {
                    let span = until.since(self.raw);
                    opens_in = Some(opens_in.map_or(span, |least| least.min(span)));
                }
                Standing::Never => {}
            }
        }
        if open_now {
            opens_in = None;
        }
        let patience = enter.patience.unwrap_or(Span::ZERO);
        if !open_now && opens_in.is_none_or(|span| span > patience) {
            if self.ticket_of(id).is_some() {
                self.note("Shut removed a ticket");
            }
            self.take(id);
            return StoreReply::Shut { opens_in };
        }
        // 6
        if let Some(lease) = self.lease_mut(id) {
            lease.ask = enter.ask;
        }
        let Some(line_max) = line_max_of(&enter.want) else { return self.full(id) };
        let line = line_of(&enter.want);
        let there = self.ticket_of(id).is_some_and(|ticket| line_of(&ticket.want) == line);
        if !there && self.line_length(line) >= line_max && enter.tag.is_none() {
            return self.full(id);
        }
        self.wait(enter, tag);
        self.report(id, opens_in)
    }

    fn full(&mut self, id: LeaseId) -> StoreReply {
        if self.ticket_of(id).is_some() {
            self.note("Full with an old ticket");
        }
        StoreReply::Full
    }

    /// Grants to those whom settling would serve here before this lease.
    fn serve_lesser_tags(&mut self, gate: GateId, id: LeaseId, tag: Option<Tag>) {
        if self.discipline == Discipline::Poll {
            return;
        }
        while self.has_room(gate) {
            let Some(first) = self.next_in_line(gate, Some(id)) else { return };
            if tag.is_some_and(|tag| (tag, id) < first) {
                return;
            }
            self.note("a lesser tag was served first");
            self.grant(first.1, gate);
        }
    }

    fn hold_at_once(&mut self, enter: &Enter, gate: GateId, tag: Option<Tag>) -> StoreReply {
        let id = enter.lease;
        let waited = self.ticket_of(id).map(|ticket| line_of(&ticket.want));
        self.leases.retain(|l| l.id != id);
        let tag = tag.unwrap_or_else(|| Tag(self.draw()));
        self.hold(id, enter.ask, tag, gate, model_of(&enter.want), enter.ttl);
        if self.discipline == Discipline::Poll {
            self.held_mut(id).expect("just held").counted = waited;
        }
        self.report(id, None)
    }

    fn wait(&mut self, enter: &Enter, tag: Option<Tag>) {
        let tag = tag.unwrap_or_else(|| Tag(self.draw()));
        let ticket = Ticket {
            want: enter.want.clone(),
            until: self.clock + enter.patience.unwrap_or(Span::ZERO),
            ttl: enter.ttl,
        };
        let place = Place::Waiting(ticket);
        self.leases.retain(|l| l.id != enter.lease);
        self.leases.push(Lease { id: enter.lease, ask: enter.ask, tag, place });
    }

    /// What the lease has; of a grant nothing is said but that there is something to wait for.
    fn report_unclaimed(&mut self, id: LeaseId) -> StoreReply {
        if self.held_by(id).is_some_and(|held| held.claim_by.is_some()) {
            self.note("a grant told as waiting");
            let tag = self.lease(id).expect("it has something").tag;
            return StoreReply::Waiting { position: 1, tag, opens_in: None };
        }
        self.report(id, None)
    }

    /// What the lease has.
    fn report(&mut self, id: LeaseId, opens_in: Option<Span>) -> StoreReply {
        let lease = self.lease(id).expect("it has something").clone();
        match lease.place {
            Place::Held(held) => {
                let probe = self.is_probe(id);
                if probe {
                    self.note("a probe");
                }
                StoreReply::Held { gate: held.gate, tag: lease.tag, probe }
            }
            Place::Waiting(ticket) => {
                let position = self.position(line_of(&ticket.want), (lease.tag, id));
                if opens_in.is_some() {
                    self.note("Waiting for an opening");
                }
                StoreReply::Waiting { position, tag: lease.tag, opens_in }
            }
        }
    }

    /// Where the want may be served, in the order of trying.
    fn candidates(&self, want: &Want) -> Vec<GateId> {
        match want {
            Want::User { .. } | Want::Gate { .. } => gate_of(want).into_iter().collect(),
            Want::Pool { pool, best, .. } => {
                let mut accounts: Vec<_> = best.iter().copied().collect();
                for account in self.ranked_members(*pool) {
                    if !accounts.contains(&account) {
                        accounts.push(account);
                    }
                }
                accounts.into_iter().map(GateId::Account).collect()
            }
        }
    }

    /// Everyone in the line: lease and tag.
    pub(crate) fn line(&self, line: Line) -> Vec<(Tag, LeaseId)> {
        let mut all = Vec::new();
        for lease in &self.leases {
            let counts = match &lease.place {
                Place::Held(held) => held.counted == Some(line),
                Place::Waiting(ticket) => line_of(&ticket.want) == line,
            };
            if counts {
                all.push((lease.tag, lease.id));
            }
        }
        all
    }

    pub(crate) fn line_length(&self, line: Line) -> u32 {
        self.line(line).len() as u32
    }

    fn position(&self, line: Line, me: (Tag, LeaseId)) -> u32 {
        self.line(line).into_iter().filter(|other| *other < me).count() as u32 + 1
    }

    /// A user's want defines the user's gate. Tells whether that raised the limit.
    pub(crate) fn define_user(&mut self, want: &Want) -> bool {
        let Want::User { user, limit, version, .. } = want else { return false };
        let Some(known) = self.users.iter_mut().find(|u| u.id == *user) else {
            self.users.push(User { id: *user, limit: *limit, version: *version });
            return false;
        };
        if *version < known.version {
            self.notes.push("an older roster's user limit");
            return false;
        }
        let raised = proper(*limit) > proper(known.limit);
        known.limit = *limit;
        known.version = *version;
        raised
    }

    pub(crate) fn lease_mut(&mut self, id: LeaseId) -> Option<&mut Lease> {
        self.leases.iter_mut().find(|l| l.id == id)
    }
}

/// The one gate that is wanted, if it is one.
fn gate_of(want: &Want) -> Option<GateId> {
    match want {
        Want::User { user, .. } => Some(GateId::User(*user)),
        Want::Gate { account, .. } => Some(GateId::Account(*account)),
        Want::Pool { .. } => None,
    }
}

fn line_max_of(want: &Want) -> Option<u32> {
    match want {
        Want::User { line_max, .. } | Want::Gate { line_max, .. } => Some(*line_max),
        Want::Pool { line_max, .. } => *line_max,
    }
}

/// `Slots(0)` is `Closed` under another name: nobody is to notice a difference.
pub(crate) fn proper(limit: Limit) -> Limit {
    if limit == Limit::Slots(0) { Limit::Closed } else { limit }
}
