//! `Resync`: the store is told what a node really has.

use alloc::vec::Vec;

use super::gate::GateIx;
use super::history::{Ending, Way};
use super::{Key, Ledger};
use crate::ids::{Ask, GateId, LeaseId, NodeId};
use crate::store::{Enter, HeldLease, Limit, Resync, StoreReply, Version, WaitingLease, Want};

impl Ledger {
    pub(super) fn resync(&mut self, resync: Resync) -> StoreReply {
        let Resync { node, ask, as_of, busy, held, waiting, last } = resync;
        self.spare(node, as_of, busy);
        for lease in held.into_iter().filter(|held| held.lease.node == node) {
            if self.is_news(lease.lease, ask) {
                self.hold(lease, ask);
            }
            self.with_lease(lease.lease, |lease| lease.seen = lease.seen.max(as_of));
        }
        for lease in waiting.into_iter().filter(|waiting| waiting.lease.node == node) {
            let id = lease.lease;
            if self.is_news(id, ask) {
                self.wait(lease, ask);
            }
            self.with_lease(id, |lease| lease.seen = lease.seen.max(as_of));
        }
        if last {
            self.leave_orphans(node, as_of);
        }
        self.settle_all();
        StoreReply::Done
    }

    /// Notes busy leases as seen. The first ask of one may yet arrive before the pass is over.
    fn spare(&mut self, node: NodeId, as_of: Ask, busy: Vec<LeaseId>) {
        let mut absent = Vec::new();
        for lease in busy.into_iter().filter(|lease| lease.node == node) {
            let seen = self.with_lease(lease, |lease| lease.seen = lease.seen.max(as_of));
            if seen.is_none() {
                absent.push(((lease.request, lease.attempt), as_of));
            }
        }
        if let Some(record) = self.nodes.get_mut(&node) {
            record.awaited.retain(|_, seen| *seen >= as_of);
            record.awaited.extend(absent);
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
            None => self.create(id, ask, held.tag),
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
            lease.model = held.model;
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
        let slot = self.lease(id).map(|lease| lease.slot.is_some());
        if slot == Some(true) {
            self.with_lease(id, |lease| lease.ask = ask);
            return;
        }
        match &want {
            Want::Gate { account, .. } => {
                self.make_account(*account);
            }
            Want::Pool { pool, .. } => {
                self.gates.make_pool(*pool);
            }
            Want::User { .. } => {}
        }
        let Some(wanted) = self.wanted(&want) else { return };
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
        let unseen = leases.filter(|(_, lease)| lease.ask <= as_of && lease.seen < as_of);
        let orphans: Vec<LeaseId> = unseen.map(|(key, _)| orphan(key)).collect();
        for lease in orphans {
            self.counters.leases_orphaned += 1;
            self.remove(lease, Ending::Orphaned);
        }
    }
}

/// For a user's slot that comes without its limit: below every roster's.
const UNKNOWN_LIMIT: (Limit, Version) = (Limit::Closed, Version { stamp: 0, digest: 0 });
