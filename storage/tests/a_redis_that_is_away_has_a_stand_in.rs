//! A real redis-server is killed and started again without its data: a stand-in takes over, and gives
//! back to it.
#![expect(clippy::tests_outside_test_module, reason = "this is a test")]

use std::cell::Cell;
use std::time::Duration;

use sluice_engine::store::{Enter, Instance, Limit, PROTOCOL, Version, Want};
use sluice_engine::{
    Ask, Attempt, LeaseId, NodeId, RequestId, Span, StoreFault, StoreOp, StoreReply, Tag, Time,
    UserId,
};
use sluice_storage::degraded::{Degraded, Mode, Thresholds};
use sluice_storage::redis::{Options, RedisStore};
use sluice_storage::{Service, Store, Watch};
use sluice_test_redis::Server;
use tokio::time::sleep;

/// A gateway's way to its store. For it, 50 ms pass between two operations.
struct Gateway {
    store: Degraded<RedisStore>,
    now: Cell<Time>,
}

impl Gateway {
    async fn open(server: &Server) -> Self {
        let url = server.url();
        let store = RedisStore::connect(&url, Options::default()).await.expect("it answers");
        let store = Degraded::new(store, Mode::Local, Thresholds::default());
        Self { store, now: Cell::new(Time(1_700_000_000_000_000)) }
    }

    async fn ask(&self, op: StoreOp) -> Result<StoreReply, StoreFault> {
        self.now.set(self.now.get() + Span::from_ms(50));
        match self.store.try_now(self.now.get(), op) {
            Ok(reply) => Ok(reply),
            Err(op) => self.store.run(op).await,
        }
    }

    async fn join(&self, replaces: Option<NodeId>) -> (NodeId, bool) {
        let instance = Instance("one".into());
        let resume = replaces.is_some();
        match self.ask(StoreOp::Join { instance, replaces, resume, protocol: PROTOCOL }).await {
            Ok(StoreReply::Joined { node, stand_in, .. }) => (node, stand_in),
            other => panic!("expected to join, got {other:?}"),
        }
    }

    /// Beats until the node's session is over.
    async fn until_lost(&self, node: NodeId) {
        let beat = StoreOp::Beat { node, settled: 0, in_flight: 0 };
        while self.ask(beat.clone()).await != Ok(StoreReply::Lost) {
            sleep(Duration::from_millis(50)).await;
        }
    }
}

fn enter(node: NodeId, request: u64, tag: Option<Tag>) -> StoreOp {
    let want = Want::User {
        user: UserId(1),
        limit: Limit::Slots(1),
        version: Version { stamp: 1, digest: 0 },
        line_max: 9,
    };
    let lease = LeaseId { node, request: RequestId(request), attempt: Attempt(0) };
    let patience = Some(Span::from_secs(30));
    StoreOp::Enter(Enter { lease, ask: Ask(request), want, tag, patience, ttl: None })
}

#[tokio::test]
async fn a_stand_in_takes_over_and_gives_back() {
    let Some(mut server) = Server::start("stand-in", &[]) else { return };
    let gateway = Gateway::open(&server).await;
    let (node, stand_in) = gateway.join(None).await;
    assert!(!stand_in);

    server.kill();
    gateway.until_lost(node).await;
    assert_eq!(gateway.store.condition().service, Service::Local);
    let (local, stand_in) = gateway.join(Some(node)).await;
    assert!(stand_in && local > node);
    // The only gateway there is has all slots, and known so since it joined.
    assert!(matches!(gateway.ask(enter(local, 1, None)).await, Ok(StoreReply::Held { .. })));
    let waiting = gateway.ask(enter(local, 2, None)).await;
    let Ok(StoreReply::Waiting { tag, .. }) = waiting else { panic!("{waiting:?}") };

    server.restart();
    gateway.until_lost(local).await;
    assert_eq!(gateway.store.condition().service, Service::Full);
    let (back, stand_in) = gateway.join(Some(local)).await;
    assert!(!stand_in && back != node && back < local);
    let held = gateway.ask(enter(back, 3, None)).await;
    let Ok(StoreReply::Held { tag: newer, .. }) = held else { panic!("{held:?}") };
    let waiting = gateway.ask(enter(back, 4, Some(tag))).await;
    let Ok(StoreReply::Waiting { tag, .. }) = waiting else { panic!("{waiting:?}") };
    assert!(tag < newer, "who has waited with the stand-in comes before whoever comes now");
}
