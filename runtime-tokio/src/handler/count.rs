//! `POST /v1/messages/count_tokens`: how many tokens a request has, as the account says that would
//! most likely serve it. Where an upstream cannot count, the gateway estimates.

use std::rc::Rc;

use bytes::Bytes;
use hyper::{HeaderMap, Method, Request, Response};
use sluice_engine::session::Scope;
use sluice_engine::store::Limit;
use sluice_engine::{AccountId, Outcome, Verdict};
use sluice_storage::Watch;

use super::aside::{self, Fetched, Wanted};
use super::body::{self, Body};
use super::{messages, owner, platform, refuse, whole};
use crate::auth::KeyOwner;
use crate::billing;
use crate::directory::{Account, model_id};
use crate::gateway::Worker;
use crate::net::Net;
use crate::protocol::anthropic::Skim;
use crate::protocol::error::ApiError;
use crate::protocol::{Protocol, estimate, json};
use crate::telemetry::AccessLog;
use crate::upstream::bridge::Bridge;
use crate::upstream::headers;
use crate::upstream::outgoing::Outgoing;
use crate::upstream::target::Operation;
use crate::wire::Answer;

const PROTOCOL: Protocol = Protocol::Anthropic;
/// The most bytes of an upstream's count that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Answers a request.
pub(crate) async fn answer<N: Net, S: Watch>(
    worker: &Rc<Worker<N, S>>,
    request: Request<Body>,
    log: &Rc<AccessLog>,
) -> Response<Answer> {
    match aside::unless_closing(worker, count(worker, request, log)).await {
        Ok(tokens) => whole(format!("{{\"input_tokens\":{tokens}}}"), log),
        Err(error) => refuse(PROTOCOL, &error, log),
    }
}

async fn count<N: Net, S: Watch>(
    worker: &Rc<Worker<N, S>>,
    request: Request<Body>,
    log: &Rc<AccessLog>,
) -> Result<u64, ApiError> {
    let (head, body) = request.into_parts();
    let owner = owner(worker, &head, log)?;
    let (bytes, _parked) = body.read(worker).await?;
    let skim = Skim::read(&bytes)?;
    log.asks(&skim.model, false, bytes.len());
    body::not_too_late(worker)?;
    may_ask(worker, owner)?;
    let full = || ApiError::of(Verdict::UserLineFull, None).expect("it was not served");
    let _place = worker.places.take(owner.user).ok_or_else(full)?;
    let KeyOwner { user, group } = owner;
    let model = model_id(&skim.model);
    let platform = platform::resolve(&worker.driver.directory, group, PROTOCOL, model)?;
    let wanted = Wanted {
        group,
        platform,
        model,
        session: messages::session_key(Scope { group, platform, user }, &skim),
        excluded: Vec::new(),
    };
    let mut last = None;
    for id in aside::look(worker, wanted).await? {
        let asked = Asked { worker, log, client: &head.headers, bytes: &bytes, skim: &skim };
        match asked.count_at(id).await {
            Counted::Tokens(tokens) => return Ok(tokens),
            Counted::Cannot => return estimate::of_messages(&bytes),
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

/// What the engine would ask of the user, too.
fn may_ask<N: Net, S: Watch>(worker: &Worker<N, S>, owner: KeyOwner) -> Result<(), ApiError> {
    let directory = &worker.driver.directory;
    let refused = |verdict| ApiError::of(verdict, None).expect("it was not served");
    let limit = directory.roster.users.get(&owner.user).map(|user| user.limit.normal());
    if limit.is_none_or(|limit| limit == Limit::Closed) {
        return Err(refused(Verdict::UserClosed));
    }
    let denied = |denial| refused(Verdict::BillingDenied(denial));
    billing::check(directory, owner.user).map_err(denied)
}

/// What came of asking an account.
enum Counted {
    Tokens(u64),
    /// It has no such operation.
    Cannot,
    Failed(Outcome, Option<ApiError>),
}

/// A request that was understood.
struct Asked<'a, N: Net, S: Watch> {
    worker: &'a Rc<Worker<N, S>>,
    log: &'a AccessLog,
    client: &'a HeaderMap,
    bytes: &'a Bytes,
    skim: &'a Skim<'a>,
}

impl<N: Net, S: Watch> Asked<'_, N, S> {
    async fn count_at(&self, id: AccountId) -> Counted {
        let worker = self.worker;
        let Some(account) = worker.driver.directory.accounts.get(&id) else {
            return Counted::Failed(Outcome::Unreachable, None);
        };
        let model = account.upstream_model(&self.skim.model);
        let name = model.unwrap_or(&self.skim.model);
        let Some(path) = account.target.path(name, Operation::Count) else {
            return Counted::Cannot;
        };
        let bridge = Bridge::between(PROTOCOL, account);
        let Some(bridge) = bridge else { return Counted::Cannot };
        let body = match bridge.count_request(self.body_for(account), name) {
            Ok(body) => body,
            Err(refusal) => return Counted::Failed(Outcome::Cancelled, Some(refusal)),
        };
        let request = Outgoing {
            method: Method::POST,
            protocol: account.protocol,
            target: &account.target,
            client: self.client,
            path,
            body,
        };
        match aside::fetch(worker, id, account, &request, ANSWER_BYTES_MAX).await {
            Ok(fetched) => self.read(bridge, &request, &fetched),
            Err(outcome) => Counted::Failed(outcome, None),
        }
    }

    fn body_for(&self, account: &Account) -> Bytes {
        match account.upstream_model(&self.skim.model) {
            None if self.skim.models.len() == 1 => self.bytes.clone(),
            model => json::splice(self.bytes, &self.skim.models, model.unwrap_or(&self.skim.model)),
        }
    }

    fn read(&self, bridge: Bridge, request: &Outgoing<'_>, fetched: &Fetched) -> Counted {
        let head = &fetched.head;
        let id = head.headers().get(headers::upstream_id(request.protocol));
        self.log.upstream_id(id.and_then(|id| id.to_str().ok()).map(str::to_owned));
        if head.status().is_success() {
            return match request.protocol.counted(&fetched.body) {
                Some(tokens) => Counted::Tokens(tokens),
                None => Counted::Failed(Outcome::ServerError { status: 502 }, None),
            };
        }
        let (outcome, refusal) = fetched.failure(self.worker, request);
        let refusal = refusal.map(|refusal| bridge.refusal(&fetched.body, refusal));
        // Who knows the operation says in its own shape what it does not find.
        let unknown = matches!(head.status().as_u16(), 404 | 405 | 501) && refusal.is_none();
        if unknown { Counted::Cannot } else { Counted::Failed(outcome, refusal) }
    }
}
