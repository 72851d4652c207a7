//! What operators can ask of a store, and do to it.

use sluice_engine::store::{Instance, StoreOp, StoreReply};
use sluice_engine::{LeaseId, NodeId, StoreFault};

use super::scripts::Script;
use super::{RedisStore, decode};
use crate::Store;

/// A node whose session goes on, or has ended and is not reaped yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Which.
    pub node: NodeId,
    /// The process and worker that it is.
    pub instance: Instance,
}

impl RedisStore {
    /// Which nodes there are.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn nodes(&self) -> Result<Vec<NodeView>, StoreFault> {
        let answer = self.space.run(&self.client, Script::Nodes, Vec::new()).await;
        let answer = answer.map_err(|failed| failed.fault())?;
        decode::decode_nodes(&answer).map_err(|_| StoreFault::Unknown)
    }

    /// Takes a lease out of its slot or line, as its own node would, but without a word about its
    /// account. Nothing keeps the node from telling the store again what still runs: it notices within
    /// two beats that its leases are not those that the store has, and resyncs.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn release(&self, lease: LeaseId) -> Result<StoreReply, StoreFault> {
        self.run(StoreOp::Leave { lease, mark: None, fence: false }).await
    }
}
