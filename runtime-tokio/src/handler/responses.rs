//! `POST /v1/responses`: what is asked for.

use std::rc::Rc;

use hyper::header::USER_AGENT;
use hyper::{HeaderMap, Request};
use sluice_engine::session::{self, Scope};
use sluice_engine::{RequestSpec, SessionKey};
use sluice_storage::Watch;

use super::body::{self, Body};
use super::{Asked, owner, platform};
use crate::auth::KeyOwner;
use crate::directory::model_id;
use crate::gateway::Worker;
use crate::net::Net;
use crate::protocol::Protocol;
use crate::protocol::error::ApiError;
use crate::protocol::openai::{self, Skim};
use crate::telemetry::AccessLog;
use crate::upstream::target::Operation;

const PROTOCOL: Protocol = Protocol::OpenAi;
/// Where a client names its session. The first is what the Codex command line sends; some reverse
/// proxies drop headers with an underscore.
const SESSION_HEADERS: [&str; 3] = ["session_id", "session-id", "x-session-id"];
/// How the user agents of the Codex command line and its editors begin: they bring instructions of
/// their own.
const CODEX: [&str; 2] = ["codex_cli_rs/", "codex_vscode/"];

/// Understands a request.
///
/// # Errors
/// What the client is to be told.
pub(crate) async fn understand<N: Net, S: Watch>(
    worker: &Worker<N, S>,
    request: Request<Body>,
    log: &Rc<AccessLog>,
) -> Result<(Asked, RequestSpec), ApiError> {
    let (head, body) = request.into_parts();
    let KeyOwner { user, group } = owner(worker, &head, log)?;
    let (bytes, parked) = body.read(worker).await?;
    let skim = Skim::read(&bytes)?;
    log.asks(&skim.model, skim.stream, bytes.len());
    body::not_too_late(worker)?;
    let model = model_id(&skim.model);
    let platform = platform::resolve(&worker.driver.directory(), (group, model), PROTOCOL, false)?;
    let spec = RequestSpec {
        user,
        group,
        platform,
        model,
        session: session_key(Scope { group, platform, user }, &head.headers, &skim),
        stream: skim.stream,
        warmup: false,
    };
    let directory = worker.driver.directory();
    let instructions = directory.default_instructions.as_deref();
    let instructions = instructions.filter(|_| !skim.instructed && !is_codex(&head.headers));
    let (model, models, stream) = (skim.model.into_owned(), skim.models, skim.stream);
    let bytes = instructions.map_or_else(|| bytes.clone(), |text| openai::instructed(&bytes, text));
    let asked = Asked {
        protocol: PROTOCOL,
        body: Some((bytes, parked)).into(),
        headers: head.headers,
        model,
        models,
        stream,
        operation: Operation::Answer { stream },
        array: None,
        log: log.clone(),
    };
    Ok((asked, spec))
}

fn is_codex(headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    CODEX.iter().any(|known| agent.starts_with(known))
}

/// The session that the client names, in a header or in the body.
fn session_key(scope: Scope, headers: &HeaderMap, skim: &Skim<'_>) -> Option<SessionKey> {
    let named = SESSION_HEADERS.iter().filter_map(|name| headers.get(*name)?.to_str().ok());
    let mut named = named.chain(skim.cache_key.as_deref());
    named.find_map(|id| session::explicit(scope, id))
}
