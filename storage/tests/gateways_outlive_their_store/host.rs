//! The store that gateways share: a ledger on the world's clock, a millisecond away, that can be
//! stopped, go on, or start again with nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

use sluice_engine::ledger::LineView;
use sluice_engine::store::{Grant, Instance};
use sluice_engine::{Ledger, NodeId, Span, StoreFault, StoreOp, StoreReply, Time};
use sluice_storage::{GrantSink, Store, Watch};

/// How it is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Away {
    /// It takes what is sent, and does not answer; it does all of it when it goes on.
    Stopped,
    /// Nothing can be sent.
    Gone,
}

/// One way to the store.
const WAY: Span = Span::from_ms(1);
/// How long its callers wait for an answer.
pub(crate) const TIMEOUT: Span = Span::from_ms(300);

struct Host {
    now: Time,
    ledger: Ledger,
    /// Which processes cannot reach it, and how.
    away: BTreeMap<usize, Away>,
    /// Sent while it was stopped.
    left: Vec<(usize, StoreOp)>,
    sinks: BTreeMap<Instance, GrantSink>,
    nodes: BTreeMap<NodeId, (usize, Instance)>,
    /// When something that is awaited happens.
    deadlines: BTreeSet<Time>,
}

/// See the module's documentation.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<Host>>);

impl Shared {
    pub(crate) fn new(now: Time) -> Self {
        Self(Arc::new(Mutex::new(Host {
            now,
            ledger: Ledger::new(now),
            away: BTreeMap::new(),
            left: Vec::new(),
            sinks: BTreeMap::new(),
            nodes: BTreeMap::new(),
            deadlines: BTreeSet::new(),
        })))
    }

    fn host(&self) -> MutexGuard<'_, Host> {
        self.0.lock().expect("nobody panics while holding it")
    }

    pub(crate) fn set_now(&self, now: Time) {
        let mut host = self.host();
        host.now = now;
        host.deadlines.retain(|at| *at > now);
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.host().deadlines.first().copied()
    }

    /// It cannot be reached by this process any more.
    pub(crate) fn lose(&self, process: usize, away: Away) {
        self.host().away.insert(process, away);
    }

    /// It can be reached by this process again, and does what was sent meanwhile.
    pub(crate) fn find(&self, process: usize) {
        self.host().away.remove(&process);
        let left = std::mem::take(&mut self.host().left);
        for (process, op) in left {
            self.apply(process, op);
        }
    }

    /// It starts again with nothing.
    pub(crate) fn forget(&self) {
        let mut host = self.host();
        host.left.clear();
        host.ledger = Ledger::new(host.now);
    }

    pub(crate) fn with_ledger<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.host().ledger)
    }

    fn apply(&self, process: usize, op: StoreOp) -> StoreReply {
        let joining =
            if let StoreOp::Join { instance, .. } = &op { Some(instance.clone()) } else { None };
        let (reply, told) = {
            let mut host = self.host();
            let now = host.now;
            let (reply, grants) = host.ledger.apply(now, op);
            assert_eq!(host.ledger.check_invariants(), Vec::<String>::new());
            if let (Some(instance), StoreReply::Joined { node, .. }) = (joining, &reply) {
                host.nodes.insert(*node, (process, instance));
            }
            let told: Vec<_> = grants.into_iter().filter_map(|grant| host.sink(grant)).collect();
            (reply, told)
        };
        told.into_iter().for_each(|(sink, grant)| sink(grant));
        reply
    }

    /// Returns when the world's clock shows so much more.
    async fn pass(&self, span: Span) {
        let at = self.host().now + span;
        self.host().deadlines.insert(at);
        poll_fn(|_| if self.host().now >= at { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

impl Host {
    fn sink(&self, grant: Grant) -> Option<(GrantSink, Grant)> {
        let (process, instance) = self.nodes.get(&grant.lease.node)?;
        if self.away.contains_key(process) {
            return None;
        }
        Some((self.sinks.get(instance)?.clone(), grant))
    }
}

/// One process' way to it.
pub(crate) struct Road {
    pub(crate) shared: Shared,
    pub(crate) process: usize,
}

impl Store for Road {
    async fn run(&self, op: StoreOp) -> Result<StoreReply, StoreFault> {
        let away = self.shared.host().away.get(&self.process).copied();
        match away {
            Some(Away::Gone) => Err(StoreFault::Refused),
            Some(Away::Stopped) => {
                self.shared.host().left.push((self.process, op));
                self.shared.pass(TIMEOUT).await;
                Err(StoreFault::Unknown)
            }
            None => {
                self.shared.pass(WAY).await;
                if self.shared.host().away.contains_key(&self.process) {
                    self.shared.pass(TIMEOUT).await;
                    return Err(StoreFault::Unknown);
                }
                let reply = self.shared.apply(self.process, op);
                self.shared.pass(WAY).await;
                Ok(reply)
            }
        }
    }
}

impl Watch for Road {
    fn subscribe(&self, instance: Instance, sink: GrantSink) {
        self.shared.host().sinks.insert(instance, sink);
    }

    fn view(&self) -> Option<Vec<LineView>> {
        None
    }
}
