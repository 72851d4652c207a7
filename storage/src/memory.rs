//! The store of a single process: a [`Ledger`] behind a lock.
//!
//! It answers at once, so that a request whose slots are free is admitted without a task or an
//! await. Its clock is the `now` of its callers: all workers of a process share one clock.

use std::sync::Mutex;

use sluice_engine::ledger::LineView;
use sluice_engine::store::Instance;
use sluice_engine::{Ledger, StoreFault, StoreOp, StoreReply, Time};

use crate::sinks::{Sinks, held, push};
use crate::{GrantSink, Store, Watch};

/// See the module's documentation.
pub struct MemoryStore {
    ledger: Mutex<State>,
    sinks: Mutex<Sinks>,
}

struct State {
    ledger: Ledger,
    /// The latest time seen: operations without a time of their own happen then.
    now: Time,
}

impl MemoryStore {
    /// An empty store. `start` is the present time of the callers' clock; it should grow from one
    /// run of the process to the next.
    #[must_use]
    pub fn new(start: Time) -> Self {
        let state = State { ledger: Ledger::new(start), now: start };
        Self { ledger: Mutex::new(state), sinks: Mutex::default() }
    }

    /// Does something with the ledger, which nobody else can reach meanwhile.
    pub fn with_ledger<T>(&self, f: impl FnOnce(&mut Ledger) -> T) -> T {
        f(&mut held(&self.ledger).ledger)
    }

    fn apply(&self, now: Option<Time>, op: StoreOp) -> StoreReply {
        let joining = match &op {
            StoreOp::Join { instance, .. } => Some(instance.clone()),
            StoreOp::Beat { .. }
            | StoreOp::Resync(_)
            | StoreOp::Define(_)
            | StoreOp::Enter(_)
            | StoreOp::Leave { .. }
            | StoreOp::Survey { .. }
            | StoreOp::Session { .. }
            | StoreOp::Health { .. }
            | StoreOp::Reap { .. } => None,
        };
        let (reply, grants) = {
            let mut state = held(&self.ledger);
            state.now = now.map_or(state.now, |now| now.max(state.now));
            let now = state.now;
            let (reply, grants) = state.ledger.apply(now, op);
            // Known before another thread can make a grant to the new node.
            if let (Some(instance), StoreReply::Joined { node, .. }) = (joining, &reply) {
                held(&self.sinks).join(instance, *node);
            }
            (reply, grants)
        };
        push(&self.sinks, &grants);
        reply
    }
}

impl Store for MemoryStore {
    fn try_now(&self, now: Time, op: StoreOp) -> Result<StoreReply, StoreOp> {
        Ok(self.apply(Some(now), op))
    }

    /// Happens at the latest time that any caller has named.
    async fn run(&self, op: StoreOp) -> Result<StoreReply, StoreFault> {
        Ok(self.apply(None, op))
    }
}

impl Watch for MemoryStore {
    fn subscribe(&self, instance: Instance, sink: GrantSink) {
        held(&self.sinks).subscribe(instance, sink);
    }

    fn view(&self) -> Option<Vec<LineView>> {
        Some(held(&self.ledger).ledger.view())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_engine::store::{Enter, Grant, Limit, PROTOCOL, Version, Want};
    use sluice_engine::{Ask, Attempt, LeaseId, NodeId, RequestId, Span, UserId};
    use std::sync::Arc;

    fn join(store: &MemoryStore, name: &str) -> NodeId {
        let op = StoreOp::Join {
            instance: Instance(name.into()),
            replaces: None,
            resume: false,
            protocol: PROTOCOL,
        };
        match store.try_now(Time(1_000_000), op) {
            Ok(StoreReply::Joined { node, .. }) => node,
            other => panic!("expected to join, got {other:?}"),
        }
    }

    fn enter(node: NodeId, request: u64) -> StoreOp {
        let lease = LeaseId { node, request: RequestId(request), attempt: Attempt(0) };
        let want = Want::User {
            user: UserId(1),
            limit: Limit::Slots(1),
            version: Version::default(),
            line_max: 10,
        };
        let patience = Some(Span::from_secs(30));
        StoreOp::Enter(Enter { lease, ask: Ask(request), want, tag: None, patience, ttl: None })
    }

    fn leave(node: NodeId, request: u64) -> StoreOp {
        let lease = LeaseId { node, request: RequestId(request), attempt: Attempt(0) };
        StoreOp::Leave { lease, mark: None, fence: false }
    }

    #[test]
    fn a_grant_is_pushed_to_the_instance_that_waits_and_to_no_other() {
        let store = Arc::new(MemoryStore::new(Time(1_000_000)));
        let heard: Arc<Mutex<Vec<(&str, Grant)>>> = Arc::default();
        for name in ["one", "two"] {
            let (heard, looked) = (heard.clone(), store.clone());
            let sink: GrantSink = Arc::new(move |grant| {
                assert!(looked.view().is_some(), "no lock is held while a sink is called");
                heard.lock().expect("no panic").push((name, grant));
            });
            store.subscribe(Instance(name.into()), sink);
        }
        let (one, two) = (join(&store, "one"), join(&store, "two"));
        let now = Time(1_000_000);
        assert!(matches!(store.try_now(now, enter(one, 1)), Ok(StoreReply::Held { .. })));
        assert!(matches!(store.try_now(now, enter(two, 2)), Ok(StoreReply::Waiting { .. })));
        assert_eq!(store.try_now(now, leave(one, 1)), Ok(StoreReply::Done));
        let heard = heard.lock().expect("no panic");
        assert_eq!(heard.len(), 1);
        assert_eq!((heard[0].0, heard[0].1.lease.node), ("two", two));
        let view = store.view().expect("it is here");
        assert_eq!((view[0].held[0].0.node, view[0].held.len()), (two, 1));
    }

    #[test]
    fn a_caller_whose_time_lags_does_not_turn_time_back() {
        let store = MemoryStore::new(Time(5_000_000));
        let node = join(&store, "one");
        assert!(store.try_now(Time(7_000_000), enter(node, 1)).is_ok());
        assert!(matches!(store.try_now(Time(6_000_000), leave(node, 1)), Ok(StoreReply::Done)));
        assert_eq!(held(&store.ledger).now, Time(7_000_000));
    }
}
