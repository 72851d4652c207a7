//! Account health: one pure fold from marks to closings, per account and per (account, model).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::ids::{LeaseId, ModelId};
use crate::store::{Cause, HealthRules, MODEL_KEYS_MAX, Mark, Scope};
use crate::time::{Span, Time};

/// The health of an account, or of one of its models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Key {
    /// On the raw clock.
    pub(super) closed_until: Time,
    /// The stamp of the latest closing, 0 for none.
    pub(super) closed_stamp: u64,
    pub(super) cause: Option<Cause>,
    pub(super) half_open: bool,
    pub(super) probe: Option<LeaseId>,
    failures: u32,
    ejections: u32,
    quarantines: u32,
}

/// What a key lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Open,
    /// Half-open, and somebody else is the probe.
    Probing,
    /// Closed, for so long.
    Shut(Span),
}

impl Key {
    /// What it lets through for `lease`; `None` is a newcomer.
    pub(super) fn door(&self, raw: Time, lease: Option<LeaseId>) -> Door {
        if raw < self.closed_until {
            return Door::Shut(self.closed_until.since(raw));
        }
        if self.half_open && self.probe.is_some() && self.probe != lease {
            return Door::Probing;
        }
        Door::Open
    }

    /// Whether it says nothing.
    pub(super) fn is_clean(&self, raw: Time) -> bool {
        let counts = (self.failures, self.ejections, self.quarantines);
        counts == (0, 0, 0) && self.is_settled(raw)
    }

    fn is_settled(&self, raw: Time) -> bool {
        raw >= self.closed_until && !self.half_open
    }

    /// The probe is proved.
    pub(super) const fn prove(&mut self) {
        self.half_open = false;
        self.probe = None;
    }

    const fn ok(&mut self) {
        self.failures = 0;
        self.ejections = 0;
        self.quarantines = 0;
        self.half_open = false;
        self.probe = None;
    }

    fn close(&mut self, raw: Time, stamp: u64, span: Span, cause: Cause) {
        self.closed_until = self.closed_until.max(raw + span);
        self.closed_stamp = stamp;
        self.cause = Some(cause);
        self.half_open = true;
        self.probe = None;
    }
}

/// One account's keys.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Health {
    pub(super) account: Key,
    pub(super) models: BTreeMap<ModelId, Key>,
}

/// The facts around a mark.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fold {
    pub(super) raw: Time,
    /// When the lease was granted.
    pub(super) granted: u64,
    /// The stamp of a closing, should there be one.
    pub(super) stamp: u64,
    pub(super) model: ModelId,
    pub(super) rules: HealthRules,
}

impl Health {
    pub(super) fn key(&self, model: Option<ModelId>) -> Option<&Key> {
        match model {
            None => Some(&self.account),
            Some(model) => self.models.get(&model),
        }
    }

    pub(super) fn key_mut(&mut self, model: Option<ModelId>) -> Option<&mut Key> {
        match model {
            None => Some(&mut self.account),
            Some(model) => self.models.get_mut(&model),
        }
    }

    /// When each key's latest closing ends or ended.
    pub(super) fn closings(&self) -> impl Iterator<Item = (Option<ModelId>, Time)> + '_ {
        let models = self.models.iter().map(|(model, key)| (Some(*model), key.closed_until));
        core::iter::once((None, self.account.closed_until)).chain(models)
    }

    /// Makes one model's key, or every key, as new. Says which were half-open.
    pub(super) fn recover(&mut self, model: Option<ModelId>) -> Vec<Option<ModelId>> {
        let gone = match model {
            Some(model) => {
                let gone = self.models.remove(&model).map(|key| (Some(model), key));
                gone.into_iter().collect()
            }
            None => {
                let all = core::mem::take(self);
                let models = all.models.into_iter().map(|(model, key)| (Some(model), key));
                core::iter::once((None, all.account)).chain(models).collect::<Vec<_>>()
            }
        };
        gone.into_iter().filter(|(_, key)| key.half_open).map(|(of, _)| of).collect()
    }

    /// The account's key and the model's, narrower of the two.
    pub(super) fn door(&self, raw: Time, model: ModelId, lease: Option<LeaseId>) -> Door {
        let account = self.account.door(raw, lease);
        let Some(model) = self.models.get(&model) else { return account };
        match (account, model.door(raw, lease)) {
            (Door::Shut(a), Door::Shut(b)) => Door::Shut(a.max(b)),
            (Door::Shut(span), _) | (_, Door::Shut(span)) => Door::Shut(span),
            (Door::Probing, _) | (_, Door::Probing) => Door::Probing,
            (Door::Open, Door::Open) => Door::Open,
        }
    }

    /// Whether nothing has to be looked at.
    pub(super) fn is_plain(&self, raw: Time) -> bool {
        self.account.is_settled(raw) && self.models.values().all(|key| key.is_settled(raw))
    }

    pub(super) fn is_clean(&self, raw: Time) -> bool {
        self.account.is_clean(raw) && self.models.values().all(|key| key.is_clean(raw))
    }

    /// Folds a mark in. Says which key it closed, or whose closing it lengthened.
    pub(super) fn fold(&mut self, mark: Mark, at: Fold) -> Option<Option<ModelId>> {
        match mark {
            Mark::Ok => {
                self.ok(None, at);
                self.ok(Some(at.model), at);
                None
            }
            Mark::Failed(scope) => {
                let of = self.scoped(scope, at);
                let key = self.key_mut(of)?;
                if at.granted < key.closed_stamp {
                    return None;
                }
                key.failures = key.failures.saturating_add(1);
                if !key.half_open && key.failures < at.rules.failures_to_eject {
                    return None;
                }
                let span = at.rules.ejection.doubled(key.ejections).min(at.rules.ejection_max);
                key.failures = 0;
                key.ejections = key.ejections.saturating_add(1);
                key.close(at.raw, at.stamp, span, Cause::Ejected);
                Some(of)
            }
            Mark::Close { scope, span, cause, explicit } => {
                let of = self.scoped(scope, at);
                let key = self.key_mut(of)?;
                let span = span.min(cap(cause, &at.rules));
                if at.granted >= key.closed_stamp {
                    key.close(at.raw, at.stamp, span, cause);
                    return Some(of);
                }
                let until = at.raw + span;
                if !explicit || at.raw >= key.closed_until || until <= key.closed_until {
                    return None;
                }
                key.closed_until = until;
                key.cause = Some(cause);
                Some(of)
            }
            Mark::Quarantine => {
                let key = &mut self.account;
                if at.granted < key.closed_stamp {
                    return None;
                }
                let (first, max) = (at.rules.quarantine, at.rules.quarantine_max);
                let span = first.doubled(key.quarantines).min(max);
                key.quarantines = key.quarantines.saturating_add(1);
                key.close(at.raw, at.stamp, span, Cause::Quarantined);
                Some(None)
            }
        }
    }

    fn ok(&mut self, of: Option<ModelId>, at: Fold) {
        if let Some(key) = self.key_mut(of).filter(|key| at.granted >= key.closed_stamp) {
            key.ok();
        }
    }

    /// The key that a scope speaks of; a model's is made if there is a place for it.
    fn scoped(&mut self, scope: Scope, at: Fold) -> Option<ModelId> {
        match scope {
            Scope::Account => return None,
            Scope::Model if self.models.contains_key(&at.model) => return Some(at.model),
            Scope::Model => {}
        }
        if self.models.len() >= MODEL_KEYS_MAX {
            let settled = |(model, key): (&ModelId, &Key)| key.is_settled(at.raw).then_some(*model);
            let least = self.models.iter().find_map(settled)?;
            self.models.remove(&least);
        }
        self.models.insert(at.model, Key::default());
        Some(at.model)
    }
}

/// The longest closing for a cause that a mark may name.
const fn cap(cause: Cause, rules: &HealthRules) -> Span {
    match cause {
        Cause::RateLimited => rules.rate_limit_max,
        Cause::Overloaded => rules.overload_max,
        Cause::Ejected => rules.ejection_max,
        Cause::Quarantined => rules.quarantine_max,
    }
}
