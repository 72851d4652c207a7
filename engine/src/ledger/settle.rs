//! Slots change hands: assigning, granting in tag order, releasing, and what falls due.

use alloc::vec::Vec;

use super::gate::{GateIx, LineIx, PoolIx, Use};
use super::health::Door;
use super::history::{Ending, Fact, Way};
use super::{Key, Ledger, Slot};
use crate::ids::{GateId, LeaseId, ModelId, Tag};
use crate::store::{CLAIM_WINDOW, Discipline, Grant};

/// A ticket's place in order.
pub(super) type Place = (Tag, LeaseId);

impl Ledger {
    /// Hands free slots of the gate to the least tags that may have them.
    pub(super) fn settle(&mut self, ix: GateIx) {
        if self.discipline == Discipline::Settle {
            self.serve(ix, None, None);
        }
    }

    /// Grants free slots in order, to tickets before `until` only, and never to `but`.
    pub(super) fn serve(&mut self, ix: GateIx, until: Option<Place>, but: Option<LeaseId>) {
        while self.gates.hot[ix as usize].has_room() {
            if !self.lets_anybody_in(ix) {
                return;
            }
            let Some((_, lease)) = self.first_in_line(ix, until, but) else { return };
            self.assign(lease, ix, Way::Settled);
            self.grants.push(Grant { lease, gate: self.gates.gate(ix).id });
        }
    }

    /// A short cut: an account that is closed, or under probe, is so for every ticket.
    fn lets_anybody_in(&self, ix: GateIx) -> bool {
        let guarded = self.gates.hot[ix as usize].guarded;
        !guarded || self.gates.gate(ix).health.account.door(self.raw, None) == Door::Open
    }

    /// The least ticket among the gate's own line and its pools' that may have its slot now.
    fn first_in_line(
        &self,
        ix: GateIx,
        until: Option<Place>,
        but: Option<LeaseId>,
    ) -> Option<Place> {
        let gate = self.gates.gate(ix);
        let mut first = self.first_of(LineIx::Gate(ix), ix, until, but);
        let waited_for = |pool: &&PoolIx| !self.gates.pool(**pool).line.is_empty();
        for &pool in gate.pools.iter().filter(waited_for) {
            let other = self.first_of(LineIx::Pool(pool), ix, first.or(until), but);
            first = other.or(first);
        }
        first
    }

    /// The first ticket of one line, before `until`, that may have the gate's slot now.
    fn first_of(
        &self,
        line: LineIx,
        ix: GateIx,
        until: Option<Place>,
        but: Option<LeaseId>,
    ) -> Option<Place> {
        let tickets = self.gates.line(line).iter().copied();
        tickets
            .take_while(|place| until.is_none_or(|until| *place < until))
            .find(|(_, lease)| but != Some(*lease) && self.may_have(*lease, line, ix))
    }

    /// Whether this ticket of that line may have a slot of the gate now.
    pub(super) fn may_have(&self, id: LeaseId, line: LineIx, ix: GateIx) -> bool {
        let Some(lease) = self.lease(id) else { return false };
        if lease.slot.is_some() || self.clock >= lease.patience_ends {
            return false;
        }
        let excluded = match self.gates.gate(ix).id {
            GateId::Account(account) => lease.excluded.contains(&account),
            GateId::User(_) => false,
        };
        !excluded && self.gates.usable(ix, line, self.raw, (lease.model, Some(id))) == Use::Yes
    }

    /// Gives the lease a slot of the gate. A ticket leaves its line for it, but in `Poll`.
    pub(super) fn assign(&mut self, id: LeaseId, ix: GateIx, way: Way) {
        let leaves_line = way == Way::Settled || self.discipline == Discipline::Settle;
        let stamp = if way == Way::Resynced { 0 } else { self.draw() };
        let (clock, raw) = (self.clock, self.raw);
        let slot = |ttl: Option<crate::time::Span>| Slot {
            gate: ix,
            stamp,
            claim_by: (way == Way::Settled).then(|| clock + CLAIM_WINDOW),
            expires: ttl.map(|ttl| clock + ttl),
        };
        let assigned = self.with_lease(id, |lease| {
            lease.slot = Some(slot(lease.ttl));
            lease.since = raw;
            (lease.model, lease.tag, lease.line.take_if(|_| leaves_line))
        });
        let Some((model, tag, left)) = assigned else { return };
        if let Some(line) = left {
            self.out_of_line(id, line, tag);
        }
        let hot = &mut self.gates.hot[ix as usize];
        assert!(way == Way::Resynced || hot.has_room(), "I1: nobody is let in without room");
        hot.held += 1;
        if way != Way::Resynced {
            hot.last_assigned = stamp;
            self.begin_probes(id, ix, model);
        }
        self.note(|gates| {
            let (hot, gate) = (&gates.hot[ix as usize], gates.gate(ix).id);
            let (held, limit) = (hot.held, hot.limit);
            Fact::Granted { lease: id, gate, model, tag, way, held, limit }
        });
    }

    /// The lease is the probe of every half-open key it was granted under.
    fn begin_probes(&mut self, id: LeaseId, ix: GateIx, model: ModelId) {
        let GateId::Account(account) = self.gates.gate(ix).id else { return };
        if !self.gates.hot[ix as usize].guarded {
            return;
        }
        for of in [None, Some(model)] {
            let key = self.gates.gate_mut(ix).health.key_mut(of);
            if let Some(key) = key.filter(|key| key.half_open && key.probe.is_none()) {
                key.probe = Some(id);
                self.note(|_| Fact::Probing { account, model: of, lease: id });
            }
        }
    }

    /// Whether the lease is a half-open key's probe on this gate.
    pub(super) fn is_probe(&self, id: LeaseId, ix: GateIx) -> bool {
        let health = &self.gates.gate(ix).health;
        let mut keys = core::iter::once(&health.account).chain(health.models.values());
        self.gates.hot[ix as usize].guarded && keys.any(|key| key.probe == Some(id))
    }

    /// Takes the lease's slot away; the gate is to be settled afterwards. The lease stays known.
    pub(super) fn release(&mut self, id: LeaseId, how: Ending) -> Option<GateIx> {
        let slot = self.with_lease(id, |lease| lease.slot.take())??;
        Some(self.give_back(id, slot.gate, how))
    }

    /// The slot that the lease had is free.
    fn give_back(&mut self, id: LeaseId, ix: GateIx, how: Ending) -> GateIx {
        self.gates.hot[ix as usize].held -= 1;
        self.note(|gates| Fact::Ended { lease: id, gate: gates.gate(ix).id, how });
        self.end_probes(id, ix);
        if self.gates.hot[ix as usize].held == 0 {
            self.idle.push(LineIx::Gate(ix));
        }
        ix
    }

    fn end_probes(&mut self, id: LeaseId, ix: GateIx) {
        let GateId::Account(account) = self.gates.gate(ix).id else { return };
        if !self.gates.hot[ix as usize].guarded {
            return;
        }
        let health = &mut self.gates.gate_mut(ix).health;
        let mut ended = Vec::new();
        let models = health.models.iter_mut().map(|(model, key)| (Some(*model), key));
        for (of, key) in core::iter::once((None, &mut health.account)).chain(models) {
            if key.probe == Some(id) {
                key.probe = None;
                ended.push(of);
            }
        }
        for model in ended {
            self.note(|_| Fact::ProbeEnded { account, model });
        }
    }

    /// Takes the lease's ticket out of its line, wherever that is.
    pub(super) fn leave_line(&mut self, id: LeaseId) {
        let left = self.with_lease(id, |lease| Some((lease.line.take()?, lease.tag)));
        if let Some(Some((line, tag))) = left {
            self.out_of_line(id, line, tag);
        }
    }

    /// The ticket that the lease had is void.
    fn out_of_line(&mut self, id: LeaseId, line: LineIx, tag: Tag) {
        self.note(|gates| Fact::Unqueued { lease: id, line: Self::line_name(gates, line) });
        self.gates.dequeue(line, tag, id);
        if self.gates.line(line).is_empty() {
            self.idle.push(line);
        }
    }

    /// Puts a lease without slot and ticket into a line.
    pub(super) fn join_line(&mut self, id: LeaseId, line: LineIx) {
        let raw = self.raw;
        let joined = self.with_lease(id, |lease| {
            lease.line = Some(line);
            lease.since = raw;
            lease.tag
        });
        let Some(tag) = joined else { return };
        self.gates.enqueue(line, tag, id);
        self.note(|gates| Fact::Queued { lease: id, line: Self::line_name(gates, line), tag });
    }

    /// Takes everything away from a lease and forgets it. Settles what it frees.
    pub(super) fn remove(&mut self, id: LeaseId, how: Ending) {
        if let Some(ix) = self.take_away(id, how) {
            self.settle(ix);
        }
    }

    /// Takes everything away from a lease and forgets it; a gate that it frees is to be settled.
    pub(super) fn take_away(&mut self, id: LeaseId, how: Ending) -> Option<GateIx> {
        let node = self.nodes.get_mut(&id.node)?;
        let lease = node.leases.remove(&(id.request, id.attempt))?;
        if let Some(at) = lease.due() {
            self.due.remove(&(at, id));
        }
        if let Some(line) = lease.line {
            self.out_of_line(id, line, lease.tag);
        }
        lease.slot.map(|slot| self.give_back(id, slot.gate, how))
    }

    /// Gives the lease another place in order, also in its line.
    pub(super) fn retag(&mut self, id: LeaseId, tag: Tag) {
        let changed = self.lease(id).filter(|lease| lease.tag != tag);
        let Some((former, line)) = changed.map(|lease| (lease.tag, lease.line)) else { return };
        self.with_lease(id, |lease| lease.tag = tag);
        if let Some(line) = line {
            self.gates.dequeue(line, former, id);
            self.gates.enqueue(line, tag, id);
            self.note(|gates| Fact::Unqueued { lease: id, line: Self::line_name(gates, line) });
            self.note(|gates| Fact::Queued { lease: id, line: Self::line_name(gates, line), tag });
        }
    }

    /// Something of this lease has fallen due.
    #[cold]
    pub(super) fn lease_due(&mut self, id: LeaseId) {
        let Some(lease) = self.lease(id) else { return };
        let how = match lease.slot {
            Some(slot) if slot.passes_on() => {
                self.counters.grants_passed_on += 1;
                Ending::PassedOn
            }
            Some(_) => {
                self.counters.leases_expired += 1;
                Ending::Expired
            }
            None => Ending::Left,
        };
        self.remove(id, how);
    }

    /// All leases of a node, those that only wait first.
    pub(super) fn tickets_then_leases(&self, node: crate::ids::NodeId) -> Vec<LeaseId> {
        let Some(record) = self.nodes.get(&node) else { return Vec::new() };
        let id = |key: &Key| LeaseId { node, request: key.0, attempt: key.1 };
        let of = |held: bool| {
            let leases = record.leases.iter();
            leases.filter(move |(_, l)| l.slot.is_some() == held).map(move |(key, _)| id(key))
        };
        of(false).chain(of(true)).collect()
    }
}
