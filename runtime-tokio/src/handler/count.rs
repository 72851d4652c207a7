//! How many tokens a request has: `POST /v1/messages/count_tokens` and Gemini's `countTokens`. The
//! account says it that would most likely serve the request; where an upstream cannot count, the
//! gateway estimates.

use std::rc::Rc;

use bytes::Bytes;
use hyper::{Method, Response};
use sluice_engine::{AccountId, Outcome, RequestSpec, Verdict};
use sluice_storage::Watch;

use super::aside::{self, Fetched, Wanted};
use super::{Asked, refuse, whole};
use crate::gateway::Worker;
use crate::net::Net;
use crate::protocol::error::ApiError;
use crate::protocol::{Protocol, estimate};
use crate::telemetry::AccessLog;
use crate::upstream::bridge::Bridge;
use crate::upstream::headers;
use crate::upstream::outgoing::Outgoing;
use crate::upstream::target::Operation;
use crate::wire::Answer;

/// The most bytes of an upstream's count that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Answers a request that has been understood, or says why it has not.
pub(crate) async fn answer<N: Net, S: Watch>(
    worker: &Rc<Worker<N, S>>,
    protocol: Protocol,
    understood: Result<(Asked, RequestSpec), ApiError>,
    log: &AccessLog,
) -> Response<Answer> {
    let counted = match &understood {
        Ok((asked, spec)) => {
            let counting = Counting { worker, asked, spec };
            aside::unless_closing(worker, counting.count()).await
        }
        Err(error) => Err(error.clone()),
    };
    match counted {
        Ok(json) => whole(json, log),
        Err(error) => refuse(protocol, &error, log),
    }
}

/// What came of asking an account.
enum Counted {
    /// What the client is to be told.
    Told(Bytes),
    /// It has no such operation.
    Cannot,
    Failed(Outcome, Option<ApiError>),
}

/// A request that was understood.
struct Counting<'a, N: Net, S: Watch> {
    worker: &'a Rc<Worker<N, S>>,
    asked: &'a Asked,
    spec: &'a RequestSpec,
}

impl<N: Net, S: Watch> Counting<'_, N, S> {
    async fn count(&self) -> Result<Bytes, ApiError> {
        let RequestSpec { user, group, platform, model, session, .. } = *self.spec;
        aside::may_ask(self.worker, user)?;
        let full = || ApiError::of(Verdict::UserLineFull, None).expect("it was not served");
        let _place = self.worker.places.take(user).ok_or_else(full)?;
        let wanted = Wanted { group, platform, model, session, excluded: Vec::new() };
        let mut last = None;
        for id in aside::look(self.worker, wanted).await? {
            match self.count_at(id).await {
                Counted::Told(json) => return Ok(json),
                Counted::Cannot => return self.estimate(),
                Counted::Failed(outcome, refusal) => {
                    let over = matches!(outcome, Outcome::ClientError { .. } | Outcome::Cancelled);
                    last = Some(aside::told(id, outcome, refusal));
                    if over {
                        break;
                    }
                }
            }
        }
        Err(last.expect("nobody to ask is an error already"))
    }

    fn estimate(&self) -> Result<Bytes, ApiError> {
        let body = self.asked.body_for(None).unwrap_or_default();
        Ok(match self.asked.protocol {
            Protocol::Gemini => told(Protocol::Gemini, estimate::of_contents(&body)?),
            protocol @ (Protocol::Anthropic | Protocol::OpenAi) => {
                told(protocol, estimate::of_messages(&body)?)
            }
        })
    }

    async fn count_at(&self, id: AccountId) -> Counted {
        let (worker, asked) = (self.worker, self.asked);
        let Some(account) = worker.driver.directory().accounts.get(&id).cloned() else {
            return Counted::Failed(Outcome::Unreachable, None);
        };
        let model = account.upstream_model(&asked.model);
        let name = model.unwrap_or(&asked.model);
        let path = account.target.path(name, Operation::Count);
        let (Some(path), Some(bridge)) = (path, Bridge::between(asked.protocol, &account)) else {
            return Counted::Cannot;
        };
        let body = match bridge.count_request(asked.body_for(model).unwrap_or_default(), name) {
            Ok(Some(body)) => body,
            Ok(None) => return Counted::Cannot,
            Err(refusal) => return Counted::Failed(Outcome::Cancelled, Some(refusal)),
        };
        let request = Outgoing {
            method: Method::POST,
            protocol: account.protocol,
            client: &asked.headers,
            path,
            body,
        };
        match aside::fetch(worker, id, &account, &request, ANSWER_BYTES_MAX).await {
            Ok(fetched) => self.read(bridge, &request, &fetched),
            Err(outcome) => Counted::Failed(outcome, None),
        }
    }

    fn read(&self, bridge: Bridge<'_>, request: &Outgoing<'_>, fetched: &Fetched<'_>) -> Counted {
        let head = &fetched.head;
        let id = head.headers().get(headers::upstream_id(request.protocol));
        self.asked.log.upstream_id(id.and_then(|id| id.to_str().ok()).map(str::to_owned));
        if head.status().is_success() {
            return match request.protocol.counted(&fetched.body) {
                Some(_) if bridge == Bridge::None => Counted::Told(fetched.body.clone()),
                Some(tokens) => Counted::Told(told(self.asked.protocol, tokens)),
                None => Counted::Failed(Outcome::ServerError { status: 502 }, None),
            };
        }
        let (outcome, refusal) = fetched.failure(self.worker, bridge);
        // Who knows the operation says in its own shape what it does not find.
        let unknown = matches!(head.status().as_u16(), 404 | 405 | 501) && refusal.is_none();
        if unknown || matches!(outcome, Outcome::Unable { .. }) {
            Counted::Cannot
        } else {
            Counted::Failed(outcome, refusal)
        }
    }
}

/// A count, as clients of the protocol read it.
fn told(protocol: Protocol, tokens: u64) -> Bytes {
    let name = match protocol {
        Protocol::Anthropic | Protocol::OpenAi => "input_tokens",
        Protocol::Gemini => "totalTokens",
    };
    format!("{{\"{name}\":{tokens}}}").into()
}
