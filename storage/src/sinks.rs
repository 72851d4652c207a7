//! Who is told of which node's grants.

use std::collections::BTreeMap;

use sluice_engine::NodeId;
use sluice_engine::store::{Grant, Instance};

use crate::GrantSink;

/// The sinks of a process' instances, and the node that each instance is now.
#[derive(Default)]
pub(crate) struct Sinks {
    by_instance: BTreeMap<Instance, GrantSink>,
    by_node: BTreeMap<NodeId, Instance>,
}

impl Sinks {
    pub(crate) fn subscribe(&mut self, instance: Instance, sink: GrantSink) {
        self.by_instance.insert(instance, sink);
    }

    /// The instance is this node now. Says which it was before.
    pub(crate) fn join(&mut self, instance: Instance, node: NodeId) -> Vec<NodeId> {
        let mut former = Vec::new();
        self.by_node.retain(|node, known| {
            let same = *known == instance;
            if same {
                former.push(*node);
            }
            !same
        });
        self.by_node.insert(node, instance);
        former
    }

    /// No instance is a node any more.
    pub(crate) fn forget_nodes(&mut self) {
        self.by_node.clear();
    }

    /// The nodes that the instances are now.
    pub(crate) fn nodes(&self) -> Vec<NodeId> {
        self.by_node.keys().copied().collect()
    }

    /// Where a grant goes, to be called when no lock is held.
    pub(crate) fn of(&self, grant: Grant) -> Option<GrantSink> {
        let instance = self.by_node.get(&grant.lease.node);
        instance.and_then(|instance| self.by_instance.get(instance)).cloned()
    }
}
