//! `POST /v1beta/models/MODEL:ACTION`: what is asked for.

use std::cell::Cell;
use std::rc::Rc;

use hyper::Request;
use sluice_engine::RequestSpec;
use sluice_engine::session::{self, Scope};
use sluice_storage::Watch;

use super::body::{self, Body};
use super::{Asked, owner, platform};
use crate::auth::KeyOwner;
use crate::directory::model_id;
use crate::gateway::Worker;
use crate::net::Net;
use crate::protocol::Protocol;
use crate::protocol::error::ApiError;
use crate::protocol::gemini::{self, Action, Array, Call};
use crate::telemetry::AccessLog;
use crate::upstream::target::Operation;

const PROTOCOL: Protocol = Protocol::Gemini;
const EMPTY: ApiError = ApiError::invalid("Request body is empty");

/// Understands a request; `rest` is what follows `/v1beta/models/` in its path, and `forced` whether
/// the path names whose accounts are to serve it. What can be wrong with key and path is told before
/// the body is read.
///
/// # Errors
/// What the client is to be told.
pub(crate) async fn understand<N: Net, S: Watch>(
    worker: &Worker<N, S>,
    request: Request<Body>,
    rest: &str,
    forced: bool,
    log: &Rc<AccessLog>,
) -> Result<(Asked, RequestSpec), ApiError> {
    let (head, body) = request.into_parts();
    let KeyOwner { user, group } = owner(worker, &head, log)?;
    platform::reached(&worker.driver.directory(), group, PROTOCOL, forced)?;
    let Call { model, action } = Call::read(rest)?;
    let (bytes, parked) = body.read(worker).await?;
    if bytes.is_empty() {
        return Err(EMPTY);
    }
    let operation = match action {
        Action::Generate => Operation::Answer { stream: false },
        Action::Stream => Operation::Answer { stream: true },
        Action::CountTokens => Operation::Count,
    };
    let stream = action == Action::Stream;
    log.asks(model, stream, bytes.len());
    body::not_too_late(worker)?;
    let model_id = model_id(model);
    let directory = worker.driver.directory();
    let platform = platform::resolve(&directory, (group, model_id), PROTOCOL, forced)?;
    let scope = Scope { group, platform, user };
    let spec = RequestSpec {
        user,
        group,
        platform,
        model: model_id,
        session: session::by_prefix(scope, gemini::prefix(&bytes)),
        stream,
        warmup: false,
    };
    let asked = Asked {
        protocol: PROTOCOL,
        body: Some((bytes, parked)).into(),
        headers: head.headers,
        model: model.to_owned(),
        models: Vec::new(),
        stream,
        operation,
        array: (stream && !wants_events(head.uri.query())).then(|| Cell::new(Array::default())),
        log: log.clone(),
    };
    Ok((asked, spec))
}

/// Whether a stream is to be one of events. Otherwise it is an array.
fn wants_events(query: Option<&str>) -> bool {
    query.unwrap_or_default().split('&').any(|pair| pair == "alt=sse")
}
