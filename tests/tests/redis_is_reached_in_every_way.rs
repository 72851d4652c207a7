//! One Redis, a cluster of them, one that sentinels watch over, or one behind TLS: gateways that are told
//! of it in a URL share their limits through it.

use std::path::PathBuf;
use std::time::Duration;

use sluice_runtime_tokio::mock::Behaviour;
use sluice_runtime_tokio::net::{Net, TcpNet};
use sluice_test_redis::{Cluster, Server, free_ports};
use sluice_tests::fleet::{self, Fleet, FleetPlan, Gateway};
use sluice_tests::tls::Authority;
use sluice_tests::{address_of, named, together};
use tokio::io::copy_bidirectional;
use tokio::net::UnixStream;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sluice-under-test");
const SLOTS: u32 = 3;

fn plan() -> FleetPlan {
    let quick = Behaviour { latency: Duration::from_millis(2), ..named("one") };
    // Machines that run tests are busy.
    FleetPlan::default().account("one", SLOTS, quick).settings("[redis]\ntimeout_ms = 5000\n")
}

/// Two gateways with this store serve requests, and keep the limit together.
async fn share(fleet: &Fleet, url: &str) -> [Gateway; 2] {
    let gateways = [fleet.gateway_at("left", url).await, fleet.gateway_at("right", url).await];
    all_are_answered(fleet, &gateways).await;
    assert_eq!(fleet.mock.stats("mock-one").open_max, SLOTS);
    gateways
}

async fn all_are_answered(fleet: &Fleet, gateways: &[Gateway; 2]) {
    let before = fleet.mock.stats("mock-one").requests;
    let asked = (0..40).map(|n| gateways[n % 2].whole(n.is_multiple_of(3)));
    for (status, body) in together(asked.collect()).await {
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    }
    assert_eq!(fleet.mock.stats("mock-one").requests - before, 40);
}

/// Carries what comes over TLS to the redis-server behind this socket, for ever.
async fn unwrap(authority: Authority, listener: <TcpNet as Net>::Listener, socket: PathBuf) {
    while let Ok((stream, _)) = TcpNet::accept(&listener).await {
        let (acceptor, socket) = (authority.acceptor(), socket.clone());
        drop(tokio::task::spawn_local(async move {
            let mut stream = acceptor.accept(stream).await.expect("its authority is trusted");
            let mut redis = UnixStream::connect(socket).await.expect("it runs");
            // It ends with either.
            let _ = copy_bidirectional(&mut stream, &mut redis).await;
        }));
    }
}

#[test]
fn behind_tls_with_a_password() {
    let authority = Authority::new(&[]);
    let plan = plan().variables(vec![("SSL_CERT_FILE".to_owned(), authority.file.clone().into())]);
    fleet::run("tls", PROGRAM, plan, async move |fleet| {
        fleet.redis.ask(&["CONFIG", "SET", "requirepass", "secret"]);
        let any = ([127, 0, 0, 1], 0).into();
        let listener = TcpNet::bind(any, false).await.expect("a free port");
        let port = address_of(&listener).port();
        drop(tokio::task::spawn_local(unwrap(authority, listener, fleet.redis.socket())));
        let gateways = share(&fleet, &format!("rediss://:secret@localhost:{port}")).await;
        assert!(gateways.iter().all(|gateway| !gateway.said().contains("secret")));
    });
}

#[test]
fn in_a_cluster() {
    fleet::run("cluster", PROGRAM, plan(), async |fleet| {
        let cluster = Cluster::start("members").expect("the fleet's own has started");
        let [_, first, second] = cluster.ports[..] else { panic!("a cluster has three masters") };
        share(&fleet, &format!("redis-cluster://127.0.0.1:{first}?node=127.0.0.1:{second}")).await;
    });
}

/// The one that takes over has no scripts, and what it knows may be a little less than the one before.
#[test]
fn by_sentinels_that_let_a_replica_take_over() {
    fleet::run("sentinel", PROGRAM, plan(), async |fleet| {
        let ports: Vec<_> = free_ports(3).iter().map(u16::to_string).collect();
        let [first, second, sentinel] = &ports[..] else { panic!("three were asked for") };
        let server = |name: &str, options: &[&str]| {
            let options = [&["--bind", "127.0.0.1"], options].concat();
            Server::start(name, &options).expect("the fleet's own has started")
        };
        let mut master = server("sentinel-master", &["--port", first]);
        let following = ["--port", second, "--replicaof", "127.0.0.1", first];
        let replica = server("sentinel-replica", &following);
        let follows = || replica.ask(&["INFO", "replication"]).contains("master_link_status:up");
        fleet::until(async || follows()).await;
        let watch = server("sentinel-watch", &["--port", sentinel, "--sentinel"]);
        watch.ask(&["SENTINEL", "MONITOR", "main", "127.0.0.1", first, "1"]);
        watch.ask(&["SENTINEL", "SET", "main", "down-after-milliseconds", "500"]);
        let knows = || watch.ask(&["SENTINEL", "REPLICAS", "main"]).contains(second.as_str());
        fleet::until(async || knows()).await;
        let url = format!("redis-sentinel://127.0.0.1:{sentinel}?sentinelServiceName=main");
        let gateways = share(&fleet, &url).await;
        master.kill();
        let promoted = || replica.ask(&["INFO", "replication"]).contains("role:master");
        fleet::until(async || promoted()).await;
        // Either may believe in the former one for a moment, and then do without a store.
        let clients = || replica.ask(&["CLIENT", "LIST"]);
        let here = || clients().lines().filter(|client| client.contains("cmd=evalsha")).count();
        fleet::until(async || here() >= gateways.len()).await;
        for gateway in &gateways {
            fleet::until(async || gateway.is_ready().await).await;
        }
        all_are_answered(&fleet, &gateways).await;
        for gateway in &gateways {
            fleet::until(async || gateway.held_and_waiting("one").await == (0, 0)).await;
        }
    });
}
