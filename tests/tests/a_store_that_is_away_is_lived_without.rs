//! The store goes away and comes back: in `local` mode requests go on, in `reject` mode each is told
//! so at once, and `/readyz` says which it is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use sluice_engine::ledger::LineView;
use sluice_engine::store::Instance;
use sluice_engine::{Span, StoreFault, StoreOp, StoreReply};
use sluice_runtime_tokio::mock::Behaviour;
use sluice_storage::degraded::{Degraded, Mode, Thresholds};
use sluice_storage::{GrantSink, MemoryStore, Store, Watch};
use sluice_tests::{Plan, World, hello, named, run_on};

/// A store that can be out of reach.
struct Remote {
    store: MemoryStore,
    away: AtomicBool,
}

impl Store for Remote {
    async fn run(&self, op: StoreOp) -> Result<StoreReply, StoreFault> {
        if self.away.load(Ordering::Relaxed) {
            return Err(StoreFault::Refused);
        }
        self.store.run(op).await
    }
}

impl Watch for Remote {
    fn subscribe(&self, instance: Instance, sink: GrantSink) {
        self.store.subscribe(instance, sink);
    }

    fn view(&self) -> Option<Vec<LineView>> {
        self.store.view()
    }
}

/// What `/readyz` says.
async fn ready(world: &World<Degraded<Remote>>) -> (u16, Vec<u8>) {
    let request = Request::get("/readyz").body(Full::<Bytes>::default()).expect("a request");
    let mut reply = world.send(request).await;
    (reply.status(), reply.body().await)
}

/// What a request is answered, and when it may be tried again.
async fn ask(world: &World<Degraded<Remote>>) -> (u16, String) {
    let mut reply = world.ask("alice", &hello(false)).await;
    reply.body().await;
    let again = reply.headers().get("retry-after").map(|at| at.to_str().expect("a number"));
    (reply.status(), again.unwrap_or_default().to_owned())
}

/// `away` is what `/readyz` says while the store is away, `asked` what a request is answered then.
fn outage(mode: Mode, away: (u16, Vec<u8>), service: &str, asked: (u16, String)) {
    let quick = Behaviour { latency: Duration::from_millis(2), ..named("one") };
    let plan = Plan::default().user("alice", 2, "").account("one", 2, quick, "");
    let thresholds = Thresholds { failing: Span::from_ms(50), ..Thresholds::default() };
    let store = |start| {
        let store = MemoryStore::new(start);
        Degraded::new(Remote { store, away: AtomicBool::new(false) }, mode, thresholds)
    };
    run_on(plan, store, async |world| {
        assert_eq!(ask(&world).await.0, 200);
        world.store.inner().away.store(true, Ordering::Relaxed);
        while ready(&world).await != away {}
        assert_eq!(ask(&world).await, asked);
        assert_eq!(world.look("/debug/runtime").await["workers"][0]["store"], service);
        world.store.inner().away.store(false, Ordering::Relaxed);
        while ready(&world).await != (200, b"ready".to_vec()) {}
        assert_eq!(ask(&world).await.0, 200);
        let seen = world.look("/debug/runtime").await;
        assert_eq!(seen["workers"][0]["store"], "full");
        assert_eq!(seen["workers"][0]["store_outages"], 1);
        world
    });
}

#[test]
fn in_local_mode_requests_go_on() {
    outage(Mode::Local, (200, b"degraded".to_vec()), "local", (200, String::new()));
}

#[test]
fn in_reject_mode_each_is_told_so() {
    outage(Mode::Reject, (503, b"degraded".to_vec()), "away", (503, "2".to_owned()));
}
