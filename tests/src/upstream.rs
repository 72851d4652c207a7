//! The mock upstream by itself, without a gateway before it.

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use serde_json::Value;
use sluice_engine::rng::Seed;
use sluice_runtime_tokio::mock::{Mock, Script};
use sluice_runtime_tokio::net::{Net as _, TcpNet};
use sluice_runtime_tokio::protocol::sse;
use tokio::task::LocalSet;

use crate::{Reply, TEST_MAX, address_of, send, try_send};

/// A mock upstream that runs.
pub struct Upstream {
    /// From inside.
    pub mock: Rc<Mock>,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Runs a test with an upstream that behaves as the script says.
pub fn run(script: &str, seed: u64, test: impl AsyncFnOnce(Rc<Upstream>)) {
    let mock = Mock::scripted(Seed(seed), Script::parse(script).expect("a good script"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let whole = async {
        let any = ([127, 0, 0, 1], 0).into();
        let listener = TcpNet::bind(any, false).await.expect("a free port");
        let address = address_of(&listener);
        drop(tokio::task::spawn_local(mock.clone().serve::<TcpNet>(listener)));
        test(Rc::new(Upstream { mock, address })).await;
    };
    let bounded = async { tokio::time::timeout(TEST_MAX, whole).await.expect("the test hangs") };
    runtime.expect("a runtime").block_on(LocalSet::new().run_until(bounded));
}

/// A Messages request with this key.
#[must_use]
pub fn asking(key: &str, body: &Value) -> Request<Full<Bytes>> {
    let request = Request::post("/v1/messages").header("x-api-key", key);
    request.body(Full::from(body.to_string())).expect("a good request")
}

impl Upstream {
    /// Sends a Messages request and waits for the answer's head.
    pub async fn ask(&self, key: &str, body: &Value) -> Reply {
        send(self.address, asking(key, body)).await
    }

    /// Whether there is an answer at all.
    pub async fn answers(&self, key: &str, body: &Value) -> bool {
        try_send(self.address, asking(key, body)).await.is_ok()
    }

    /// Looks at one of its pages.
    pub async fn get(&self, path: &str) -> Reply {
        let request = Request::get(path).body(Full::default()).expect("a good request");
        send(self.address, request).await
    }
}

/// What came of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Rest {
    /// The names of its events.
    pub events: Vec<String>,
    /// Whether it ended properly, as far as HTTP can tell.
    pub ended: bool,
}

impl Reply {
    /// The body to its end, with how it ended.
    pub async fn rest(&mut self) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        loop {
            match self.response.frame().await {
                None => return (body, true),
                Some(Err(_)) => return (body, false),
                Some(Ok(frame)) => body.extend_from_slice(frame.data_ref().map_or(b"", |d| d)),
            }
        }
    }

    /// The stream to its end, with how it ended.
    pub async fn told(&mut self) -> Rest {
        let (body, ended) = self.rest().await;
        Rest { events: names(&body), ended }
    }

    /// The names of the next events, until there are `n` of them.
    pub async fn next_events(&mut self, n: usize) -> Vec<String> {
        let mut body = Vec::new();
        while names(&body).len() < n {
            body.extend_from_slice(&self.chunk().await.expect("more events"));
        }
        names(&body)
    }
}

fn names(body: &[u8]) -> Vec<String> {
    sse::events(body).map(|event| String::from_utf8_lossy(event.name).into_owned()).collect()
}
