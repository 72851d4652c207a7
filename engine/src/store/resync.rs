//! Telling the store what a node really has.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::{Limit, Version, Want};
use crate::ids::{Ask, GateId, LeaseId, ModelId, NodeId, Tag};
use crate::time::Span;

/// A held lease, as its node knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HeldLease {
    /// The lease.
    pub lease: LeaseId,
    /// Where it is held.
    pub gate: GateId,
    /// For a user gate: its limit, and the roster that is from.
    pub limit: Option<(Limit, Version)>,
    /// For an account: the model it serves.
    pub model: ModelId,
    /// Its place in order.
    pub tag: Tag,
    /// What is left of its ttl.
    pub ttl: Option<Span>,
}

/// A waiting lease, as its node knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WaitingLease {
    /// The lease.
    pub lease: LeaseId,
    /// Where it waits; with a line.
    pub want: Want,
    /// Its place in order.
    pub tag: Tag,
    /// How much longer.
    pub patience: Span,
    /// As in [`super::Enter`].
    pub ttl: Option<Span>,
}

/// Tells the store what a node really has. One pass is a run of calls with the same `as_of`.
///
/// For each listed lease that has no tombstone and whose known ask is below `ask`: held ones are held
/// on their gate from now on, claimed, over the limit if need be (an unknown gate is created; given
/// up first wherever else they were), stale for every closing there has been; waiting ones that have nothing get a ticket, whatever
/// `line_max` says, those that wait elsewhere move, those that are held or granted stay so. Their known
/// ask becomes `ask`. Listed and busy leases are noted as seen by this pass. At `last`, the node's
/// leases with a known ask at or below `as_of` that this pass has not seen are left, without mark or
/// tombstone (`leases_orphaned_total`). At the end every gate is settled, users first, by id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Resync {
    /// Whose.
    pub node: NodeId,
    /// This call's number.
    pub ask: Ask,
    /// The node's call number when the pass began.
    pub as_of: Ask,
    /// Leases with an operation unanswered: not touched.
    pub busy: Vec<LeaseId>,
    /// Leases held.
    pub held: Vec<HeldLease>,
    /// Leases waiting.
    pub waiting: Vec<WaitingLease>,
    /// The pass ends here.
    pub last: bool,
}
