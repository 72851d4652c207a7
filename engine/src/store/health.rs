//! What attempts say about accounts, and the numbers by which the store folds that into health.

use serde::{Deserialize, Serialize};

use crate::ids::LeaseId;
use crate::time::Span;

/// The numbers of the health fold, see [`Mark`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HealthRules {
    /// Failures in a row that eject; 1 or more.
    pub failures_to_eject: u32,
    /// Length of the first ejection; each further one is twice as long.
    pub ejection: Span,
    /// The longest ejection.
    pub ejection_max: Span,
    /// Length of the first quarantine; each further one is twice as long.
    pub quarantine: Span,
    /// The longest quarantine.
    pub quarantine_max: Span,
    /// The longest closing for a rate limit.
    pub rate_limit_max: Span,
    /// The longest closing for overload.
    pub overload_max: Span,
}

impl Default for HealthRules {
    fn default() -> Self {
        Self {
            failures_to_eject: 5,
            ejection: Span::from_secs(10),
            ejection_max: Span::from_secs(300),
            quarantine: Span::from_secs(60),
            quarantine_max: Span::from_secs(3600),
            rate_limit_max: Span::from_secs(8 * 24 * 3600),
            overload_max: Span::from_secs(600),
        }
    }
}

/// What a mark speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// The whole account.
    Account,
    /// The account for the lease's model only.
    Model,
}

/// Why something is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// The upstream said 429.
    RateLimited,
    /// The upstream said 529.
    Overloaded,
    /// Failures in a row.
    Ejected,
    /// The credential was refused.
    Quarantined,
}

/// What an attempt's outcome says about its account.
///
/// Folded only by the `Leave` that removes a *claimed* held lease on an account, before the slot is
/// handed on. Health is kept per key: the account's own, and one per model (at most
/// [`MODEL_KEYS_MAX`]). A lease is *stale* for a key when it was granted before the key's latest
/// closing: then only an explicit `Close` while the key is still closed has an effect (it may lengthen
/// that closing), and it changes nothing else.
///
/// A key that closes becomes half-open: from its opening on, at most one lease granted since is under
/// it, the *probe*. It stays half-open until the probe is proved or leaves `Ok`; if the probe ends in
/// any other way, without a mark that closes the key, the next lease is the probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mark {
    /// Clears failures, ejections, quarantines and half-open of the account's key and of the model's.
    Ok,
    /// One more failure in a row; the key is ejected when it is half-open or has
    /// `failures_to_eject` of them, and then its failures count from 0 again. The n-th ejection lasts
    /// `ejection × 2^(n-1)`, at most `ejection_max`.
    Failed(Scope),
    /// Closed for `span`, capped by the cause's maximum; never shortens a closing.
    Close {
        /// What is closed.
        scope: Scope,
        /// For how long from now.
        span: Span,
        /// Why: `RateLimited` or `Overloaded`.
        cause: Cause,
        /// The upstream named the time itself; otherwise it is our guess.
        explicit: bool,
    },
    /// The account's key is closed for `quarantine × 2^(n-1)`, at most `quarantine_max`.
    Quarantine,
}

/// Model keys that one account keeps. A further model takes the place of the least model whose key is
/// neither closed nor half-open, else its marks count for the whole account.
pub const MODEL_KEYS_MAX: usize = 64;

/// A change of an account's health that no attempt's end makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HealthChange {
    /// The probe under this lease showed its first semantic byte: the keys it probes are half-open no
    /// more. Nothing if the lease is no probe.
    Proved(LeaseId),
    /// Operator: only `Gate` wants are served. Lasts until `Recover`, whatever `Define` says.
    Drain,
    /// Operator: nothing is served.
    Disable,
    /// Operator: serving again, and with no `model` every key is as new; with one, that model's key.
    Recover,
}
