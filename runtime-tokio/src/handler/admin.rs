//! What operators can ask for, on a listener of their own.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use sluice_engine::ledger::LineView;
use sluice_engine::ledger::history::Line;
use sluice_engine::store::Limit;
use sluice_engine::{GateId, LeaseId, ModelId, Time};
use sluice_storage::Watch;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::directory::Directory;
use crate::gateway::{ACCEPT_PAUSE, Phase};
use crate::net::Net;
use crate::protocol::Protocol;
use crate::protocol::error::ApiError;
use crate::shared::Shared;
use crate::wire::Answer;

/// What operators can look into.
pub struct Desk<S> {
    /// The store.
    pub store: Arc<S>,
    /// The configuration in force, whose names are shown.
    pub directory: watch::Receiver<Arc<Directory>>,
    /// What the workers share.
    pub shared: Arc<Shared>,
    /// The workers' clock.
    pub clock: Clock,
    /// How far the gateway's end has come.
    pub phase: watch::Receiver<Phase>,
}

/// Serves operators at a listener, for ever.
pub async fn serve<N: Net, S: Watch>(listener: N::Listener, desk: Desk<S>) {
    let desk = Rc::new(desk);
    loop {
        let Ok((stream, _)) = N::accept(&listener).await else {
            // Out of files, for instance: the loop must not spin.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let desk = desk.clone();
        drop(tokio::task::spawn_local(async move {
            let service = service_fn(|request| {
                let desk = desk.clone();
                async move { Ok::<_, Infallible>(handle(&request, &desk).await) }
            });
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new());
            // A connection of an operator that breaks concerns nobody else.
            drop(builder.serve_connection(TokioIo::new(stream), service).await);
        }));
    }
}

async fn handle<S: Watch>(request: &Request<Incoming>, desk: &Desk<S>) -> Response<Answer> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/debug/gates") => match desk.store.lines().await {
            Ok(view) => (200, gates(&view, &desk.directory.borrow()).to_string()),
            Err(_) => (
                503,
                ApiError::new(503, "api_error", "The store does not answer")
                    .to_json(Protocol::Anthropic),
            ),
        },
        (&Method::GET, "/debug/runtime") => {
            let mut view = desk.shared.view();
            view["phase"] = desk.phase.borrow().name().into();
            view["config"] = desk.directory.borrow().version().into();
            (200, view.to_string())
        }
        (&Method::GET, "/debug/quotas") => {
            (200, quotas(&desk.directory.borrow(), desk.clock.now()).to_string())
        }
        (_, "/debug/gates" | "/debug/runtime" | "/debug/quotas") => (
            405,
            ApiError::new(405, "invalid_request_error", "Method not allowed")
                .to_json(Protocol::Anthropic),
        ),
        (_, _) => {
            (404, ApiError::new(404, "not_found_error", "Not found").to_json(Protocol::Anthropic))
        }
    };
    let json = HeaderValue::from_static("application/json");
    let response = Response::builder().status(status).header(CONTENT_TYPE, json);
    response.body(Answer::whole(body)).expect("status and header are good")
}

/// Who holds and waits for what, since when, in the operator's own names.
#[must_use]
pub fn gates(view: &[LineView], directory: &Directory) -> Value {
    let one = |line: &LineView| {
        let held = line.held.iter().map(|(lease, since, claimed)| {
            json!({"lease": lease_name(*lease), "ms": since.as_ms(), "claimed": claimed})
        });
        let waiting = line.waiting.iter().map(|(lease, tag, since)| {
            json!({"lease": lease_name(*lease), "ms": since.as_ms(), "tag": tag.0})
        });
        let closed = line.closed.iter().map(|(model, cause, opens_in)| {
            json!({"model": model.map(|id| model_name(id, directory)),
                   "cause": format!("{cause:?}"), "opens_in_ms": opens_in.as_ms()})
        });
        let (kind, name) = line_name(line.line, directory);
        json!({
            "kind": kind, "name": name, "limit": line.limit.map(limit),
            "held": held.collect::<Vec<_>>(), "waiting": waiting.collect::<Vec<_>>(),
            "closed": closed.collect::<Vec<_>>(),
        })
    };
    json!({"gates": view.iter().map(one).collect::<Vec<_>>()})
}

/// What is left of the quotas of each account whose upstream has told, and its tier, if that is known.
fn quotas(directory: &Directory, now: Time) -> Value {
    let accounts = directory.accounts.values().filter_map(|account| {
        let tier = account.standing.as_ref().and_then(|standing| standing.tier());
        let told = account.windows.shown(now);
        let known = tier.is_some() || told.is_some();
        let tier = tier.map(|tier| tier.shown());
        known.then(|| json!({"account": account.name, "tier": tier, "told": told}))
    });
    json!({"quotas": accounts.collect::<Vec<_>>()})
}

fn lease_name(lease: LeaseId) -> String {
    lease.to_string()
}

fn limit(limit: Limit) -> Value {
    match limit {
        Limit::Closed => json!("closed"),
        Limit::Slots(n) => json!(n),
        Limit::Unlimited => json!("unlimited"),
    }
}

fn model_name(id: ModelId, directory: &Directory) -> String {
    directory.models.get(&id).cloned().unwrap_or_else(|| id.to_string())
}

fn line_name(line: Line, directory: &Directory) -> (&'static str, String) {
    match line {
        Line::Gate(GateId::User(id)) => {
            let name = directory.users.get(&id).map(|user| user.name.clone());
            ("user", name.unwrap_or_else(|| id.to_string()))
        }
        Line::Gate(GateId::Account(id)) => {
            let name = directory.accounts.get(&id).map(|account| account.name.clone());
            ("account", name.unwrap_or_else(|| id.to_string()))
        }
        Line::Pool(id) => {
            let name = directory.pools.get(&id).cloned();
            ("pool", name.unwrap_or_else(|| id.to_string()))
        }
    }
}
