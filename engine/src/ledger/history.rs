//! What a ledger did, fact by fact: the ground on which checkers judge it. Off unless asked for.

use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, GateId, LeaseId, ModelId, NodeId, PoolId, Tag};
use crate::store::{Cause, Instance, Limit};
use crate::time::Time;

/// One fact, with both clocks at its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The raw reading.
    pub raw: Time,
    /// The store clock.
    pub clock: Time,
    /// What happened.
    pub fact: Fact,
}

/// Where a ticket waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Line {
    /// A gate's own line: a user's, or an account's for sessions at home.
    Gate(GateId),
    /// A pool's line.
    Pool(PoolId),
}

/// How a lease came by its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// `Enter` found room: it is claimed already.
    Entered,
    /// Settled from a line: to be claimed.
    Settled,
    /// Listed by a `Resync`: claimed, over the limit if need be.
    Resynced,
}

/// How a lease lost its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// `Leave`.
    Left,
    /// An `Enter` or `Resync` of the same lease gave it up for another place.
    Declined,
    /// A grant that was not claimed in time.
    PassedOn,
    /// Its node's session had ended.
    Reaped,
    /// Its ttl was over.
    Expired,
    /// Its node was succeeded without resuming.
    Joined,
    /// Its node's `Resync` did not know it.
    Orphaned,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    /// A session began, in succession of another or not.
    Joined {
        /// The instance.
        instance: Instance,
        /// The new node.
        node: NodeId,
        /// The former one, if there was one still recorded.
        replaces: Option<NodeId>,
        /// Whether its leases went on.
        resume: bool,
    },
    /// A session was prolonged.
    Beaten {
        /// Whose.
        node: NodeId,
    },
    /// A lease goes on under its successor's name.
    Renamed {
        /// Before.
        from: LeaseId,
        /// From now on.
        to: LeaseId,
    },
    /// A gate's limit was set.
    Limited {
        /// Which.
        gate: GateId,
        /// To what.
        limit: Limit,
    },
    /// A lease got a slot.
    Granted {
        /// Which lease.
        lease: LeaseId,
        /// Where.
        gate: GateId,
        /// For which model; 0 for a user's slot.
        model: ModelId,
        /// Its place in order.
        tag: Tag,
        /// How.
        way: Way,
        /// Leases held on the gate, with this one.
        held: u32,
        /// The gate's limit.
        limit: Limit,
    },
    /// A grant was claimed.
    Claimed {
        /// Which lease.
        lease: LeaseId,
        /// Where.
        gate: GateId,
    },
    /// A lease lost its slot.
    Ended {
        /// Which lease.
        lease: LeaseId,
        /// Where.
        gate: GateId,
        /// How.
        how: Ending,
    },
    /// A ticket was put in a line.
    Queued {
        /// Whose.
        lease: LeaseId,
        /// Where.
        line: Line,
        /// At which place in order.
        tag: Tag,
    },
    /// A ticket was taken out of a line, for whatever reason.
    Unqueued {
        /// Whose.
        lease: LeaseId,
        /// Where.
        line: Line,
    },
    /// `Leave` was applied to the lease, whatever it had.
    Left {
        /// Which.
        lease: LeaseId,
        /// Whether a tombstone was left.
        fence: bool,
    },
    /// A health key was closed, or its closing lengthened.
    Closed {
        /// Whose.
        account: AccountId,
        /// Which key; `None` is the account's own.
        model: Option<ModelId>,
        /// Until when, on the raw clock.
        until: Time,
        /// Why.
        cause: Cause,
    },
    /// A lease is a half-open key's probe.
    Probing {
        /// Whose.
        account: AccountId,
        /// Which key.
        model: Option<ModelId>,
        /// Which lease.
        lease: LeaseId,
    },
    /// A half-open key's probe ended without proving it: the next lease is the probe.
    ProbeEnded {
        /// Whose.
        account: AccountId,
        /// Which key.
        model: Option<ModelId>,
    },
    /// A key is half-open no more: proved, left `Ok`, or recovered by the operator.
    Proved {
        /// Whose.
        account: AccountId,
        /// Which key.
        model: Option<ModelId>,
    },
}
