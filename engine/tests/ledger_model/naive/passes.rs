//! `Resync`: what a node really has.

use sluice_engine::ids::{Ask, GateId, LeaseId, ModelId};
use sluice_engine::store::{HeldLease, Limit, Resync, StoreReply, Version, WaitingLease};

use super::{Held, Lease, Naive, Place, Ticket, User};

impl Naive {
    pub(crate) fn resync(&mut self, resync: &Resync) -> StoreReply {
        if !self.lives(resync.node) {
            return StoreReply::Lost;
        }
        for held in &resync.held {
            self.see(resync, held.lease);
            if self.takes_notice(held.lease, resync.ask) {
                self.resync_held(held, resync.ask);
            }
        }
        for waiting in &resync.waiting {
            self.see(resync, waiting.lease);
            if self.takes_notice(waiting.lease, resync.ask) {
                self.resync_waiting(waiting, resync.ask);
            }
        }
        for busy in &resync.busy {
            self.see(resync, *busy);
        }
        if resync.last {
            self.orphan(resync);
        }
        self.settle_all();
        StoreReply::Done
    }

    fn see(&mut self, resync: &Resync, lease: LeaseId) {
        self.seen.push((resync.node, resync.as_of, lease));
    }

    /// Neither has the lease left, nor is something newer known of it.
    fn takes_notice(&self, id: LeaseId, ask: Ask) -> bool {
        let left = self.tombstones.iter().any(|(lease, until)| *lease == id && self.clock < *until);
        !left && self.lease(id).is_none_or(|lease| lease.ask < ask)
    }

    fn resync_held(&mut self, listed: &HeldLease, ask: Ask) {
        let id = listed.lease;
        let ends = listed.ttl.map(|ttl| self.clock + ttl);
        self.make_gate(listed);
        if self.held_by(id).is_some_and(|held| held.gate == listed.gate) {
            self.held_mut(id).expect("it holds").claim_by = None;
            self.lease_mut(id).expect("it holds").ask = ask;
            return;
        }
        if self.held_by(id).is_some_and(|held| held.counted.is_some()) {
            self.note("a lease that counts in a line moves");
        }
        self.take(id);
        if !self.has_room(listed.gate) {
            self.counters.over_limit += 1;
            self.note("entered over the limit");
        }
        self.note("entered by resync");
        let model = match listed.gate {
            GateId::User(_) => ModelId(0),
            GateId::Account(_) => listed.model,
        };
        let held = Held {
            gate: listed.gate,
            model,
            stamp: 0,
            since: self.raw,
            claim_by: None,
            ends,
            counted: None,
        };
        self.leases.push(Lease { id, ask, tag: listed.tag, place: Place::Held(held) });
    }

    fn make_gate(&mut self, listed: &HeldLease) {
        match listed.gate {
            GateId::Account(account) => {
                self.account_or_new(account);
            }
            GateId::User(user) => {
                let (limit, version) =
                    listed.limit.unwrap_or_else(|| (Limit::Closed, Version::default()));
                match self.users.iter_mut().find(|u| u.id == user) {
                    None => self.users.push(User { id: user, limit, version }),
                    Some(known) if listed.limit.is_some() && version >= known.version => {
                        known.limit = limit;
                        known.version = version;
                    }
                    Some(_) => {}
                }
            }
        }
    }

    fn resync_waiting(&mut self, listed: &WaitingLease, ask: Ask) {
        let id = listed.lease;
        self.define_user(&listed.want);
        if self.held_by(id).is_some() {
            self.note("listed as waiting, but it holds");
            self.lease_mut(id).expect("it holds").ask = ask;
            return;
        }
        self.note("ticket by resync");
        let ticket = Ticket {
            want: listed.want.clone(),
            until: self.clock + listed.patience,
            ttl: listed.ttl,
        };
        self.leases.retain(|l| l.id != id);
        self.leases.push(Lease { id, ask, tag: listed.tag, place: Place::Waiting(ticket) });
    }

    fn orphan(&mut self, resync: &Resync) {
        for lease in self.leases.clone() {
            let seen = self.seen.contains(&(resync.node, resync.as_of, lease.id));
            if lease.id.node == resync.node && lease.ask <= resync.as_of && !seen {
                self.counters.leases_orphaned += 1;
                self.note("orphaned");
                self.take(lease.id);
            }
        }
    }
}
