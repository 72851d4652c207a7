//! A gateway with two workers, from its start to its end.

use serde_json::Value;
use sluice_runtime_tokio::config::Config;
use sluice_runtime_tokio::gateway::Phase;
use sluice_runtime_tokio::serve;
use tokio::sync::watch;

use crate::{post, send, together};

/// Starts one, has alice ask it so often at once, and ends it: all of it is answered, and each worker has
/// served some.
pub async fn both_serve(config: Config, requests: usize, body: impl Fn(usize) -> Value) {
    let (phase, watched) = watch::channel(Phase::Serving);
    let mut gateway = serve::start(config, watched).await.expect("it starts");
    let address = gateway.addresses.first_tcp().expect("it listens at an address");
    let client = |n: usize| {
        let request = post("alice", &body(n));
        async move {
            let mut reply = send(address, request).await;
            reply.body().await;
            // Both threads name what they serve; the second part is the thread's index.
            let worker = reply.header("x-request-id").split('-').nth(1).map(str::to_owned);
            (reply.status(), worker.expect("a request id of the gateway's own"))
        }
    };
    let answers = together((0..requests).map(client).collect()).await;
    assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    for index in ["0", "1"] {
        assert!(answers.iter().any(|(_, worker)| worker == index), "worker {index} served some");
    }
    phase.send_replace(Phase::Draining);
    gateway.ended().await;
}
