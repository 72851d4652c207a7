//! Who is told of which node's grants.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    fn of(&self, grant: Grant) -> Option<GrantSink> {
        let instance = self.by_node.get(&grant.lease.node);
        instance.and_then(|instance| self.by_instance.get(instance)).cloned()
    }
}

/// Tells whom they concern of these grants. No lock is held while a sink is called.
pub(crate) fn push(sinks: &Mutex<Sinks>, grants: &[Grant]) {
    for &grant in grants {
        let sink = held(sinks).of(grant);
        if let Some(sink) = sink {
            sink(grant);
        }
    }
}

/// What is behind a lock. Serving on is better than refusing everybody, even if whoever held it has
/// panicked.
pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use sluice_engine::{AccountId, Attempt, GateId, LeaseId, RequestId};

    use super::*;

    fn grant(node: NodeId) -> Grant {
        let lease = LeaseId { node, request: RequestId(1), attempt: Attempt(0) };
        Grant { lease, gate: GateId::Account(AccountId(1)) }
    }

    #[test]
    fn a_grant_goes_to_the_instance_that_its_node_is_now() {
        let (one, two) = (Instance("one".into()), Instance("two".into()));
        let heard: Arc<Mutex<Vec<&str>>> = Arc::default();
        let mut sinks = Sinks::default();
        for (instance, name) in [(&one, "one"), (&two, "two")] {
            let heard = heard.clone();
            let sink: GrantSink = Arc::new(move |_| heard.lock().expect("no panic").push(name));
            sinks.subscribe(instance.clone(), sink);
        }
        assert_eq!(sinks.join(one.clone(), NodeId(1)), []);
        assert_eq!(sinks.join(two, NodeId(2)), []);
        assert_eq!(sinks.join(one, NodeId(3)), [NodeId(1)], "it is another node now");
        assert_eq!(sinks.nodes(), [NodeId(2), NodeId(3)]);
        assert!(sinks.of(grant(NodeId(1))).is_none(), "that node is gone");
        for node in [2, 3] {
            sinks.of(grant(NodeId(node))).expect("it is somebody")(grant(NodeId(node)));
        }
        assert_eq!(*heard.lock().expect("no panic"), ["two", "one"]);
        sinks.forget_nodes();
        assert!(sinks.nodes().is_empty() && sinks.of(grant(NodeId(2))).is_none());
    }
}
