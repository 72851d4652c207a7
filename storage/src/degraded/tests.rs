//! What is done around an outage, step by step. Whole outages are driven through in
//! `storage/tests/gateways_outlive_their_store`.

use std::sync::atomic::{AtomicBool, Ordering};

use sluice_engine::store::{
    Define, Discipline, Enter, HealthRules, HeldLease, Limit, PROTOCOL, Resync, Version, Want,
};
use sluice_engine::{Ask, Attempt, GateId, LeaseId, ModelId, PoolId, RequestId, Span, Tag, UserId};

use super::*;
use crate::MemoryStore;

/// A store that can be cut off.
struct Road(MemoryStore, AtomicBool);

impl Store for Road {
    fn try_now(&self, _: Time, op: StoreOp) -> Result<StoreReply, StoreOp> {
        Err(op)
    }

    async fn run(&self, op: StoreOp) -> Result<StoreReply, StoreFault> {
        if self.1.load(Ordering::Relaxed) {
            return Err(StoreFault::Refused);
        }
        Ok(self.0.try_now(Time(9_000_000), op).expect("a store in memory answers at once"))
    }
}

impl Watch for Road {
    fn subscribe(&self, instance: Instance, sink: GrantSink) {
        self.0.subscribe(instance, sink);
    }

    fn view(&self) -> Option<Vec<LineView>> {
        self.0.view()
    }
}

fn join(replaces: Option<NodeId>, resume: bool) -> StoreOp {
    StoreOp::Join { instance: Instance("a/0".into()), replaces, resume, protocol: PROTOCOL }
}

fn joined(reply: StoreReply) -> NodeId {
    let StoreReply::Joined { node, .. } = reply else { panic!("{reply:?}") };
    node
}

/// Asks at so many milliseconds.
fn at(store: &Degraded<Road>, ms: u64, op: StoreOp) -> Result<StoreReply, StoreFault> {
    let now = Time(9_000_000) + Span::from_ms(ms);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    store.try_now(now, op).or_else(|op| runtime.block_on(store.run(op)))
}

/// A store that went away at 600 ms, before it had ever answered.
fn away(memory: MemoryStore, mode: Mode) -> Degraded<Road> {
    let store = Degraded::new(Road(memory, AtomicBool::new(false)), mode, Thresholds::default());
    go(&store, 0);
    store
}

/// It goes away within 600 ms of this one.
fn go(store: &Degraded<Road>, ms: u64) {
    store.inner.1.store(true, Ordering::Relaxed);
    for later in [0, 300, 600] {
        drop(at(store, ms + later, join(None, false)));
    }
}

fn beat(node: NodeId) -> StoreOp {
    StoreOp::Beat { node, settled: 0, in_flight: 0 }
}

/// It is back within 600 ms of this one.
fn back(store: &Degraded<Road>, ms: u64, node: NodeId) {
    store.inner.1.store(false, Ordering::Relaxed);
    for later in [0, 300, 600] {
        drop(at(store, ms + later, beat(node)));
    }
}

fn memory() -> MemoryStore {
    MemoryStore::new(Time(9_000_000))
}

fn survey() -> StoreOp {
    let (pool, model) = (PoolId(1), ModelId(1));
    StoreOp::Survey { pool, model, session: None, excluded: Vec::new(), best: 1 }
}

fn define() -> StoreOp {
    StoreOp::Define(Define {
        version: Version { stamp: 1, digest: 1 },
        discipline: Discipline::Settle,
        health: HealthRules::default(),
        accounts: Vec::new(),
        pools: Vec::new(),
    })
}

/// What has run on since before the outage.
fn resync(node: NodeId) -> StoreOp {
    let lease = LeaseId { node, request: RequestId(1), attempt: Attempt(0) };
    let (gate, limit) = (GateId::User(UserId(1)), Some((Limit::Slots(1), Version::default())));
    let held = vec![HeldLease { lease, gate, limit, model: ModelId(0), tag: Tag(1), ttl: None }];
    let (busy, waiting) = (Vec::new(), Vec::new());
    StoreOp::Resync(Resync { node, ask: Ask(2), as_of: Ask(1), busy, held, waiting, last: true })
}

#[test]
fn what_a_process_of_the_same_name_left_behind_is_not_taken_over_after_an_outage() {
    let memory = MemoryStore::new(Time(9_000_000));
    let direct = |op| memory.try_now(Time(9_000_000), op).expect("at once");
    let dead = joined(direct(join(None, false)));
    let lease = LeaseId { node: dead, request: RequestId(1), attempt: Attempt(0) };
    let (user, limit) = (UserId(1), Limit::Slots(1));
    let want = Want::User { user, limit, version: Default::default(), line_max: 1 };
    let enter = Enter { lease, ask: Ask(7), want, tag: None, patience: None, ttl: None };
    assert!(matches!(direct(StoreOp::Enter(enter)), StoreReply::Held { .. }));

    let store = away(memory, Mode::Local);
    let stood_in = joined(at(&store, 700, join(None, false)).expect("a stand-in"));
    back(&store, 1_000, stood_in);
    let taken = at(&store, 2_000, join(Some(stood_in), true)).expect("it is back");
    assert!(matches!(taken, StoreReply::Taken { node, .. } if node == dead), "{taken:?}");
    joined(at(&store, 2_100, join(Some(dead), true)).expect("it is back"));
    let held: usize = store.view().expect("in memory").iter().map(|line| line.held.len()).sum();
    assert_eq!(held, 0);
}

#[test]
fn accounts_are_not_surveyed_before_who_answers_knows_the_roster() {
    let store = away(memory(), Mode::Local);
    let stood_in = joined(at(&store, 700, join(None, false)).expect("a stand-in"));
    let refused = Err(StoreFault::Refused);
    assert_eq!(at(&store, 710, survey()), refused, "an empty pool would be told as a closed one");
    assert_eq!(at(&store, 720, define()), Ok(StoreReply::Done));
    assert!(matches!(at(&store, 730, survey()), Ok(StoreReply::Surveyed(_))));
    back(&store, 1_000, stood_in);
    assert_eq!(at(&store, 2_000, survey()), refused, "what the stand-in was told it was not");
    joined(at(&store, 2_100, join(Some(stood_in), true)).expect("it is back"));
    assert_eq!(at(&store, 2_200, define()), Ok(StoreReply::Done));
    assert!(matches!(at(&store, 2_300, survey()), Ok(StoreReply::Surveyed(_))));
}

#[test]
fn a_session_with_a_stand_in_ends_with_it_and_the_store_is_not_asked() {
    let store = away(memory(), Mode::Local);
    let stood_in = joined(at(&store, 700, join(None, false)).expect("a stand-in"));
    back(&store, 1_000, stood_in);
    store.inner.1.store(true, Ordering::Relaxed);
    let now = Time(9_000_000) + Span::from_ms(2_000);
    assert_eq!(store.try_now(now, beat(stood_in)), Ok(StoreReply::Lost));
}

#[test]
fn outages_and_what_ran_beyond_the_share_are_counted_over_all_of_them() {
    let store = away(memory(), Mode::Local);
    for (nth, from) in [(1, 0), (2, 10_000)] {
        let told = |service, over_share| Condition { service, outages: nth, over_share };
        if nth > 1 {
            go(&store, from);
        }
        // Of a store that has never named a node nobody has a share.
        let node = joined(at(&store, from + 700, join(None, false)).expect("a stand-in"));
        assert_eq!(store.condition(), told(Service::Local, nth - 1));
        assert_eq!(at(&store, from + 800, resync(node)), Ok(StoreReply::Done));
        assert_eq!(store.condition(), told(Service::Local, nth));
        back(&store, from + 1_000, node);
        assert_eq!(store.condition(), told(Service::Full, nth));
    }
}

#[test]
fn while_it_stands_in_its_own_lines_are_shown() {
    let store = away(memory(), Mode::Local);
    let node = joined(at(&store, 700, join(None, false)).expect("a stand-in"));
    assert_eq!(at(&store, 800, resync(node)), Ok(StoreReply::Done));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let lines = runtime.block_on(store.lines()).expect("a stand-in tells at once");
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].held[0].0.node, node);
    assert_eq!(store.view().expect("the same").len(), 1);
    back(&store, 1_000, node);
    assert_eq!(runtime.block_on(store.lines()), Ok(Vec::new()), "the store's own");
}

#[test]
fn who_tries_whether_it_is_back_is_told_away_until_it_is() {
    let memory = memory();
    let before = memory.try_now(Time(9_000_000), join(None, false)).expect("at once");
    let node = joined(before);
    let store = away(memory, Mode::Reject);
    assert_eq!(store.condition().service, Service::Away);
    assert_eq!(at(&store, 1_000, beat(node)), Err(StoreFault::Refused), "as the store did");
    assert_eq!(at(&store, 1_010, beat(node)), Err(StoreFault::Away), "it is not tried");
    store.inner.1.store(false, Ordering::Relaxed);
    assert_eq!(at(&store, 1_300, beat(node)), Err(StoreFault::Away), "once is no return");
    let alive = at(&store, 1_600, beat(node));
    assert!(matches!(alive, Ok(StoreReply::Alive { .. })), "{alive:?}");
    assert_eq!(store.circuit(), Circuit::Closed);
}
