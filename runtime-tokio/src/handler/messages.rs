//! `POST /v1/messages`: from bytes to an event for the engine, and from its commands to an answer.

use std::rc::Rc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response};
use sluice_engine::roster::Platform;
use sluice_engine::session::{self, Prefix, Scope};
use sluice_engine::{RequestSpec, SessionKey, Verdict};
use sluice_storage::Watch;

use super::{Asked, body, error_response, refuse};
use crate::auth::KeyOwner;
use crate::directory::model_id;
use crate::gateway::Worker;
use crate::mailbox::Command;
use crate::net::Net;
use crate::permit::Permit;
use crate::protocol::anthropic::Skim;
use crate::protocol::error::ApiError;
use crate::protocol::{sse, warmup};
use crate::telemetry::AccessLog;
use crate::upstream::forward::{End, Forward};
use crate::wire::{Answer, CutOff, Wire, respond};

/// Serves a request.
pub(crate) async fn messages<N: Net, S: Watch>(
    worker: Rc<Worker<N, S>>,
    request: Request<Incoming>,
    request_id: String,
) -> Response<Answer> {
    match understand(&worker, request, &request_id).await {
        Ok((asked, spec)) => respond(|wire| serve(worker, asked, spec, wire)).await,
        Err(error) => {
            tracing::info!(request_id, status = error.status, why = &*error.message, "refused");
            refuse(&error, &request_id)
        }
    }
}

async fn understand<N: Net, S: Watch>(
    worker: &Worker<N, S>,
    request: Request<Incoming>,
    request_id: &str,
) -> Result<(Asked, RequestSpec), ApiError> {
    let directory = &worker.driver.directory;
    let (head, incoming) = request.into_parts();
    let query = head.uri.query().unwrap_or_default();
    let KeyOwner { user, group } = directory.keys.authenticate(&head.headers, query)?;
    let (limit, idle) = (worker.body_bytes_max, worker.body_idle_timeout);
    let (bytes, parked) = body::read(incoming, &worker.parking, limit, idle).await?;
    let skim = Skim::read(&bytes)?;
    let spec = RequestSpec {
        user,
        group,
        platform: Platform::Anthropic,
        model: model_id(&skim.model),
        session: session_key(Scope { group, platform: Platform::Anthropic, user }, &skim),
        stream: skim.stream,
        warmup: directory.intercepts && warmup::is_warmup(&bytes),
    };
    let (model, models, stream) = (skim.model.into_owned(), skim.models, skim.stream);
    let user = directory.users.get(&user).map_or_else(String::new, |user| user.name.clone());
    let (now, id) = (worker.driver.clock.now(), request_id.to_owned());
    let log = AccessLog::new(directory.clone(), id.clone(), user, model.clone(), stream, now);
    let asked = Asked {
        body: Some((bytes, parked)).into(),
        headers: head.headers,
        model,
        models,
        stream,
        request_id: id,
        log: Rc::new(log),
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

/// The life of a request, as its task sees it.
async fn serve<N: Net, S: Watch>(
    worker: Rc<Worker<N, S>>,
    asked: Asked,
    spec: RequestSpec,
    wire: Wire,
) -> Result<(), CutOff> {
    let permit = Permit::arrive(&worker.driver, spec, asked.log.clone());
    let mut last = None;
    loop {
        match permit.next().await {
            Command::Ping => ping(&asked, &wire).await,
            Command::Forward { attempt, account } => {
                let (worker, permit, wire, asked) = (&worker, &permit, &wire, &asked);
                let end = Forward { worker, permit, wire, asked, attempt, account }.run().await?;
                permit.ended(end.outcome);
                last = Some(end);
            }
            Command::Finish { verdict, trail } => {
                finish(&asked, &wire, verdict, last).await;
                permit.finished(verdict, &trail);
                return Ok(());
            }
        }
    }
}

async fn ping(asked: &Asked, wire: &Wire) {
    if !asked.stream {
        return;
    }
    if !wire.opened() {
        asked.log.status(200);
        wire.open(asked.stream_head());
    }
    wire.send(sse::event("ping", "{\"type\": \"ping\"}")).await;
}

/// Tells the client how it ended, as far as it has not been told.
async fn finish(asked: &Asked, wire: &Wire, verdict: Verdict, last: Option<End>) {
    let (refusal, told) = last.map_or((None, false), |end| (end.refusal, end.told));
    if let Verdict::Intercepted { .. } = verdict {
        return intercepted(asked, wire).await;
    }
    let Some(error) = ApiError::of(verdict, refusal) else {
        debug_assert!(wire.opened(), "what was completed was answered");
        return;
    };
    asked.log.status(error.status);
    if !wire.opened() {
        let (head, body) = error_response(&error, &asked.request_id);
        wire.answer(head, body);
    } else if !told {
        wire.send(error.to_event()).await;
    }
}

async fn intercepted(asked: &Asked, wire: &Wire) {
    asked.log.status(200);
    if asked.stream {
        if !wire.opened() {
            wire.open(asked.stream_head());
        }
        return wire.send(Bytes::from(warmup::stream(&asked.model))).await;
    }
    let mut head = Response::new(());
    head.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    head.headers_mut().insert(super::REQUEST_ID, asked.request_id_header());
    wire.answer(head, Bytes::from(warmup::answer(&asked.model)));
}
