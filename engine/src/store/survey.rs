//! What selection learns about a pool.

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use super::BEST_MAX;
use crate::ids::AccountId;
use crate::time::Span;

/// An account as selection sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Candidate {
    /// Which.
    pub account: AccountId,
    /// Lower first.
    pub priority: u32,
    /// `(held + own line) × 100 / limit`.
    pub load_pct: u32,
    /// The store's stamp of its last assignment, 0 for never; the lesser first.
    pub last_assigned: u64,
}

/// A session's home, as a survey finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Home {
    /// Which account.
    pub account: AccountId,
    /// What can be done with it.
    pub state: HomeState,
    /// Tickets in its own line.
    pub line: u32,
}

/// What can be done with a session's home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HomeState {
    /// Usable, with room.
    Room,
    /// Usable but full, or half-open with the probe out.
    Full,
    /// Closed by health, opening in so long.
    Shut(Span),
    /// Limit `Closed`, disabled, not a member of the pool, or excluded.
    Gone,
}

/// What a survey returns.
///
/// Ranked are the members that are usable for a newcomer (see [`super::Enter`]), by (priority, load %, last assigned, not OAuth where
/// the pool prefers OAuth, id).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Surveyed {
    /// The best by rank among those with load below 100 %.
    pub best: ArrayVec<Candidate, BEST_MAX>,
    /// The first by rank with load left out of it, full or not, under probe or not: where `seed` waits.
    pub first: Option<AccountId>,
    /// The session's home, if it has one.
    pub home: Option<Home>,
    /// Members that are usable, full or not, under probe or not.
    pub open: u32,
    /// When none is: in how long the first of those that health has closed opens.
    pub opens_in: Option<Span>,
}
