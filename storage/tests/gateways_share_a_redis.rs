//! The store itself on a real redis-server: what it answers, what it tells unasked, and what it says
//! when the server does not answer.
#![expect(clippy::tests_outside_test_module, reason = "this is a test")]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sluice_engine::store::{Enter, Grant, Instance, Limit, PROTOCOL, Version, Want};
use sluice_engine::{
    Ask, Attempt, GateId, LeaseId, NodeId, RequestId, Span, StoreFault, StoreOp, StoreReply, Time,
    UserId,
};
use sluice_storage::redis::protocol::{SERVER_CLOCK, Script};
use sluice_storage::redis::{ConnectError, NodeView, Options, RedisStore, inspect};
use sluice_storage::{Store, Watch};
use sluice_test_redis::{Cluster, Connection, Server};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

async fn connect(server: &Server) -> RedisStore {
    RedisStore::connect(&server.url(), Options::default()).await.expect("it answers")
}

fn ask(server: &Server, words: &[&str]) -> Vec<String> {
    let mut redis = Connection::open(&server.socket()).expect("it listens");
    redis.ask(words).expect("it answers")
}

async fn join(store: &RedisStore, name: &str, replaces: Option<NodeId>) -> (NodeId, u64) {
    let instance = Instance(name.into());
    let op = StoreOp::Join { instance, replaces, resume: false, protocol: PROTOCOL };
    match store.run(op).await {
        Ok(StoreReply::Joined { node, epoch, .. }) => (node, epoch),
        other => panic!("expected to join, got {other:?}"),
    }
}

fn lease(node: NodeId, request: u64) -> LeaseId {
    LeaseId { node, request: RequestId(request), attempt: Attempt(0) }
}

fn enter(node: NodeId, request: u64, ask: u64) -> StoreOp {
    let want = Want::User {
        user: UserId(u64::MAX),
        limit: Limit::Slots(1),
        version: Version { stamp: u64::MAX, digest: 7 },
        line_max: 100,
    };
    let (lease, patience) = (lease(node, request), Some(Span::from_secs(30)));
    StoreOp::Enter(Enter { lease, ask: Ask(ask), want, tag: None, patience, ttl: None })
}

fn leave(node: NodeId, request: u64) -> StoreOp {
    StoreOp::Leave { lease: lease(node, request), mark: None, fence: false }
}

fn listen(store: &RedisStore, name: &str) -> UnboundedReceiver<Grant> {
    let (tell, heard) = unbounded_channel();
    store.subscribe(
        Instance(name.into()),
        Arc::new(move |grant| tell.send(grant).expect("it is listened to")),
    );
    heard
}

#[tokio::test]
async fn a_slot_goes_from_one_gateway_to_the_next() {
    let Some(server) = Server::start("handed-on", &[]) else { return };
    hand_on(connect(&server).await, connect(&server).await).await;
}

#[tokio::test]
async fn a_slot_goes_from_one_gateway_to_the_next_in_a_cluster() {
    let Some(cluster) = Cluster::start("handed-on-cluster") else { return };
    let url = format!("redis-cluster://127.0.0.1:{}", cluster.ports[0]);
    let one = RedisStore::connect(&url, Options::default()).await.expect("it answers");
    let two = RedisStore::connect(&url, Options::default()).await.expect("it answers");
    hand_on(one, two).await;
}

async fn hand_on(one: RedisStore, two: RedisStore) {
    let (mut to_one, mut to_two) = (listen(&one, "one"), listen(&two, "two"));
    let ((first, _), (second, _)) = (join(&one, "one", None).await, join(&two, "two", None).await);
    let held = |reply: &Result<StoreReply, StoreFault>| matches!(reply, Ok(StoreReply::Held { gate, .. }) if *gate == GateId::User(UserId(u64::MAX)));
    assert!(held(&one.run(enter(first, 1, 1)).await));
    let waits = two.run(enter(second, u64::MAX, 1)).await;
    assert!(matches!(waits, Ok(StoreReply::Waiting { position: 1, .. })), "{waits:?}");
    assert_eq!(one.run(leave(first, 1)).await, Ok(StoreReply::Done));
    let grant = timeout(Duration::from_secs(5), to_two.recv()).await.expect("it is pushed");
    assert_eq!(grant.map(|grant| grant.lease), Some(lease(second, u64::MAX)));
    assert!(to_one.try_recv().is_err(), "a grant concerns one instance");
    assert!(held(&two.run(enter(second, u64::MAX, 2)).await));
    let lines = one.lines().await.expect("it answers");
    assert_eq!(lines.len(), 1);
    assert_eq!((lines[0].held[0].0, lines[0].held[0].2), (lease(second, u64::MAX), true));
}

#[tokio::test]
async fn an_operator_sees_who_there_is_and_takes_a_lease_out() {
    let Some(server) = Server::start("operator", &[]) else { return };
    let store = connect(&server).await;
    let used = ask(&server, &["KEYS", "*"]);
    assert!(used.iter().all(|key| key.starts_with("{sluice}:2:proof:")), "the start left {used:?}");
    let (node, _) = join(&store, "one", None).await;
    let instance = Instance("one".into());
    assert_eq!(store.nodes().await, Ok(vec![NodeView { node, instance }]));
    assert!(matches!(store.run(enter(node, 1, 1)).await, Ok(StoreReply::Held { .. })));
    assert_eq!(store.release(lease(node, 1)).await, Ok(StoreReply::Done));
    let lines = store.lines().await.expect("it answers");
    assert!(lines.iter().all(|line| line.held.is_empty()), "{lines:?}");
}

#[tokio::test]
async fn what_is_looked_at_of_a_redis_is_told() {
    let options = ["--maxmemory", "123456789", "--maxmemory-policy", "volatile-ttl"];
    let Some(server) = Server::start("inspected", &options) else { return };
    let secs = || ask(&server, &["TIME"])[0].parse::<u64>().expect("seconds");
    let before = secs();
    let now = Cell::new(Time(1_000));
    // Each look at this machine's clock takes 10 µs.
    let tick = || now.replace(now.get() + Span(10));
    let seen = inspect(&server.url(), &Options::default(), tick).await.expect("it answers");
    let info = ask(&server, &["INFO", "server"]).concat();
    assert!(
        info.contains(&format!("redis_version:{}\r\n", seen.version)) && !seen.version.is_empty()
    );
    assert_eq!((seen.role.as_str(), seen.maxmemory), ("master", 123_456_789));
    assert_eq!((seen.policy.as_str(), seen.evicts()), ("volatile-ttl", true));
    assert_eq!(seen.round_trips, [Span(10); 20]);
    let (theirs, ours) = seen.clocks;
    assert_eq!(ours, Time(1_000 + 19 * 20 + 5), "in the middle of the last round trip");
    assert!((before..=secs()).contains(&(theirs.0 / 1_000_000)), "{theirs:?}");
    assert!(seen.rights.is_ok());
}

#[tokio::test]
async fn a_limit_holds_over_all_gateways() {
    let Some(server) = Server::start("limit", &[]) else { return };
    let (running, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let mut tasks = JoinSet::new();
    for name in ["one", "two", "three"] {
        let patient = Options { timeout: Duration::from_secs(10), ..Options::default() };
        let store = RedisStore::connect(&server.url(), patient).await.expect("it answers");
        let store = Arc::new(store);
        let (node, _) = join(&store, name, None).await;
        for request in 1..=6 {
            let (store, running, most) = (store.clone(), running.clone(), most.clone());
            tasks.spawn(async move {
                for ask in (1..).map(|n| n * 1_000_000) {
                    hold(&store, node, request, ask).await;
                    let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    sleep(Duration::from_millis(1)).await;
                    running.fetch_sub(1, Ordering::SeqCst);
                    assert_eq!(store.run(leave(node, request)).await, Ok(StoreReply::Done));
                    if ask == 5_000_000 {
                        return;
                    }
                }
            });
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("nobody panics");
    }
    assert_eq!(most.load(Ordering::SeqCst), 1, "one slot, and it was used");
}

/// Asks until the slot is held.
async fn hold(store: &RedisStore, node: NodeId, request: u64, first: u64) {
    let mut ask = first;
    while !matches!(store.run(enter(node, request, ask)).await, Ok(StoreReply::Held { .. })) {
        ask += 1;
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn scripts_that_the_server_has_forgotten_are_sent_again() {
    let Some(server) = Server::start("flushed", &[]) else { return };
    let store = connect(&server).await;
    let (node, _) = join(&store, "one", None).await;
    ask(&server, &["SCRIPT", "FLUSH"]);
    assert!(matches!(store.run(enter(node, 1, 1)).await, Ok(StoreReply::Held { .. })));
}

#[tokio::test]
async fn what_fails_in_a_script_is_not_sent_again() {
    let Some(server) = Server::start("full", &[]) else { return };
    let patient = Options { timeout: Duration::from_secs(10), ..Options::default() };
    let store = RedisStore::connect(&server.url(), patient).await.expect("it answers");
    let (node, _) = join(&store, "one", None).await;
    assert_eq!(store.view(), None, "it cannot be told at once");
    ask(&server, &["CONFIG", "SET", "maxmemory", "1"]);
    ask(&server, &["CONFIG", "RESETSTAT"]);
    assert_eq!(store.run(enter(node, 1, 1)).await, Err(StoreFault::Unknown));
    let run = ask(&server, &["INFO", "commandstats"]).concat();
    assert!(run.contains("cmdstat_evalsha:calls=1,") && !run.contains("cmdstat_eval:"), "{run}");
}

#[tokio::test]
async fn a_store_that_is_dropped_leaves_no_connection() {
    let Some(server) = Server::start("dropped", &[]) else { return };
    let others = || {
        let clients = ask(&server, &["CLIENT", "LIST"]).concat();
        clients.lines().filter(|client| !client.contains("cmd=client|list")).count()
    };
    let store = connect(&server).await;
    assert_eq!(others(), 2, "one for operations, one for grants");
    drop(store);
    for _ in 0..500 {
        if others() == 0 {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("{} connections are left", others());
}

#[tokio::test]
async fn what_comes_too_late_may_have_been_applied_and_was() {
    let Some(server) = Server::start("paused", &[]) else { return };
    let store = connect(&server).await;
    let (node, _) = join(&store, "one", None).await;
    ask(&server, &["CLIENT", "PAUSE", "1000", "ALL"]);
    assert_eq!(store.run(enter(node, 1, 1)).await, Err(StoreFault::Unknown));
    sleep(Duration::from_millis(1_200)).await;
    let mut reply = Err(StoreFault::Unknown);
    while reply.is_err() {
        // The connection may have been given up meanwhile.
        reply = store.run(enter(node, 1, 1)).await;
        sleep(Duration::from_millis(50)).await;
    }
    assert!(matches!(reply, Ok(StoreReply::Held { .. })), "{reply:?}");
}

#[tokio::test]
async fn a_server_that_is_away_refuses_and_comes_back_as_another() {
    let Some(mut server) = Server::start("away", &[]) else { return };
    let store = connect(&server).await;
    let mut grants = listen(&store, "one");
    let (node, epoch) = join(&store, "one", None).await;
    server.kill();
    // Until the client has noticed, it may have been applied.
    while store.run(enter(node, 1, 1)).await != Err(StoreFault::Refused) {
        sleep(Duration::from_millis(20)).await;
    }
    server.restart();
    let beat = StoreOp::Beat { node, settled: 0, in_flight: 0 };
    while store.run(beat.clone()).await != Ok(StoreReply::Lost) {
        sleep(Duration::from_millis(50)).await;
    }
    let (node, other) = join(&store, "one", Some(node)).await;
    assert_ne!(epoch, other, "another history");
    for request in [1, 2] {
        assert!(store.run(enter(node, request, 1)).await.is_ok());
    }
    assert_eq!(store.run(leave(node, 1)).await, Ok(StoreReply::Done));
    let grant = timeout(Duration::from_secs(5), grants.recv()).await.expect("it is pushed");
    assert_eq!(grant.map(|grant| grant.lease), Some(lease(node, 2)));
}

#[tokio::test]
async fn grants_are_listened_to_again_after_a_reconnect() {
    let Some(server) = Server::start("reconnect", &[]) else { return };
    let store = connect(&server).await;
    let mut grants = listen(&store, "one");
    let (node, _) = join(&store, "one", None).await;
    let channel = format!("{{sluice}}:2:grant:d{:x}", node.0);
    for request in [1, 2] {
        assert!(store.run(enter(node, request, 1)).await.is_ok());
    }
    ask(&server, &["CLIENT", "KILL", "TYPE", "pubsub"]);
    let listeners = || ask(&server, &["PUBSUB", "NUMSUB", &channel])[1].clone();
    while listeners() != "1" {
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(store.run(leave(node, 1)).await, Ok(StoreReply::Done));
    let grant = timeout(Duration::from_secs(5), grants.recv()).await.expect("it is pushed");
    assert_eq!(grant.map(|grant| grant.lease), Some(lease(node, 2)));
}

#[tokio::test]
async fn a_right_that_is_missing_shows_at_the_start() {
    let Some(server) = Server::start("rights", &[]) else { return };
    // As docs/storage.md has them.
    let allowed = "on >secret ~{sluice}* &{sluice}* +@read +@write +@scripting +@connection \
                   +info +time +publish +subscribe +unsubscribe";
    let allowed: Vec<&str> = allowed.split(' ').collect();
    let as_user = server.url().replace("//", "//gate:secret@host");
    for (without, named) in [
        ("-publish", "publish"),
        ("-zrangebylex", "the script"),
        ("resetkeys", "INFO"),
        ("resetchannels", "grants"),
    ] {
        ask(&server, &[&["ACL", "SETUSER", "gate", "reset"], &allowed[..], &[without]].concat());
        match RedisStore::connect(&as_user, Options::default()).await.err() {
            Some(ConnectError::Forbidden { what, .. }) => assert!(what.contains(named), "{what}"),
            other => panic!("without {without}: {other:?}"),
        }
    }
    ask(&server, &[&["ACL", "SETUSER", "gate", "reset"], &allowed[..]].concat());
    assert!(RedisStore::connect(&as_user, Options::default()).await.is_ok());
}

#[tokio::test]
async fn the_start_runs_every_command_that_a_script_names() {
    let Some(server) = Server::start("commands", &[]) else { return };
    let _store = connect(&server).await;
    let run = ask(&server, &["INFO", "commandstats"]).concat();
    let mut missing = BTreeSet::new();
    for script in Script::ALL {
        let text = script.text(SERVER_CLOCK);
        for rest in text.split("call('").skip(1) {
            let command = rest.split('\'').next().expect("it has an end").to_lowercase();
            if !run.contains(&format!("cmdstat_{command}:")) {
                missing.insert(command);
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test]
async fn a_server_that_throws_keys_away_is_refused() {
    let evicts = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"];
    let Some(server) = Server::start("evicts", &evicts) else { return };
    let store = RedisStore::connect(&server.url(), Options::default()).await;
    assert!(
        matches!(store.err(), Some(ConnectError::Evicts { policy }) if policy == "allkeys-lru")
    );
}

#[tokio::test]
async fn where_nobody_answers_there_is_no_store() {
    let nowhere = std::env::temp_dir().join("sluice-redis-nowhere");
    let url = format!("redis+unix://{}", nowhere.display());
    let store = RedisStore::connect(&url, Options::default()).await;
    assert!(matches!(store.err(), Some(ConnectError::Unreachable(_))));
    let store = RedisStore::connect("no url", Options::default()).await;
    assert!(matches!(store.err(), Some(ConnectError::Url(_))));
}
