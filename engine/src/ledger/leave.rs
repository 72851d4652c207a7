//! Leaving, the marks that come with it, and what else changes an account's health.

use alloc::vec::Vec;

use super::gate::{GateIx, LineIx, Operator};
use super::health::{Fold, Health};
use super::history::{Ending, Fact};
use super::{Ledger, Slot};
use crate::ids::{AccountId, GateId, LeaseId, ModelId};
use crate::store::{HealthChange, Mark, StoreReply, TOMBSTONE};
use crate::time::Time;

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

    #[cold]
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
        let closed = if mark == Mark::Ok {
            // The common case closes nothing, so that no closing has to be looked at.
            let closed = self.gates.gate_mut(ix).health.fold(mark, fold);
            self.gates.guard(ix, raw);
            closed
        } else {
            self.with_health(ix, account, |health| health.fold(mark, fold))
        };
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

    /// Changes the account's health and keeps the openings true: one is on the list from its closing
    /// until it is worked off, whatever becomes of the other keys.
    #[cold]
    fn with_health<T>(
        &mut self,
        ix: GateIx,
        account: AccountId,
        change: impl FnOnce(&mut Health) -> T,
    ) -> T {
        let health = &mut self.gates.gate_mut(ix).health;
        let before: Vec<(Option<ModelId>, Time)> = health.closings().collect();
        let result = change(health);
        for &(of, at) in &before {
            if health.key(of).is_none_or(|key| key.closed_until != at) {
                self.openings.remove(&(at, account, of));
            }
        }
        let fresh = health.closings().filter(|(_, at)| *at > self.raw);
        for (of, at) in fresh.filter(|closing| !before.contains(closing)) {
            self.openings.insert((at, account, of));
        }
        self.gates.guard(ix, self.raw);
        result
    }

    #[cold]
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
        self.gates.gate_mut(ix).operator = Operator::Serving;
        let recovered = self.with_health(ix, account, |health| health.recover(model));
        for model in recovered {
            self.note(|_| Fact::Proved { account, model });
        }
    }
}
