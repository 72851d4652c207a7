//! `Resync`: the store is told what a node really has.

use alloc::vec::Vec;

use super::gate::{GateIx, LineIx};
use super::history::{Ending, Way};
use super::{Key, Ledger};
use crate::ids::{Ask, GateId, LeaseId, ModelId, NodeId};
use crate::store::{
    Enter, HeldLease, Limit, PASSES_MAX, Resync, StoreReply, Version, WaitingLease, Want,
};

impl Ledger {
    #[cold]
    pub(super) fn resync(&mut self, resync: Resync) -> StoreReply {
        self.see(&resync);
        let Resync { node, ask, as_of, busy: _, held, waiting, last } = resync;
        for listed in held.into_iter().filter(|held| held.lease.node == node) {
            if self.is_news(listed.lease, ask) {
                self.hold(listed, ask);
            }
        }
        for listed in waiting.into_iter().filter(|waiting| waiting.lease.node == node) {
            if self.is_news(listed.lease, ask) {
                self.wait(listed, ask);
            }
        }
        if last {
            self.leave_orphans(node, as_of);
        }
        self.settle_all();
        StoreReply::Done
    }

    /// Notes the leases that the call lists as seen by its pass.
    fn see(&mut self, resync: &Resync) {
        let Some(record) = self.nodes.get_mut(&resync.node) else { return };
        let held = resync.held.iter().map(|held| held.lease);
        let waiting = resync.waiting.iter().map(|waiting| waiting.lease);
        let listed = resync.busy.iter().copied().chain(held).chain(waiting);
        let own = listed.filter(|lease| lease.node == resync.node);
        let seen = record.passes.entry(resync.as_of).or_default();
        seen.extend(own.map(|lease| (lease.request, lease.attempt)));
        while record.passes.len() > PASSES_MAX {
            record.passes.pop_first();
        }
    }

    /// Whether a call of that number may still change the lease.
    fn is_news(&self, id: LeaseId, ask: Ask) -> bool {
        !self.has_tombstone(id) && self.lease(id).is_none_or(|lease| lease.ask < ask)
    }

    fn hold(&mut self, held: HeldLease, ask: Ask) {
        let id = held.lease;
        let ix = self.gate_for(&held);
        match self.lease(id).map(|lease| lease.slot.map(|slot| slot.gate)) {
            None => self.begin(id, self.fresh(ask, held.tag)),
            Some(Some(gate)) if gate == ix => {
                self.with_lease(id, |lease| lease.ask = ask);
                self.claim(id);
                return;
            }
            Some(_) => {
                self.release(id, Ending::Declined);
            }
        }
        self.leave_line(id);
        self.with_lease(id, |lease| {
            lease.ask = ask;
            lease.tag = held.tag;
            lease.model = match held.gate {
                GateId::User(_) => ModelId(0),
                GateId::Account(_) => held.model,
            };
            lease.ttl = held.ttl;
        });
        if !self.gates.hot[ix as usize].has_room() {
            self.counters.over_limit += 1;
        }
        self.assign(id, ix, Way::Resynced);
    }

    fn gate_for(&mut self, held: &HeldLease) -> GateIx {
        match held.gate {
            GateId::User(user) => {
                let known = self.gates.find(held.gate);
                match (held.limit, known) {
                    (None, Some(ix)) => ix,
                    (limit, _) => {
                        let (limit, version) = limit.unwrap_or(UNKNOWN_LIMIT);
                        self.define_user(user, limit, version)
                    }
                }
            }
            GateId::Account(account) => self.make_account(account),
        }
    }

    fn wait(&mut self, waiting: WaitingLease, ask: Ask) {
        let WaitingLease { lease: id, want, tag, patience, ttl } = waiting;
        match &want {
            Want::Gate { account, .. } => {
                let ix = self.make_account(*account);
                self.idle.push(LineIx::Gate(ix));
            }
            Want::Pool { pool, .. } => {
                let ix = self.gates.make_pool(*pool);
                self.idle.push(LineIx::Pool(ix));
            }
            Want::User { .. } => {}
        }
        let wanted = self.wanted(&want);
        if self.lease(id).is_some_and(|lease| lease.slot.is_some()) {
            self.with_lease(id, |lease| lease.ask = ask);
            return;
        }
        let Some(wanted) = wanted else { return };
        if self.lease(id).is_some_and(|lease| lease.line != Some(wanted.line())) {
            self.leave_line(id);
        }
        let enter = Enter { lease: id, ask, want, tag: Some(tag), patience: Some(patience), ttl };
        self.describe(&enter, Some(tag), &wanted);
        self.with_lease(id, |lease| lease.ask = ask);
        if self.lease(id).is_some_and(|lease| lease.line.is_none()) {
            self.join_line(id, wanted.line());
        }
    }

    fn leave_orphans(&mut self, node: NodeId, as_of: Ask) {
        let Some(record) = self.nodes.get(&node) else { return };
        let orphan = |key: &Key| LeaseId { node, request: key.0, attempt: key.1 };
        let leases = record.leases.iter();
        let seen = |key: &Key| record.passes.get(&as_of).is_some_and(|seen| seen.contains(key));
        let unseen = leases.filter(|(key, lease)| lease.ask <= as_of && !seen(key));
        let orphans: Vec<LeaseId> = unseen.map(|(key, _)| orphan(key)).collect();
        for lease in orphans {
            self.counters.leases_orphaned += 1;
            self.take_away(lease, Ending::Orphaned);
        }
    }
}

/// For a user's slot that comes without its limit: below every roster's.
const UNKNOWN_LIMIT: (Limit, Version) = (Limit::Closed, Version { stamp: 0, digest: 0 });
