//! What clients and operators can ask for. One flow of the chart a file.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL, CONTENT_TYPE, HeaderName,
    HeaderValue, ORIGIN, RETRY_AFTER,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use sluice_storage::{Service, Watch};

use self::body::Body;
use self::route::{Place, Route};
use crate::auth::KeyOwner;
use crate::gateway::{Phase, Worker};
use crate::net::Net;
use crate::protocol::error::ApiError;
use crate::protocol::gemini::Array;
use crate::protocol::{Protocol, json};
use crate::stall::Stage;
use crate::telemetry::AccessLog;
use crate::upstream::headers::upstream_id;
use crate::upstream::target::Operation;
use crate::wire::Answer;

pub mod admin;
mod aside;
pub(crate) mod body;
mod count;
mod gemini;
pub(crate) mod messages;
mod models;
pub(crate) mod places;
mod platform;
pub(crate) mod responses;
mod route;
mod serving;

/// The name of a request in answers and logs.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// For readiness that comes back by itself, and for what another gateway will serve.
const READY_RETRY_SECS: u64 = 1;
/// The most bytes of a client's telemetry that are read, to be thrown away.
const TELEMETRY_BYTES_MAX: usize = 1024 * 1024;

/// What browsers may send: what clients of any protocol do.
const CORS_HEADERS: &str = "accept, authorization, content-type, x-api-key, x-goog-api-key, \
    x-goog-api-client, anthropic-version, anthropic-beta, anthropic-dangerous-direct-browser-access, \
    openai-organization, openai-project, openai-beta, session_id, session-id, x-session-id, \
    x-request-id, x-requested-with, cache-control, x-app, x-stainless-arch, x-stainless-helper-method, \
    x-stainless-lang, x-stainless-os, x-stainless-package-version, x-stainless-retry-count, \
    x-stainless-runtime, x-stainless-runtime-version, x-stainless-timeout";
const CORS_METHODS: &str = "GET, POST, PUT, PATCH, DELETE, OPTIONS";
const CORS_EXPOSED: &str = "x-request-id, request-id, retry-after";
/// How long browsers remember that.
const CORS_MAX_AGE_SECS: u64 = 86_400;

/// A request that was understood, as attempts need it.
pub(crate) struct Asked {
    pub(crate) protocol: Protocol,
    /// Gone once the answer has begun: nobody will be asked again.
    body: RefCell<Option<(Bytes, body::Parked)>>,
    pub(crate) headers: HeaderMap,
    pub(crate) model: String,
    /// Where the body names it.
    models: Vec<Range<usize>>,
    pub(crate) stream: bool,
    pub(crate) operation: Operation,
    /// The client reads a stream as one array.
    pub(crate) array: Option<Cell<Array>>,
    pub(crate) log: Rc<AccessLog>,
}

impl Asked {
    /// The body for an upstream that has another name for the model.
    pub(crate) fn body_for(&self, model: Option<&str>) -> Option<Bytes> {
        let body = self.body.borrow().as_ref().map(|(bytes, _)| bytes.clone())?;
        // Of several models the upstream is told the one that was scheduled.
        if self.models.is_empty() || model.is_none() && self.models.len() == 1 {
            return Some(body);
        }
        Some(json::splice(&body, &self.models, model.unwrap_or(&self.model)))
    }

    pub(crate) fn forget_body(&self) {
        drop(self.body.take());
    }

    /// Whole events of a stream, as the client reads it.
    pub(crate) fn framed(&self, events: Bytes) -> Bytes {
        let Some(cell) = self.array.as_ref().filter(|_| !events.is_empty()) else { return events };
        let mut array = cell.get();
        let framed = array.elements(&events);
        cell.set(array);
        framed
    }

    /// What ends a stream, as the client reads it.
    pub(crate) fn framed_end(&self) -> Bytes {
        self.array.as_ref().map(|array| array.get().end()).unwrap_or_default()
    }

    pub(crate) fn request_id_header(&self) -> HeaderValue {
        id_header(&self.log.request_id)
    }

    /// The head of a stream of events.
    pub(crate) fn stream_head(&self) -> Response<()> {
        let mut response = Response::new(());
        let headers = response.headers_mut();
        let kind = if self.array.is_some() { "application/json" } else { "text/event-stream" };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        headers.insert(REQUEST_ID, self.request_id_header());
        response
    }
}

/// Serves whatever a client asks for.
pub(crate) async fn handle<N: Net, S: Watch>(
    worker: Rc<Worker<N, S>>,
    request: Request<Incoming>,
    stage: Rc<Stage>,
) -> Response<Answer> {
    let turn = stage.turn();
    let (head, incoming) = request.into_parts();
    let body = Body::new(incoming, stage);
    let id = request_id(&head.headers, || worker.mint_id()).into_owned();
    let browser = head.headers.contains_key(ORIGIN);
    let mut response = if let Some(probed) = probe(&worker, &head.method, head.uri.path(), &id) {
        // Asked again and again by machines: no line in the log.
        probed
    } else {
        let log = worker.log(id);
        route(worker, Request::from_parts(head, body), log).await
    };
    if browser {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(CORS_EXPOSED));
    }
    response.map(|answer| answer.ends(turn))
}

async fn route<N: Net, S: Watch>(
    worker: Rc<Worker<N, S>>,
    request: Request<Body>,
    log: Rc<AccessLog>,
) -> Response<Answer> {
    let path = request.uri().path();
    let Route { place, forced, protocol } = Route::of(request.method(), path);
    if place != Place::Messages || forced {
        log.path(path);
    }
    if let Err(error) = check_size(request.headers(), &worker.config.limits) {
        log.path(path);
        return refuse(protocol, &error, &log);
    }
    match place {
        Place::Messages => {
            let understood = messages::understand(&worker, request, forced, &log).await;
            serving::answer(worker, protocol, understood, &log).await
        }
        Place::CountTokens => {
            let understood = messages::understand(&worker, request, forced, &log).await;
            rare(count::answer(&worker, protocol, understood, &log)).await
        }
        Place::Responses => {
            let understood = responses::understand(&worker, request, &log).await;
            serving::answer(worker, protocol, understood, &log).await
        }
        Place::Call(rest) => {
            let understood = gemini::understand(&worker, request, &rest, forced, &log).await;
            match &understood {
                Ok((asked, _)) if asked.operation == Operation::Count => {
                    rare(count::answer(&worker, protocol, understood, &log)).await
                }
                _ => serving::answer(worker, protocol, understood, &log).await,
            }
        }
        Place::Models(one) => {
            let asked = models::Asked { one, forced, gemini: false };
            rare(models::answer(&worker, &request.into_parts().0, &asked, &log)).await
        }
        Place::GeminiModels(one) => {
            let asked = models::Asked { one, forced, gemini: true };
            rare(models::answer(&worker, &request.into_parts().0, &asked, &log)).await
        }
        Place::Preflight => preflight(&log),
        Place::Telemetry => {
            rare(request.into_body().discard(&worker, TELEMETRY_BYTES_MAX)).await;
            empty(StatusCode::OK, &log)
        }
        Place::WrongMethod => {
            let error = ApiError::new(405, "invalid_request_error", "Method not allowed");
            refuse(protocol, &error, &log)
        }
        Place::Nowhere => {
            refuse(protocol, &ApiError::new(404, "not_found_error", "Not found"), &log)
        }
    }
}

/// A future with a place of its own, for what few requests become, or only those of some accounts: every
/// connection has room for whatever its requests may become, and that is moved about with each.
pub(crate) fn rare<F: Future>(flow: F) -> Pin<Box<F>> {
    Box::pin(flow)
}

/// Whose key this is.
fn owner<N: Net, S: Watch>(
    worker: &Worker<N, S>,
    head: &hyper::http::request::Parts,
    log: &AccessLog,
) -> Result<KeyOwner, ApiError> {
    let query = head.uri.query().unwrap_or_default();
    let owner = worker.driver.directory().keys.authenticate(&head.headers, query)?;
    log.owner(owner);
    Ok(owner)
}

/// What machines that watch over the gateway ask for.
fn probe<N: Net, S: Watch>(
    worker: &Worker<N, S>,
    method: &Method,
    path: &str,
    id: &str,
) -> Option<Response<Answer>> {
    if method != Method::GET {
        return None;
    }
    let service = worker.driver.store.condition().service;
    let (status, kind, text) = match path {
        "/livez" => (200, "text/plain", "ok"),
        "/health" => (200, "application/json", "{\"status\":\"ok\"}"),
        "/readyz" if worker.phase() != Phase::Serving => (503, "text/plain", "leaving"),
        "/readyz" if service == Service::Away => (503, "text/plain", "degraded"),
        "/readyz" if worker.driver.ready() && service == Service::Local => {
            (200, "text/plain", "degraded")
        }
        "/readyz" if worker.driver.ready() => (200, "text/plain", "ready"),
        "/readyz" => (503, "text/plain", "not ready"),
        _ => return None,
    };
    let mut head = head_of(status, kind, id);
    if status == 503 {
        head.headers_mut().insert(RETRY_AFTER, HeaderValue::from(READY_RETRY_SECS));
    }
    Some(head.map(|()| Answer::whole(text)))
}

/// Whether all headers together are no more than they may be.
fn check_size(headers: &HeaderMap, limits: &crate::config::Limits) -> Result<(), ApiError> {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > limits.header_bytes_max || headers.len() > limits.headers_max {
        return Err(ApiError::new(
            431,
            "invalid_request_error",
            "Request headers are too many or too large",
        ));
    }
    Ok(())
}

/// An answer that is this JSON text.
fn whole(json: impl Into<Bytes>, log: &AccessLog) -> Response<Answer> {
    let json = json.into();
    log.status(200);
    log.bytes_out(json.len() as u64);
    head_of(200, "application/json", &log.request_id).map(|()| Answer::whole(json))
}

fn empty(status: StatusCode, log: &AccessLog) -> Response<Answer> {
    let mut response = Response::new(Answer::whole(Bytes::new()));
    *response.status_mut() = status;
    response.headers_mut().insert(REQUEST_ID, id_header(&log.request_id));
    log.status(status.as_u16());
    response
}

/// What a browser asks before it asks.
fn preflight(log: &AccessLog) -> Response<Answer> {
    let mut response = empty(StatusCode::NO_CONTENT, log);
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(CORS_HEADERS));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(CORS_METHODS));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(CORS_MAX_AGE_SECS));
    response
}

fn id_header(id: &str) -> HeaderValue {
    HeaderValue::try_from(id).expect("an id is of visible ASCII characters")
}

/// The request's name: the client's, if it is a sane one, or a new one.
fn request_id<'h>(headers: &'h HeaderMap, mint: impl FnOnce() -> String) -> Cow<'h, str> {
    let sane = |id: &&str| {
        (1..=128).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
    };
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(sane);
    given.map_or_else(|| Cow::Owned(mint()), Cow::Borrowed)
}

fn head_of(status: u16, kind: &'static str, request_id: &str) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(REQUEST_ID, id_header(request_id));
    response
}

/// The head and body of an error.
pub(crate) fn error_response(
    protocol: Protocol,
    error: &ApiError,
    request_id: &str,
) -> (Response<()>, Bytes) {
    let mut response = head_of(error.status, "application/json", request_id);
    // Where clients of the protocol look for it; an upstream's answer brings its own.
    response.headers_mut().insert(upstream_id(protocol), id_header(request_id));
    if let Some(secs) = error.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(secs));
    }
    (response, Bytes::from(error.to_json(protocol)))
}

/// An error as a whole answer.
pub(crate) fn refuse(protocol: Protocol, error: &ApiError, log: &AccessLog) -> Response<Answer> {
    let (head, body) = error_response(protocol, error, &log.request_id);
    log.status(error.status);
    log.bytes_out(body.len() as u64);
    head.map(|()| Answer::whole(body))
}

/// What clients are told while the gateway ends.
pub(crate) const SHUTTING_DOWN: ApiError =
    ApiError::new(503, "api_error", "The gateway is shutting down").retry(READY_RETRY_SECS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_request_id_is_kept_and_any_other_replaced() {
        let id = |given: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::try_from(given).expect("a header"));
            request_id(&headers, || "new".to_owned()).into_owned()
        };
        assert_eq!(id("req_1-a.b:c"), "req_1-a.b:c");
        assert_eq!(id("a b"), "new");
        assert_eq!(id(""), "new");
        assert_eq!(id(&"a".repeat(129)), "new");
        assert_eq!(request_id(&HeaderMap::new(), || "new".to_owned()), "new");
    }
}
