//! Two threads, each with an engine of its own, and one store: a limit counts for both together.

use std::time::Duration;

use sluice_engine::rng::Seed;
use sluice_runtime_tokio::config::Config;
use sluice_runtime_tokio::mock::{Behaviour, Mock};
use sluice_runtime_tokio::net::{Net, TcpNet};
use sluice_tests::workers::both_serve;
use sluice_tests::{hello, named};
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
    both_serve(config(upstream), 120, |n| hello(n.is_multiple_of(2))).await;
    assert_eq!(mock.stats("mock-one").open_max, SLOTS);
}

#[test]
fn an_account_has_no_more_open_than_it_takes() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let bounded = async {
        tokio::time::timeout(Duration::from_secs(60), test()).await.expect("the test hangs");
    };
    runtime.expect("a runtime").block_on(LocalSet::new().run_until(bounded));
}
