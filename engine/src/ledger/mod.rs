//! Skeleton.
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, GateId, LeaseId, ModelId, Tag};
use crate::store::{Cause, Grant, Limit, StoreOp, StoreReply};
use crate::time::{Span, Time};

pub mod history;

/// The meaning of every store: pure, exact, in memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ledger {}

/// What one operation did: the answer, and the grants it made, in order.
pub type Applied = (StoreReply, Vec<Grant>);

/// Who holds and waits for one gate (or pool line), since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineView {
    /// Which.
    pub line: history::Line,
    /// A gate's limit; `None` for a pool.
    pub limit: Option<Limit>,
    /// Who holds: lease, for how long (raw), whether claimed.
    pub held: Vec<(LeaseId, Span, bool)>,
    /// Who waits: lease, tag, for how long.
    pub waiting: Vec<(LeaseId, Tag, Span)>,
    /// Closed health keys: model (`None`: the account), cause, opening in.
    pub closed: Vec<(Option<ModelId>, Cause, Span)>,
}

/// Counted since the ledger began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Leases that a resync's node did not know.
    pub leases_orphaned: u64,
    /// Leases whose ttl was over.
    pub leases_expired: u64,
    /// Leases and tickets of ended sessions.
    pub leases_reaped: u64,
    /// Grants that were not claimed in time.
    pub grants_passed_on: u64,
    /// Leases entered over the limit by a resync.
    pub over_limit: u64,
}

impl Ledger {
    /// An empty ledger. Its counter, from which node ids, tags, stamps and the epoch are drawn, starts at
    /// `start`, the store's time, so that nothing is reused after a loss of data.
    #[must_use]
    pub fn new(_start: Time) -> Self {
        todo!()
    }
    /// Applies one operation. See [`crate::store`] for what each means.
    pub fn apply(&mut self, _now: Time, _op: StoreOp) -> Applied {
        todo!()
    }
    /// Gates and lines that somebody holds or waits for, or that health has closed; by line.
    #[must_use]
    pub fn view(&self) -> Vec<LineView> {
        todo!()
    }
    /// Begins to record [`history`].
    pub fn record_history(&mut self) {
        todo!()
    }
    /// The facts since the last call.
    pub fn take_history(&mut self) -> Vec<history::Entry> {
        todo!()
    }
    /// What has been counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        todo!()
    }
    /// Leases held on a gate now, grants included.
    #[must_use]
    pub fn held(&self, _gate: GateId) -> u32 {
        todo!()
    }
    /// Whether due entries are left over at the clocks' present readings.
    #[must_use]
    pub fn due_now(&self) -> bool {
        todo!()
    }
    /// Every structural invariant that does not hold, and I1, I5, I6 where the due list is worked off.
    #[must_use]
    pub fn check_invariants(&self) -> Vec<String> {
        todo!()
    }
    /// Whether this account is closed, draining or disabled for everything now.
    #[must_use]
    pub fn account_shut(&self, _account: AccountId) -> bool {
        todo!()
    }
}
