//! What an account is good for: its limit, the operator's word, and the health of its keys.

use sluice_engine::ids::{AccountId, GateId, LeaseId, ModelId};
use sluice_engine::store::{
    Cause, HealthChange, Limit, MODEL_KEYS_MAX, Mark, PoolDef, Scope, Want,
};
use sluice_engine::time::{Span, Time};

use super::{Held, Naive};

/// An account's gate.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) id: AccountId,
    pub(crate) limit: Limit,
    pub(crate) priority: u32,
    pub(crate) oauth: bool,
    /// Whether a roster lists it: an idle one that none lists is forgotten.
    pub(crate) listed: bool,
    pub(crate) operator: Operator,
    /// The stamp of the last assignment, 0 for never.
    pub(crate) last_assigned: u64,
    /// The account's own key, and one for each model that a mark has spoken of.
    pub(crate) keys: Vec<Key>,
}

/// What the operator has said of an account last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Serving,
    Draining,
    Disabled,
}

/// The health of one key.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// `None` is the account's own.
    pub(crate) model: Option<ModelId>,
    pub(crate) failures: u32,
    pub(crate) ejections: u32,
    pub(crate) quarantines: u32,
    /// Closed while the raw reading is below it.
    pub(crate) until: Time,
    pub(crate) cause: Cause,
    /// The stamp of its latest closing.
    pub(crate) closed: Option<u64>,
    /// Its opening is still on the due list.
    pub(crate) opening: bool,
    /// Set by a closing; means something from the opening on.
    pub(crate) half_open: bool,
    pub(crate) probe: Option<LeaseId>,
}

/// How a gate stands to a want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Outside the want, or closed to it for other reasons than health.
    Never,
    /// Closed by health until then.
    Closed(Time),
    /// Half-open, and another lease is the probe.
    Probed,
    /// Usable.
    Open,
}

impl Key {
    fn new(model: Option<ModelId>) -> Self {
        Self {
            model,
            failures: 0,
            ejections: 0,
            quarantines: 0,
            until: Time::ZERO,
            cause: Cause::Ejected,
            closed: None,
            opening: false,
            half_open: false,
            probe: None,
        }
    }
}

impl Naive {
    pub(crate) fn account(&self, id: AccountId) -> Option<&Account> {
        self.accounts.iter().find(|a| a.id == id)
    }

    pub(crate) fn account_mut(&mut self, id: AccountId) -> Option<&mut Account> {
        self.accounts.iter_mut().find(|a| a.id == id)
    }

    pub(crate) fn account_or_new(&mut self, id: AccountId) -> &mut Account {
        if self.account(id).is_none() {
            self.accounts.push(Account {
                id,
                limit: Limit::Closed,
                priority: 0,
                oauth: false,
                listed: false,
                operator: Operator::Serving,
                last_assigned: 0,
                keys: vec![Key::new(None)],
            });
        }
        self.account_mut(id).expect("there is one now")
    }

    pub(crate) fn pool(&self, id: sluice_engine::ids::PoolId) -> Option<&PoolDef> {
        self.pools.iter().find(|p| p.pool == id)
    }

    pub(crate) fn key_mut(&mut self, id: AccountId, model: Option<ModelId>) -> Option<&mut Key> {
        self.account_mut(id)?.keys.iter_mut().find(|k| k.model == model)
    }

    /// Whether, and when, this gate may serve this want of this lease (`None`: of a newcomer).
    /// Whether it has room is another question.
    pub(crate) fn standing(&self, gate: GateId, want: &Want, lease: Option<LeaseId>) -> Standing {
        match (want, gate) {
            (Want::User { user, .. }, GateId::User(id)) if *user == id => {
                if self.limit(gate) == Limit::Closed { Standing::Never } else { Standing::Open }
            }
            (Want::Gate { account, model, .. }, GateId::Account(id)) if *account == id => {
                self.standing_of_account(id, *model, lease, true)
            }
            (Want::Pool { pool, model, excluded, .. }, GateId::Account(id)) => {
                let member = self.pool(*pool).is_some_and(|p| p.members.contains(&id));
                if !member || excluded.contains(&id) {
                    return Standing::Never;
                }
                self.standing_of_account(id, *model, lease, false)
            }
            (Want::User { .. } | Want::Gate { .. }, _) | (Want::Pool { .. }, GateId::User(_)) => {
                Standing::Never
            }
        }
    }

    pub(crate) fn standing_of_account(
        &self,
        id: AccountId,
        model: ModelId,
        lease: Option<LeaseId>,
        even_draining: bool,
    ) -> Standing {
        let Some(account) = self.account(id) else { return Standing::Never };
        let willing = match account.operator {
            Operator::Serving => true,
            Operator::Draining => even_draining,
            Operator::Disabled => false,
        };
        if !willing || self.limit(GateId::Account(id)) == Limit::Closed {
            return Standing::Never;
        }
        let mut probed = false;
        let mut closed = Time::ZERO;
        for key in &account.keys {
            if key.model.is_some() && key.model != Some(model) {
                continue;
            }
            if self.raw < key.until {
                closed = closed.max(key.until);
            } else if key.half_open && key.probe.is_some() && key.probe != lease {
                probed = true;
            }
        }
        if closed > Time::ZERO {
            Standing::Closed(closed)
        } else if probed {
            Standing::Probed
        } else {
            Standing::Open
        }
    }

    /// A lease that gets a slot of a half-open key is its probe.
    pub(crate) fn probe_if_half_open(&mut self, id: AccountId, model: ModelId, lease: LeaseId) {
        let account = self.accounts.iter_mut().find(|a| a.id == id).expect("it is usable");
        for key in &mut account.keys {
            let concerned = key.model.is_none() || key.model == Some(model);
            if concerned && key.half_open {
                assert!(key.probe.is_none(), "two probes");
                key.probe = Some(lease);
                self.notes.push("probing");
            }
        }
    }

    /// An idle account that no roster lists is forgotten, and with it when it was last assigned.
    pub(crate) fn forget_unlisted(&mut self) {
        let now = self.clone();
        self.accounts.retain(|a| {
            let gate = GateId::Account(a.id);
            let clean =
                |k: &Key| !k.half_open && k.failures == 0 && k.ejections == 0 && k.quarantines == 0;
            a.listed
                || a.operator != Operator::Serving
                || now.held(gate) > 0
                || now.line_length(sluice_engine::ledger::history::Line::Gate(gate)) > 0
                || now.pools.iter().any(|p| p.members.contains(&a.id))
                || !a.keys.iter().all(clean)
        });
    }

    pub(crate) fn is_probe(&self, lease: LeaseId) -> bool {
        self.accounts.iter().any(|a| a.keys.iter().any(|k| k.probe == Some(lease)))
    }

    /// Folds the mark of a claimed lease that leaves this account.
    pub(crate) fn fold(&mut self, id: AccountId, held: &Held, mark: Mark) {
        match mark {
            Mark::Ok => {
                for model in [None, Some(held.model)] {
                    self.fold_ok(id, model, held.stamp);
                }
            }
            Mark::Failed(scope) => {
                let model = self.key_for(id, held.model, scope);
                self.fold_failed(id, model, held.stamp);
            }
            Mark::Close { scope, span, cause, explicit } => {
                let model = self.key_for(id, held.model, scope);
                self.fold_close(id, model, held.stamp, span, cause, explicit);
            }
            Mark::Quarantine => {
                if self.stale(id, None, held.stamp) {
                    self.note("a stale mark");
                    return;
                }
                let key = self.key_mut(id, None).expect("an account has its own key");
                key.quarantines += 1;
                let nth = key.quarantines - 1;
                let span = self.rules.quarantine.doubled(nth).min(self.rules.quarantine_max);
                self.close(id, None, span, Cause::Quarantined);
            }
        }
    }

    fn stale(&mut self, id: AccountId, model: Option<ModelId>, stamp: u64) -> bool {
        let key = self.key_mut(id, model).expect("the key is there");
        key.closed.is_some_and(|closed| stamp < closed)
    }

    fn fold_ok(&mut self, id: AccountId, model: Option<ModelId>, stamp: u64) {
        if self.key_mut(id, model).is_none() {
            return;
        }
        if self.stale(id, model, stamp) {
            self.note("a stale mark");
            return;
        }
        let key = self.key_mut(id, model).expect("the key is there");
        key.failures = 0;
        key.ejections = 0;
        key.quarantines = 0;
        key.half_open = false;
        if key.probe.take().is_some() {
            self.note("a probe left Ok");
        }
    }

    fn fold_failed(&mut self, id: AccountId, model: Option<ModelId>, stamp: u64) {
        if self.stale(id, model, stamp) {
            self.note("a stale mark");
            return;
        }
        let rules = self.rules;
        let key = self.key_mut(id, model).expect("the key is there");
        key.failures += 1;
        if key.half_open || key.failures >= rules.failures_to_eject {
            key.failures = 0;
            key.ejections += 1;
            let span = rules.ejection.doubled(key.ejections - 1).min(rules.ejection_max);
            self.close(id, model, span, Cause::Ejected);
        }
    }

    fn fold_close(
        &mut self,
        id: AccountId,
        model: Option<ModelId>,
        stamp: u64,
        span: Span,
        cause: Cause,
        explicit: bool,
    ) {
        let longest = match cause {
            Cause::RateLimited => self.rules.rate_limit_max,
            Cause::Overloaded => self.rules.overload_max,
            Cause::Ejected => self.rules.ejection_max,
            Cause::Quarantined => self.rules.quarantine_max,
        };
        let span = span.min(longest);
        if !self.stale(id, model, stamp) {
            self.close(id, model, span, cause);
            return;
        }
        let raw = self.raw;
        let key = self.key_mut(id, model).expect("the key is there");
        if explicit && raw < key.until && raw + span > key.until {
            key.until = raw + span;
            key.cause = cause;
            self.note("a closing lengthened");
        } else {
            self.note("a stale mark");
        }
    }

    fn close(&mut self, id: AccountId, model: Option<ModelId>, span: Span, cause: Cause) {
        let stamp = self.draw();
        let raw = self.raw;
        let until = raw + span;
        self.note("closed");
        let key = self.key_mut(id, model).expect("the key is there");
        key.until = key.until.max(until);
        key.cause = cause;
        key.closed = Some(stamp);
        key.opening = until > raw;
        key.half_open = true;
        key.probe = None;
    }

    /// Which key a mark of this scope concerns; a model's is made if there is a place for it.
    fn key_for(&mut self, id: AccountId, model: ModelId, scope: Scope) -> Option<ModelId> {
        if scope == Scope::Account {
            return None;
        }
        let account = self.account_mut(id).expect("it was held");
        if account.keys.iter().any(|k| k.model == Some(model)) {
            return Some(model);
        }
        let mut models: Vec<ModelId> = account.keys.iter().filter_map(|k| k.model).collect();
        models.sort();
        if models.len() == MODEL_KEYS_MAX {
            let spare = models
                .into_iter()
                .find(|m| account.keys.iter().any(|k| k.model == Some(*m) && !k.half_open));
            let Some(spare) = spare else {
                self.note("a model without a key");
                return None;
            };
            account.keys.retain(|k| k.model != Some(spare));
            self.notes.push("a key gave way");
        }
        let account = self.account_mut(id).expect("it was held");
        account.keys.push(Key::new(Some(model)));
        Some(model)
    }

    pub(crate) fn change_health(
        &mut self,
        id: AccountId,
        model: Option<ModelId>,
        change: HealthChange,
    ) {
        if self.account(id).is_none() {
            self.note("health of an unknown account");
        }
        self.account_or_new(id);
        let account = self.accounts.iter_mut().find(|a| a.id == id).expect("it is known now");
        match change {
            HealthChange::Proved(lease) => {
                for key in &mut account.keys {
                    if key.probe == Some(lease) {
                        key.probe = None;
                        key.half_open = false;
                        self.notes.push("a probe proved");
                    }
                }
            }
            HealthChange::Drain => account.operator = Operator::Draining,
            HealthChange::Disable => account.operator = Operator::Disabled,
            HealthChange::Recover => {
                account.operator = Operator::Serving;
                // A model's key that is as new is none.
                match model {
                    None => account.keys = vec![Key::new(None)],
                    Some(_) => account.keys.retain(|key| key.model != model),
                }
            }
        }
    }

    /// Whether nothing at all is served by this account now, or only what has its home there.
    pub(crate) fn account_shut(&self, id: AccountId) -> bool {
        let Some(account) = self.account(id) else { return true };
        account.operator != Operator::Serving
            || self.limit(GateId::Account(id)) == Limit::Closed
            || account.keys.iter().any(|k| k.model.is_none() && self.raw < k.until)
    }
}
