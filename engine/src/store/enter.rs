//! Asking for a slot.

use alloc::vec::Vec;
use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use super::{BEST_MAX, Limit, Version};
use crate::ids::{AccountId, Ask, LeaseId, ModelId, PoolId, Tag, UserId};
use crate::time::Span;

/// Where a lease wants a slot. Taken from the current roster at every ask.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Want {
    /// The user's own slot. The ask defines the gate: a `version` at or above the gate's known one
    /// sets its limit (and settles it if it was raised).
    User {
        /// Whose.
        user: UserId,
        /// How many at once.
        limit: Limit,
        /// The roster this limit is from.
        version: Version,
        /// The most tickets in the line.
        line_max: u32,
    },
    /// One account: a session's home.
    Gate {
        /// Which.
        account: AccountId,
        /// For which model.
        model: ModelId,
        /// The most tickets in the account's own line.
        line_max: u32,
    },
    /// Any account of a pool.
    Pool {
        /// Which pool.
        pool: PoolId,
        /// For which model.
        model: ModelId,
        /// Tried first, in this order.
        best: ArrayVec<AccountId, BEST_MAX>,
        /// Never these.
        excluded: Vec<AccountId>,
        /// The most tickets in the pool's line; without it there is no waiting.
        line_max: Option<u32>,
    },
}

/// Get or keep a place.
///
/// *Usable* for the lease is: a user gate whose limit is not `Closed`; an account whose limit is not
/// `Closed`, that is not disabled (nor draining, for a `Pool`), is not excluded and is a member of the
/// pool, and whose account key and model key are open: the closing is over, and if half-open there is
/// no probe or the probe is this lease.
///
/// 1. A tombstone answers `Left`. An ask not above the lease's known one changes nothing and reports
///    what the lease has (a grant, which it does not claim, as `Waiting` at position 1: the same ask may
///    come twice, and only a claimed slot may be forwarded on; `opens_in` is `None`); a lease that has
///    nothing has no known ask.
/// 2. Held or granted on a usable gate inside the want: `Held`, the grant is claimed.
/// 3. Held or granted elsewhere: that slot is given up; the rest follows with the lease's tag; the old
///    gate is settled at the end.
/// 4. The candidates are tried in order: `best`, then the pool's other members by rank. A candidate
///    takes the lease if it is usable and has room, after every waiting ticket of a lesser tag
///    that settle would serve there has been served (`Settle`), or just so (`Poll`).
/// 5. None has it. If no candidate is usable or merely full or under probe now, and none that is only
///    health-closed opens within `patience` (`None` = 0): `Shut`, and the old ticket is removed.
/// 6. No line in the want: `Full`. Already in that line: it stays there at its tag with the
///    new patience. The line has `line_max` tickets and this ask carries no tag: `Full`. In both cases
///    of `Full` the old ticket stays as it was. Otherwise: a ticket in the line, at the tag.
///
/// A lease's tag is the ask's, else the one it has, else a new one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Enter {
    /// For whom.
    pub lease: LeaseId,
    /// Orders the operations on the lease: the higher is the later.
    pub ask: Ask,
    /// Where.
    pub want: Want,
    /// The place in order, once known; also from an earlier attempt of the request.
    pub tag: Option<Tag>,
    /// How much longer a ticket may wait, on the store clock; ends at the grant.
    pub patience: Option<Span>,
    /// How long the lease lives from its grant (or from the moment it is held), on the store clock.
    pub ttl: Option<Span>,
}
