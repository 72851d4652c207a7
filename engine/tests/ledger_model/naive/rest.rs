//! The operations that are no `Enter`, `Resync` or `Survey`, each as its contract says.

use sluice_engine::ids::{AccountId, GateId, LeaseId, ModelId, NodeId, SessionKey};
use sluice_engine::store::{
    Define, Discipline, HealthChange, Instance, Limit, Mark, SESSION, SessionChange, StoreReply,
    TOMBSTONE,
};

use super::{Naive, Place, Session};

impl Naive {
    pub(crate) fn join(
        &mut self,
        instance: &Instance,
        replaces: Option<NodeId>,
        resume: bool,
    ) -> StoreReply {
        let former = self.sessions.iter().find(|s| s.instance == *instance).map(|s| s.node);
        if let Some(former) = former
            && replaces != Some(former)
        {
            return StoreReply::Taken { node: former };
        }
        let node = NodeId(self.draw());
        self.sessions.retain(|s| s.instance != *instance);
        let ends = self.clock + SESSION;
        self.sessions.push(Session { instance: instance.clone(), node, ends });
        if let Some(former) = former {
            if resume {
                self.rename(former, node);
            } else {
                for id in self.tickets_of(|n| n == former) {
                    self.note("join dropped a ticket");
                    self.free(id);
                }
                for id in self.slots_of(|n| n == former) {
                    self.note("join dropped a lease");
                    self.free(id);
                }
            }
        }
        StoreReply::Joined { node, session: SESSION, epoch: self.epoch, stand_in: false }
    }

    fn rename(&mut self, from: NodeId, to: NodeId) {
        for lease in &mut self.leases {
            if lease.id.node == from {
                lease.id.node = to;
                self.notes.push("lease renamed");
            }
        }
        for key in self.accounts.iter_mut().flat_map(|a| &mut a.keys) {
            if let Some(probe) = &mut key.probe
                && probe.node == from
            {
                probe.node = to;
            }
        }
        self.tombstones.retain(|(lease, _)| lease.node != from);
    }

    /// Waiting leases of the nodes in question, by lease.
    pub(crate) fn tickets_of(&self, of: impl Fn(NodeId) -> bool) -> Vec<LeaseId> {
        let mut ids: Vec<LeaseId> = self.leases.iter().map(|l| l.id).collect();
        ids.retain(|id| of(id.node) && self.ticket_of(*id).is_some());
        ids.sort();
        ids
    }

    /// Held leases of the nodes in question, by lease.
    pub(crate) fn slots_of(&self, of: impl Fn(NodeId) -> bool) -> Vec<LeaseId> {
        let mut ids: Vec<LeaseId> = self.leases.iter().map(|l| l.id).collect();
        ids.retain(|id| of(id.node) && self.held_by(*id).is_some());
        ids.sort();
        ids
    }

    pub(crate) fn beat(&mut self, node: NodeId) -> StoreReply {
        if !self.lives(node) {
            return StoreReply::Lost;
        }
        for session in &mut self.sessions {
            if session.node == node {
                session.ends = self.clock + SESSION;
            }
        }
        let mut members: Vec<NodeId> = self.sessions.iter().map(|s| s.node).collect();
        members.retain(|node| self.lives(*node));
        members.sort();
        let leases = self.leases.iter().filter(|l| l.id.node == node).count() as u32;
        StoreReply::Alive { members, epoch: self.epoch, leases }
    }

    pub(crate) fn define(&mut self, define: &Define) -> StoreReply {
        if define.version <= self.version {
            return StoreReply::Done;
        }
        self.note("defined");
        self.version = define.version;
        self.discipline = define.discipline;
        self.rules = define.health;
        for account in &mut self.accounts {
            account.limit = Limit::Closed;
            account.listed = false;
        }
        for def in &define.accounts {
            let account = self.account_or_new(def.account);
            account.limit = def.limit;
            account.listed = true;
            account.priority = def.priority;
            account.oauth = def.oauth;
        }
        self.pools = define.pools.clone();
        if self.discipline == Discipline::Settle {
            for lease in &mut self.leases {
                if let Place::Held(held) = &mut lease.place {
                    held.counted = None;
                }
            }
        }
        self.settle_all();
        StoreReply::Done
    }

    pub(crate) fn leave(&mut self, id: LeaseId, mark: Option<Mark>, fence: bool) -> StoreReply {
        if !self.lives(id.node) {
            return StoreReply::Lost;
        }
        if fence {
            self.tombstones.retain(|(lease, _)| *lease != id);
            self.tombstones.push((id, self.clock + TOMBSTONE));
        }
        if let Some(held) = self.held_by(id).cloned()
            && held.claim_by.is_none()
            && let (GateId::Account(account), Some(mark)) = (held.gate, mark)
        {
            self.fold(account, &held, mark);
        }
        self.free(id);
        StoreReply::Done
    }

    pub(crate) fn session(
        &mut self,
        key: SessionKey,
        change: SessionChange,
        if_home: Option<AccountId>,
    ) -> StoreReply {
        if self.home(key) != if_home {
            self.note("home is another");
            return StoreReply::Home(self.home(key));
        }
        match change {
            SessionChange::Bind(account, span) => {
                self.bindings.retain(|(k, _, _)| *k != key);
                self.bindings.push((key, account, self.raw + span));
            }
            SessionChange::Touch(span) => {
                for (k, _, ends) in &mut self.bindings {
                    if *k == key && if_home.is_some() {
                        *ends = self.raw + span;
                    }
                }
            }
            SessionChange::Drop => self.bindings.retain(|(k, _, _)| *k != key),
        }
        StoreReply::Home(self.home(key))
    }

    pub(crate) fn home(&self, key: SessionKey) -> Option<AccountId> {
        let binding = self.bindings.iter().find(|(k, _, ends)| *k == key && self.raw < *ends);
        binding.map(|(_, account, _)| *account)
    }

    pub(crate) fn health(
        &mut self,
        id: AccountId,
        model: Option<ModelId>,
        change: HealthChange,
    ) -> StoreReply {
        if let HealthChange::Proved(lease) = change
            && !self.lives(lease.node)
        {
            return StoreReply::Lost;
        }
        self.change_health(id, model, change);
        self.settle(GateId::Account(id));
        StoreReply::Done
    }

    pub(crate) fn reap(&mut self, max: u32) -> StoreReply {
        let mut left = max;
        while left > 0 && self.work_off_one() {
            left -= 1;
        }
        let ended: Vec<NodeId> =
            self.sessions.iter().filter(|s| self.clock >= s.ends).map(|s| s.node).collect();
        let mut work = self.tickets_of(|n| ended.contains(&n));
        work.extend(self.slots_of(|n| ended.contains(&n)));
        for id in work {
            if left > 0 {
                left -= 1;
                self.counters.leases_reaped += 1;
                self.note("reaped");
                self.free(id);
            }
        }
        let leases = &self.leases;
        self.sessions
            .retain(|s| !ended.contains(&s.node) || leases.iter().any(|l| l.id.node == s.node));
        let more = self.due_now() || self.leases.iter().any(|l| ended.contains(&l.id.node));
        StoreReply::Reaped { more }
    }
}
