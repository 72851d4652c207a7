//! A made-up upstream that speaks the Messages protocol, for the demo and for tests.
//!
//! How it behaves is set for each key; what happens to the n-th request of a key follows from the
//! seed alone. It counts what is open at once for each key, which is how tests judge limits from
//! the upstream's side.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use serde_json::{Value, json};
use sluice_engine::rng::{Purpose, Seed};
use tokio::sync::{Notify, Semaphore};
use tokio::time::sleep;

use crate::directory::digest;
use crate::net::Net;
use crate::protocol::sse;
use crate::wire::{Answer, CutOff, Wire, respond};

/// How requests with one key are answered.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// What it says first.
    pub greeting: String,
    /// From the request to the answer's head.
    pub latency: Duration,
    /// Words of the answer.
    pub words: usize,
    /// Between two words of a stream.
    pub pace: Duration,
    /// What goes wrong how often, in thousandths; the first that is drawn.
    pub faults: Vec<(u32, Fault)>,
    /// If set, each request waits for a permit from here before its answer begins.
    pub hold: Option<Rc<Semaphore>>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            greeting: "Hello".to_owned(),
            latency: Duration::ZERO,
            words: 5,
            pace: Duration::ZERO,
            faults: Vec::new(),
            hold: None,
        }
    }
}

/// What can go wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status, with an error of this class, and `retry-after` in seconds if there is one.
    Status(u16, &'static str, Option<u64>),
    /// The connection ends before any byte.
    Reset,
    /// A stream begins and says this class of error before any content; a plain answer is a 500.
    ErrorEvent(&'static str),
    /// The answer breaks off in the middle.
    Truncate,
}

/// What has been seen of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests.
    pub requests: u64,
    /// Requests open now.
    pub open: u32,
    /// The most that were open at once.
    pub open_max: u32,
    /// Requests whose client went away before the answer's end.
    pub left: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Mock {
    seed: Seed,
    keys: BTreeMap<String, Behaviour>,
    stats: RefCell<BTreeMap<String, Stats>>,
    connections: Cell<u64>,
    changed: Notify,
    seen: RefCell<Vec<Seen>>,
}

/// The last requests that came, as far as they are remembered.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its headers, without the key.
    pub headers: hyper::HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Requests that are remembered.
const SEEN_MAX: usize = 64;
/// Thousandths.
const MILLE: u64 = 1000;

#[derive(Deserialize)]
struct Asked {
    model: String,
    #[serde(default)]
    stream: bool,
}

/// A request that is open; counts itself out when it is dropped.
struct Open {
    mock: Rc<Mock>,
    key: String,
    whole: Cell<bool>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.mock.count(&self.key, |stats| {
            stats.open -= 1;
            stats.left += u64::from(!self.whole.get());
        });
    }
}

impl Mock {
    /// An upstream that knows these keys.
    #[must_use]
    pub fn new(seed: Seed, keys: impl IntoIterator<Item = (String, Behaviour)>) -> Rc<Self> {
        Rc::new(Self {
            seed,
            keys: keys.into_iter().collect(),
            stats: RefCell::default(),
            connections: Cell::new(0),
            changed: Notify::new(),
            seen: RefCell::default(),
        })
    }

    /// What has been seen of a key.
    #[must_use]
    pub fn stats(&self, key: &str) -> Stats {
        self.stats.borrow().get(key).copied().unwrap_or_default()
    }

    /// Connections that have been made.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.get()
    }

    /// The last requests that came.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    /// Returns when a key's counts are as wanted.
    pub async fn until(&self, key: &str, wanted: impl Fn(&Stats) -> bool) {
        loop {
            let changed = self.changed.notified();
            if wanted(&self.stats(key)) {
                return;
            }
            changed.await;
        }
    }

    fn count(&self, key: &str, change: impl FnOnce(&mut Stats)) {
        change(self.stats.borrow_mut().entry(key.to_owned()).or_default());
        self.changed.notify_waiters();
    }

    /// Serves what arrives at a listener, for ever.
    pub async fn serve<N: Net>(self: Rc<Self>, listener: N::Listener) {
        while let Ok((stream, _)) = N::accept(&listener).await {
            self.connections.set(self.connections.get() + 1);
            let mock = self.clone();
            drop(tokio::task::spawn_local(async move {
                let service = service_fn(|request| mock.clone().handle(request));
                let mut builder = http1::Builder::new();
                builder.timer(TokioTimer::new()).auto_date_header(N::DATES);
                // A reset is a service's error, and a client that leaves is its own affair.
                drop(builder.serve_connection(TokioIo::new(stream), service).await);
            }));
        }
    }

    async fn handle(self: Rc<Self>, request: Request<Incoming>) -> Result<Response<Answer>, Reset> {
        let (head, body) = request.into_parts();
        match (&head.method, head.uri.path()) {
            (&Method::GET, "/_mock/stats") => return Ok(json_answer(200, &self.stats_page())),
            (&Method::POST, "/v1/messages") => {}
            (_, _) => return Ok(error_answer(404, "not_found_error", "no such path")),
        }
        let key = head.headers.get("x-api-key").and_then(|key| key.to_str().ok());
        let key = key.unwrap_or_default().to_owned();
        let Some(behaviour) = self.keys.get(&key).cloned() else {
            return Ok(error_answer(401, "authentication_error", "invalid x-api-key"));
        };
        let open = self.open(&key);
        let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
            return Ok(error_answer(400, "invalid_request_error", "no body"));
        };
        let mut headers = head.headers;
        headers.remove("x-api-key");
        self.remember(Seen { headers, body: body.clone() });
        let Ok(asked) = serde_json::from_slice::<Asked>(&body) else {
            open.whole.set(true);
            return Ok(error_answer(400, "invalid_request_error", "the body is not understood"));
        };
        let n = self.stats(&key).requests;
        let fault = self.fault(&key, n, &behaviour);
        sleep(behaviour.latency).await;
        if let Some(hold) = &behaviour.hold {
            // A closed hold lets everything pass.
            if let Ok(permit) = hold.acquire().await {
                permit.forget();
            }
        }
        self.answer(open, &asked, behaviour, fault, n).await
    }

    async fn answer(
        &self,
        open: Open,
        asked: &Asked,
        behaviour: Behaviour,
        fault: Option<Fault>,
        n: u64,
    ) -> Result<Response<Answer>, Reset> {
        let refuse = |status, kind| error_answer(status, kind, "the upstream says so");
        match fault {
            Some(Fault::Reset) => return Err(Reset),
            Some(Fault::Status(status, kind, retry_after)) => {
                let mut response = refuse(status, kind);
                if let Some(secs) = retry_after {
                    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(secs));
                }
                open.whole.set(true);
                return Ok(response);
            }
            Some(Fault::ErrorEvent(kind)) if !asked.stream => {
                open.whole.set(true);
                return Ok(refuse(500, kind));
            }
            Some(Fault::ErrorEvent(_) | Fault::Truncate) | None => {}
        }
        let story = Story { model: asked.model.clone(), id: format!("msg_mock_{n}"), behaviour };
        if asked.stream {
            let flow = |wire| story.stream(wire, fault, open);
            return Ok(respond(flow).await);
        }
        if matches!(fault, Some(Fault::Truncate)) {
            return Ok(respond(|wire| story.torn(wire, open)).await);
        }
        open.whole.set(true);
        let mut response = json_answer(200, &story.plain());
        response.headers_mut().insert("request-id", HeaderValue::from_static("req_mock"));
        Ok(response)
    }

    fn open(self: &Rc<Self>, key: &str) -> Open {
        self.count(key, |stats| {
            stats.requests += 1;
            stats.open += 1;
            stats.open_max = stats.open_max.max(stats.open);
        });
        Open { mock: self.clone(), key: key.to_owned(), whole: Cell::new(false) }
    }

    fn remember(&self, seen: Seen) {
        let mut all = self.seen.borrow_mut();
        if all.len() >= SEEN_MAX {
            all.remove(0);
        }
        all.push(seen);
    }

    fn fault(&self, key: &str, n: u64, behaviour: &Behaviour) -> Option<Fault> {
        let mut draw = self.seed.stream(Purpose::Upstream, digest(&["mock", key]), n);
        let mut rest = draw.below(MILLE);
        for (mille, fault) in &behaviour.faults {
            let mille = u64::from(*mille);
            if rest < mille {
                return Some(fault.clone());
            }
            rest -= mille;
        }
        None
    }

    fn stats_page(&self) -> Value {
        let stats = self.stats.borrow();
        let one = |(key, stats): (&String, &Stats)| {
            let value = json!({"requests": stats.requests, "open": stats.open,
                               "open_max": stats.open_max, "left": stats.left});
            (key.clone(), value)
        };
        json!({"connections": self.connections.get(),
               "keys": stats.iter().map(one).collect::<serde_json::Map<_, _>>()})
    }
}

/// The connection ends before any byte of an answer.
#[derive(Debug)]
struct Reset;

impl std::fmt::Display for Reset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("reset")
    }
}

impl std::error::Error for Reset {}

impl From<Infallible> for Reset {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// One answer.
struct Story {
    model: String,
    id: String,
    behaviour: Behaviour,
}

impl Story {
    fn words(&self) -> impl Iterator<Item = String> + '_ {
        let more = ["the", "river", "runs", "through", "every", "open", "gate"].into_iter().cycle();
        let first = std::iter::once(self.behaviour.greeting.clone());
        first.chain(more.map(|word| format!(" {word}"))).take(self.behaviour.words.max(1))
    }

    fn plain(&self) -> Value {
        json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model,
            "content": [{"type": "text", "text": self.words().collect::<String>()}],
            "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {"input_tokens": 12, "output_tokens": self.behaviour.words.max(1)},
        })
    }

    async fn torn(self, wire: Wire, _open: Open) -> Result<(), CutOff> {
        let text = self.plain().to_string();
        wire.open(head(200, "application/json"));
        wire.send(Bytes::from(text[..text.len() / 2].to_owned())).await;
        Err(CutOff)
    }

    async fn stream(self, wire: Wire, fault: Option<Fault>, open: Open) -> Result<(), CutOff> {
        wire.open(head(200, "text/event-stream"));
        let send = async |data: Value| {
            let name = data["type"].as_str().unwrap_or_default().to_owned();
            wire.send(sse::event(&name, &data.to_string())).await
        };
        send(json!({"type": "message_start", "message": {
            "id": self.id, "type": "message", "role": "assistant", "model": self.model,
            "content": [], "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": 12, "output_tokens": 1}}}))
        .await;
        send(json!({"type": "ping"})).await;
        if let Some(Fault::ErrorEvent(kind)) = fault {
            let error = json!({"type": kind, "message": "the upstream says so"});
            send(json!({"type": "error", "error": error})).await;
            open.whole.set(true);
            return Ok(());
        }
        send(json!({"type": "content_block_start", "index": 0,
                    "content_block": {"type": "text", "text": ""}}))
        .await;
        let half = self.behaviour.words / 2;
        for (n, word) in self.words().enumerate() {
            sleep(self.behaviour.pace).await;
            if matches!(fault, Some(Fault::Truncate)) && n >= half {
                return Err(CutOff);
            }
            send(json!({"type": "content_block_delta", "index": 0,
                        "delta": {"type": "text_delta", "text": word}}))
            .await;
        }
        send(json!({"type": "content_block_stop", "index": 0})).await;
        send(json!({"type": "message_delta",
                    "delta": {"stop_reason": "end_turn", "stop_sequence": null},
                    "usage": {"output_tokens": self.behaviour.words.max(1)}}))
        .await;
        open.whole.set(true);
        send(json!({"type": "message_stop"})).await;
        Ok(())
    }
}

fn head(status: u16, content_type: &'static str) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() =
        StatusCode::from_u16(status).expect("behaviours name statuses that there are");
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert("request-id", HeaderValue::from_static("req_mock"));
    response
}

fn json_answer(status: u16, body: &Value) -> Response<Answer> {
    head(status, "application/json").map(|()| Answer::whole(body.to_string()))
}

fn error_answer(status: u16, kind: &str, message: &str) -> Response<Answer> {
    json_answer(status, &json!({"type": "error", "error": {"type": kind, "message": message}}))
}
