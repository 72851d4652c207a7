//! What an operation speaks of.

use sluice_engine::store::{HealthChange, Resync, StoreOp};
use sluice_engine::{LeaseId, NodeId, RequestId};

/// The leases that a resync lists as held or waiting.
pub(crate) fn listed(resync: &Resync) -> impl Iterator<Item = LeaseId> + '_ {
    let held = resync.held.iter().map(|held| held.lease);
    held.chain(resync.waiting.iter().map(|waiting| waiting.lease))
}

/// Whether this is a resync that lists the lease.
pub(crate) fn lists(op: &StoreOp, lease: LeaseId) -> bool {
    matches!(op, StoreOp::Resync(resync) if listed(resync).any(|listed| listed == lease))
}

/// Whether this may enter the lease.
pub(crate) fn enters(op: &StoreOp, lease: LeaseId) -> bool {
    matches!(op, StoreOp::Enter(enter) if enter.lease == lease) || lists(op, lease)
}

/// Whether a request may have to wait for this operation of its engine.
pub(crate) fn concerns(op: &StoreOp, req: RequestId) -> bool {
    if let StoreOp::Enter(enter) = op {
        return enter.lease.request == req;
    }
    !matches!(op, StoreOp::Leave { .. })
}

/// The node that an operation names.
pub(crate) fn node_of(op: &StoreOp) -> Option<NodeId> {
    match op {
        StoreOp::Beat { node, .. } => Some(*node),
        StoreOp::Resync(resync) => Some(resync.node),
        StoreOp::Enter(enter) => Some(enter.lease.node),
        StoreOp::Leave { lease, .. }
        | StoreOp::Health { change: HealthChange::Proved(lease), .. } => Some(lease.node),
        StoreOp::Join { .. }
        | StoreOp::Define(_)
        | StoreOp::Survey { .. }
        | StoreOp::Session { .. }
        | StoreOp::Health { .. }
        | StoreOp::Reap { .. } => None,
    }
}
