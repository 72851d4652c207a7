//! Leaving, the marks that come with it, and what else changes an account's health.

use alloc::vec::Vec;

use super::gate::{GateIx, LineIx, Operator};
use super::health::Fold;
use super::history::{Ending, Fact};
use super::{Ledger, Slot};
use crate::ids::{AccountId, GateId, LeaseId, ModelId};
use crate::store::{HealthChange, Mark, StoreReply, TOMBSTONE};

impl Ledger {
    pub(super) fn leave(&mut self, id: LeaseId, mark: Option<Mark>, fence: bool) -> StoreReply {
        if let Some((mark, slot, model)) = self.counting_mark(id, mark) {
            self.fold(slot, model, mark);
        }
        self.remove(id, Ending::Left);
        if fence {
            self.leave_tombstone(id);
        }
        self.note(|_| Fact::Left { lease: id, fence });
        StoreReply::Done
    }

    /// A mark counts when its lease holds an account's slot, claimed.
    fn counting_mark(&self, id: LeaseId, mark: Option<Mark>) -> Option<(Mark, Slot, ModelId)> {
        let lease = self.lease(id)?;
        let slot = lease.slot.filter(|slot| slot.claim_by.is_none())?;
        Some((mark?, slot, lease.model))
    }

    fn leave_tombstone(&mut self, id: LeaseId) {
        let until = self.clock + TOMBSTONE;
        if let Some(node) = self.nodes.get_mut(&id.node) {
            let key = (id.request, id.attempt);
            node.tombstones.insert(key, until);
            node.tombstones_by_end.push_back((until, key));
        }
    }

    fn fold(&mut self, slot: Slot, model: ModelId, mark: Mark) {
        let ix = slot.gate;
        let GateId::Account(account) = self.gates.gate(ix).id else { return };
        let (raw, rules, stamp) = (self.raw, self.rules, self.next);
        let fold = Fold { raw, granted: slot.stamp, stamp, model, rules };
        let before = self.half_open(ix, model);
        self.take_openings(ix, account);
        let closed = self.gates.gate_mut(ix).health.fold(mark, fold);
        self.gates.guard(ix, raw);
        self.put_openings(ix, account);
        if let Some(of) = closed {
            let key = self.gates.gate(ix).health.key(of).copied().unwrap_or_default();
            if key.closed_stamp == stamp {
                // A closing; one that was merely lengthened keeps its stamp.
                self.draw();
            }
            if let (until, Some(cause)) = (key.closed_until, key.cause) {
                self.note(|_| Fact::Closed { account, model: of, until, cause });
            }
        }
        let after = self.half_open(ix, model);
        for (n, of) in [None, Some(model)].into_iter().enumerate() {
            if before[n] && !after[n] {
                self.note(|_| Fact::Proved { account, model: of });
            }
        }
    }

    fn half_open(&self, ix: GateIx, model: ModelId) -> [bool; 2] {
        let health = &self.gates.gate(ix).health;
        [None, Some(model)].map(|of| health.key(of).is_some_and(|key| key.half_open))
    }

    /// Takes the account's closings off the list of openings while they change.
    fn take_openings(&mut self, ix: GateIx, account: AccountId) {
        if self.gates.hot[ix as usize].guarded {
            let health = &self.gates.gate(ix).health;
            self.openings.remove(&(health.account.closed_until, account, None));
            for (model, key) in &health.models {
                self.openings.remove(&(key.closed_until, account, Some(*model)));
            }
        }
    }

    /// Puts the account's closings, as far as they are not over, on the list of openings.
    fn put_openings(&mut self, ix: GateIx, account: AccountId) {
        if self.gates.hot[ix as usize].guarded {
            let health = &self.gates.gate(ix).health;
            let models = health.models.iter().map(|(model, key)| (Some(*model), key));
            for (of, key) in core::iter::once((None, &health.account)).chain(models) {
                if key.closed_until > self.raw {
                    self.openings.insert((key.closed_until, account, of));
                }
            }
        }
    }

    pub(super) fn change_health(
        &mut self,
        account: AccountId,
        model: Option<ModelId>,
        change: HealthChange,
    ) -> StoreReply {
        let id = GateId::Account(account);
        let ix = match change {
            HealthChange::Drain | HealthChange::Disable => self.make_account(account),
            HealthChange::Proved(_) | HealthChange::Recover => match self.gates.find(id) {
                Some(ix) => ix,
                None => return StoreReply::Done,
            },
        };
        match change {
            HealthChange::Proved(lease) => self.prove(ix, account, lease),
            HealthChange::Drain => self.gates.gate_mut(ix).operator = Operator::Draining,
            HealthChange::Disable => self.gates.gate_mut(ix).operator = Operator::Disabled,
            HealthChange::Recover => self.recover(ix, account, model),
        }
        self.gates.guard(ix, self.raw);
        self.settle(ix);
        self.idle.push(LineIx::Gate(ix));
        StoreReply::Done
    }

    fn prove(&mut self, ix: GateIx, account: AccountId, lease: LeaseId) {
        let health = &mut self.gates.gate_mut(ix).health;
        let mut proved = Vec::new();
        let models = health.models.iter_mut().map(|(model, key)| (Some(*model), key));
        for (of, key) in core::iter::once((None, &mut health.account)).chain(models) {
            if key.half_open && key.probe == Some(lease) {
                key.prove();
                proved.push(of);
            }
        }
        for model in proved {
            self.note(|_| Fact::Proved { account, model });
        }
    }

    fn recover(&mut self, ix: GateIx, account: AccountId, model: Option<ModelId>) {
        self.take_openings(ix, account);
        let gate = self.gates.gate_mut(ix);
        gate.operator = Operator::Serving;
        let mut recovered = Vec::new();
        match model {
            Some(model) => {
                if gate.health.models.remove(&model).is_some_and(|key| key.half_open) {
                    recovered.push(Some(model));
                }
            }
            None => {
                let health = core::mem::take(&mut gate.health);
                let models = health.models.into_iter().map(|(model, key)| (Some(model), key));
                let keys = core::iter::once((None, health.account)).chain(models);
                recovered.extend(keys.filter(|(_, key)| key.half_open).map(|(of, _)| of));
            }
        }
        self.gates.guard(ix, self.raw);
        self.put_openings(ix, account);
        for model in recovered {
            self.note(|_| Fact::Proved { account, model });
        }
    }
}
