//! Two threads, each with an engine of its own, and one store: a limit counts for both together.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use sluice_engine::rng::Seed;
use sluice_runtime_tokio::config::Config;
use sluice_runtime_tokio::gateway::Phase;
use sluice_runtime_tokio::mock::{Behaviour, Mock};
use sluice_runtime_tokio::net::{Net, TcpNet};
use sluice_runtime_tokio::serve;
use sluice_tests::{hello, named, post, send, together};
use tokio::sync::watch;
use tokio::task::LocalSet;

const SLOTS: u32 = 3;

fn config(upstream: std::net::SocketAddr) -> Config {
    let hash = sluice_runtime_tokio::auth::KeyHash::of(&sluice_tests::user_key("alice")).to_hex();
    let text = format!(
        "server = {{ listen = \"127.0.0.1:0\", workers = 2 }}\nlog.access = \"off\"\n[[groups]]\nname = \"main\"\n\
         [[users]]\nname = \"alice\"\nconcurrency = 100\n\
         keys = [{{ sha256 = \"{hash}\", group = \"main\" }}]\n\
         [[accounts]]\nname = \"one\"\nbase_url = \"http://{upstream}\"\napi_key = \"mock-one\"\n\
         concurrency = {SLOTS}\ngroups = [\"main\"]\n"
    );
    Config::parse(&text, 1).expect("a good configuration")
}

async fn test() {
    let listener = TcpNet::bind(([127, 0, 0, 1], 0).into(), false).await.expect("a free port");
    let upstream = TcpNet::local_address(&listener).expect("an address");
    let quick = Behaviour { latency: Duration::from_millis(1), ..named("one") };
    let mock = Mock::new(Seed(1), [("mock-one".to_owned(), quick)]);
    drop(tokio::task::spawn_local(mock.clone().serve::<TcpNet>(listener)));
    let (phase, watched) = watch::channel(Phase::Serving);
    let mut gateway = serve::start(config(upstream), watched).await.expect("it starts");
    let address = gateway.addresses.first_tcp().expect("it listens at an address");
    let client = |n: usize| async move {
        let request: Request<Full<Bytes>> = post("alice", &hello(n.is_multiple_of(2)));
        let mut reply = send(address, request).await;
        reply.body().await;
        // Both threads name what they serve; the second part is the thread's index.
        let worker = reply.header("x-request-id").split('-').nth(1).map(str::to_owned);
        (reply.status(), worker.expect("a request id of the gateway's own"))
    };
    let answers = together((0..120).map(client).collect()).await;
    assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    for index in ["0", "1"] {
        assert!(answers.iter().any(|(_, worker)| worker == index), "worker {index} served some");
    }
    assert_eq!(mock.stats("mock-one").open_max, SLOTS);
    phase.send_replace(Phase::Draining);
    gateway.ended().await;
}

#[test]
fn an_account_has_no_more_open_than_it_takes() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let bounded = async {
        tokio::time::timeout(Duration::from_secs(60), test()).await.expect("the test hangs");
    };
    runtime.expect("a runtime").block_on(LocalSet::new().run_until(bounded));
}
