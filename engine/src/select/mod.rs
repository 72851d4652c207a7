//! Which account to ask for: the three layers, as one pure function of policy, survey and session.
//!
//! Ranking itself is the ledger's ([`crate::store::Surveyed`]), because that is where the data is.
//! What comes out is a list of aims, tried one after the other; only the last one decides.

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::ids::AccountId;
use crate::policy::{Fallback, LineFull, Policy, StickyEnd};
use crate::store::{BEST_MAX, HomeState, Surveyed};
use crate::time::Span;
use crate::trail::{Layer, Passed};

mod fallback;
mod load;
mod sticky;

/// The most aims of one selection: home, load, fallback.
pub(crate) const AIMS_MAX: usize = 3;

/// Where a slot is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Target {
    /// One account.
    Account(AccountId),
    /// Any account of the pool, these first.
    Pool(ArrayVec<AccountId, BEST_MAX>),
}

/// One thing to ask the store for, and what follows if it cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Aim {
    /// The layer it is from.
    pub(crate) layer: Layer,
    /// Where.
    pub(crate) target: Target,
    /// Tickets in the line; `None`: no waiting.
    pub(crate) line_max: Option<u32>,
    /// How long to wait.
    pub(crate) patience: Span,
    /// Whether the next aim follows when the patience is over; else the request ends.
    pub(crate) widens: bool,
    /// Whether the next aim follows when the line is full; else the request ends.
    pub(crate) full_passes: bool,
}

impl Aim {
    /// The account it prefers, if it names one.
    pub(crate) fn preferred(&self) -> Option<AccountId> {
        match &self.target {
            Target::Account(account) => Some(*account),
            Target::Pool(best) => best.first().copied(),
        }
    }
}

/// What selection comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What to ask for, in order. Empty: nothing opens in time.
    pub(crate) aims: ArrayVec<Aim, AIMS_MAX>,
    /// The home that is passed over already, and why.
    pub(crate) passed: Option<(AccountId, Passed)>,
    /// When nothing opens in time: when something does.
    pub(crate) opens_in: Option<Span>,
}

/// Selects. `failed` says whether an attempt of this request failed at the home.
pub(crate) fn plan(policy: &Policy, survey: &Surveyed, failed: impl Fn(AccountId) -> bool) -> Plan {
    let mut aims = ArrayVec::new();
    let mut passed = None;
    if let Some(home) = survey.home {
        match sticky::aim(policy, home, &failed) {
            Ok(aim) => aims.push(aim),
            Err(why) => passed = Some((home.account, why)),
        }
    }
    if aims.is_empty() && nothing_in_time(policy, survey) {
        return Plan { aims, passed, opens_in: survey.opens_in };
    }
    let home = aims.first().and_then(Aim::preferred);
    if policy.load_batch {
        aims.extend(load::aim(policy, survey));
    }
    aims.push(fallback::aim(policy, survey, home));
    Plan { aims, passed, opens_in: survey.opens_in }
}

fn nothing_in_time(policy: &Policy, survey: &Surveyed) -> bool {
    survey.open == 0 && survey.opens_in.is_none_or(|span| span > policy.fallback_patience)
}

#[cfg(test)]
mod tests;
