//! `POST /v1/messages`: what is asked for.

use std::rc::Rc;

use hyper::Request;
use hyper::header::HeaderValue;
use sluice_engine::session::{self, Prefix, Scope};
use sluice_engine::{RequestSpec, SessionKey};
use sluice_storage::Watch;

use super::body::{self, Body};
use super::{Asked, owner, platform};
use crate::auth::KeyOwner;
use crate::directory::model_id;
use crate::gateway::Worker;
use crate::net::Net;
use crate::protocol::anthropic::{self, Skim};
use crate::protocol::error::ApiError;
use crate::protocol::{Protocol, warmup};
use crate::telemetry::AccessLog;
use crate::upstream::headers::BETA;
use crate::upstream::target::Operation;

const PROTOCOL: Protocol = Protocol::Anthropic;

/// Understands a request; `forced` is whether its path names whose accounts are to serve it.
///
/// # Errors
/// What the client is to be told.
pub(crate) async fn understand<N: Net, S: Watch>(
    worker: &Worker<N, S>,
    request: Request<Body>,
    forced: bool,
    log: &Rc<AccessLog>,
) -> Result<(Asked, RequestSpec), ApiError> {
    let (mut head, body) = request.into_parts();
    let KeyOwner { user, group } = owner(worker, &head, log)?;
    let (bytes, parked) = body.read(worker).await?;
    let skim = Skim::read(&bytes)?;
    log.asks(&skim.model, skim.stream, bytes.len());
    body::not_too_late(worker)?;
    let model = model_id(&skim.model);
    let platform = platform::resolve(&worker.driver.directory(), (group, model), PROTOCOL, forced)?;
    let spec = RequestSpec {
        user,
        group,
        platform,
        model,
        session: session_key(Scope { group, platform, user }, &skim),
        stream: skim.stream,
        warmup: worker.driver.directory().intercepts && warmup::is_warmup(&bytes),
    };
    if worker.config.anthropic.inject_betas && !head.headers.contains_key(&BETA) {
        let needed = anthropic::betas::needed(&bytes);
        let needed = needed.and_then(|needed| HeaderValue::try_from(needed).ok());
        head.headers.extend(needed.map(|needed| (BETA.clone(), needed)));
    }
    let (model, models, stream) = (skim.model.into_owned(), skim.models, skim.stream);
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

/// The session of a request: by the id that the client gives, else by how the conversation begins.
fn session_key(scope: Scope, skim: &Skim<'_>) -> Option<SessionKey> {
    let id = skim.user_id.as_deref().and_then(session::in_user_id);
    let given = id.and_then(|id| session::explicit(scope, id));
    let prefix = Prefix {
        system: skim.system.unwrap_or_default(),
        tools: skim.tools.unwrap_or_default(),
        first_user: skim.first_user.unwrap_or_default(),
    };
    given.or_else(|| session::by_prefix(scope, prefix))
}
