//! One attempt: a request to one account, and its answer to the client.
//!
//! Whatever happens before the first semantic byte is handed to the client is only a failed
//! attempt; what happens afterwards is told to the client in the stream.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method, Response};
use sluice_engine::{AccountId, Attempt, Outcome};
use sluice_storage::Watch;
use tokio::time::{Instant, timeout_at};

use super::access::Access;
use super::bridge::{Bridge, Lane, Remake, outcome_of};
use super::classify::may_be_the_accounts;
use super::excerpt;
use super::headers;
use super::link::Exchange;
use super::outgoing::Outgoing;
use super::pool::{NO_GOOD, NoAnswer};
use super::relay::{Relay, Step};
use super::tier;
use crate::clock::Clock;
use crate::directory::{Account, digest};
use crate::gateway::Worker;
use crate::handler::{Asked, REQUEST_ID, rare};
use crate::net::Net;
use crate::permit::Permit;
use crate::protocol::Protocol;
use crate::protocol::error::ApiError;
use crate::protocol::json;
use crate::translate::Naming;
use crate::wire::{CutOff, Wire};

/// The most bytes of an upstream's error that are read.
const ERROR_BYTES_MAX: usize = 64 * 1024;
/// The most bytes of a plain answer that are held before the client is sent any.
const ANSWER_BYTES_HELD_MAX: usize = 4 * 1024 * 1024;
/// How long an upstream may take to end a stream whose last event has come.
const AFTERWORD: Duration = Duration::from_secs(2);

/// How an attempt ended.
pub(crate) struct End {
    pub(crate) outcome: Outcome,
    /// What the upstream said when it refused the request as wrong.
    pub(crate) refusal: Option<ApiError>,
    /// The client has been told in its stream that the answer broke off.
    pub(crate) told: bool,
}

impl From<Outcome> for End {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, refusal: None, told: false }
    }
}

impl End {
    /// The answer is an error of the upstream's, or of no use.
    fn of(error: ApiError) -> Self {
        Self { outcome: outcome_of(&error), refusal: Some(error), told: false }
    }

    /// The request is wrong for this upstream, which was not asked: that says nothing of it.
    const fn unsent(error: ApiError) -> Self {
        Self { outcome: Outcome::Cancelled, refusal: Some(error), told: false }
    }
}

/// One attempt, with all it needs.
pub(crate) struct Forward<'a, N: Net, S: Watch> {
    pub(crate) worker: &'a Rc<Worker<N, S>>,
    pub(crate) permit: &'a Permit<S>,
    pub(crate) wire: &'a Wire,
    pub(crate) asked: &'a Asked,
    pub(crate) attempt: Attempt,
    pub(crate) id: AccountId,
    pub(crate) account: &'a Arc<Account>,
}

impl<N: Net, S: Watch> Forward<'_, N, S> {
    /// Runs the attempt to its end, or until it is cancelled. One that is cancelled because the
    /// client has left, and that may linger, is read on for what it used, within limits.
    pub(crate) async fn run(self) -> Result<End, CutOff> {
        let mut go = pin!(self.go(Clock::after(self.worker.total_timeout)));
        tokio::select! {
            biased; // A cancelled attempt does nothing more, even if it could.
            () = self.permit.cancelled(self.attempt) => {}
            end = go.as_mut() => return end,
        }
        if self.permit.over() {
            // Whole already; only its connection was still open.
            return Ok(Outcome::Completed.into());
        }
        if !self.wire.is_left() {
            return Ok(Outcome::Cancelled.into());
        }
        let bytes_max = self.worker.config.upstream.drain_bytes_max;
        tokio::select! {
            biased; // What has come is taken in before it is called too much.
            end = go => end,
            () = self.wire.overheard(bytes_max) => Ok(Outcome::Cancelled.into()),
        }
    }

    /// Asks, and once more with another access token if the upstream has refused the first.
    async fn go(&self, total: Instant) -> Result<End, CutOff> {
        let mut access = match Access::to(self.worker, self.id, self.account, total).await {
            Ok(access) => access,
            Err(outcome) => return Ok(outcome.into()),
        };
        let mut again = true;
        loop {
            if self.wire.is_left() {
                // While a token was waited for: nothing has been used that could be read on for.
                return Ok(Outcome::Cancelled.into());
            }
            let end = self.ask(&access, total).await?;
            if !(again && end.outcome == Outcome::Unauthorized { status: 401 }) {
                return Ok(end);
            }
            match access.renewed(self.worker, total).await {
                Some(renewed) => access = renewed,
                None => return Ok(end),
            }
            again = false;
        }
    }

    async fn ask(&self, access: &Access<'_>, total: Instant) -> Result<End, CutOff> {
        let account = self.account;
        let Some(bridge) = Bridge::between(self.asked.protocol, account) else {
            debug_assert!(false, "no pool has an account that its clients have no way to");
            return Ok(Outcome::Unreachable.into());
        };
        let body = match self.body(account, bridge) {
            Ok(body) => body,
            Err(refusal) => return Ok(End::unsent(refusal)),
        };
        let (head, exchange) = match self.send(access, body, total).await {
            Ok(answered) => answered,
            Err(why) => return Ok(why.outcome().into()),
        };
        let id = head
            .headers()
            .get(headers::upstream_id(account.protocol))
            .and_then(|id| id.to_str().ok());
        self.asked.log.upstream_id(id.map(str::to_owned));
        account.windows.note(account.protocol, head.headers(), self.worker.driver.clock.now());
        if !head.status().is_success() {
            return Ok(rare(self.refused(access, bridge, &head, exchange, total)).await);
        }
        tier::learn(self.worker, access);
        let kind = head.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let stream = self.asked.stream;
        let in_pieces = stream || bridge.always_streams();
        let wanted = if in_pieces { "text/event-stream" } else { "application/json" };
        let media = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
        if !media.trim().eq_ignore_ascii_case(wanted) {
            // Not the kind of answer that was asked for: nothing that the client could read.
            return Ok(NO_GOOD.into());
        }
        let model = account.upstream_model(&self.asked.model).map(|_| self.asked.model.clone());
        let answered = Answered { access, head, exchange, total };
        if stream {
            let relay = Relay::new(self.asked.protocol, model, access.secrets().clone());
            let lane = bridge.stream(|| self.naming());
            self.stream(answered, lane, relay).await
        } else if let Some(remake) = bridge.whole(|| self.naming()) {
            rare(self.remade(answered, remake, model)).await
        } else {
            self.plain(answered, model).await
        }
    }

    /// The request's body, as this account is sent it.
    fn body(&self, account: &Account, bridge: Bridge<'_>) -> Result<Bytes, ApiError> {
        let model = account.upstream_model(&self.asked.model);
        // Gone only after an answer has begun, and then nobody is asked again.
        let body = self.asked.body_for(model).unwrap_or_default();
        bridge.request(body, model.unwrap_or(&self.asked.model))
    }

    /// What an answer that has to be made anew is called.
    fn naming(&self) -> Naming {
        let id = self.worker.mint_id();
        let half = |part| u128::from(digest(&[part, &id]));
        Naming { model: self.asked.model.clone(), nonce: half("high") << 64 | half("low") }
    }

    /// Sends the request. Its body is not held any longer than that takes.
    async fn send(
        &self,
        access: &Access<'_>,
        body: Bytes,
        total: Instant,
    ) -> Result<(Response<()>, Exchange<N>), NoAnswer> {
        let (asked, account) = (self.asked, access.account);
        let model = account.upstream_model(&asked.model).unwrap_or(&asked.model);
        // A pool has nobody that cannot be asked what it is for.
        let path = account.target.path(model, asked.operation).ok_or(NoAnswer::Connect)?;
        let request = Outgoing {
            method: Method::POST,
            protocol: account.protocol,
            client: &asked.headers,
            path,
            body,
        };
        self.worker.pool.send(access, &request, total).await
    }

    async fn refused(
        &self,
        access: &Access<'_>,
        bridge: Bridge<'_>,
        head: &Response<()>,
        mut exchange: Exchange<N>,
        total: Instant,
    ) -> End {
        let status = head.status().as_u16();
        // Only of a request that is wrong does it matter what was said.
        let wrong = matches!(status, 400..=499) && !matches!(status, 401..=403 | 429);
        let patience = if wrong { self.worker.idle_timeout } else { AFTERWORD };
        let deadline = total.min(Clock::after(patience));
        let mut body = BytesMut::new();
        while body.len() < ERROR_BYTES_MAX {
            match timeout_at(deadline, exchange.chunk()).await {
                Ok(Some(Ok(chunk))) => body.extend_from_slice(&chunk),
                Ok(None) => {
                    self.worker.pool.keep(self.id, self.account, exchange);
                    break;
                }
                Ok(Some(Err(_))) | Err(_) => break,
            }
        }
        let now = self.worker.driver.clock.now();
        let (outcome, refusal) = bridge.failure(access, head, &body, now);
        let account = access.account;
        let config = &self.worker.config;
        if config.log.upstream_errors {
            let said = access.secrets().hidden(&body);
            let said = excerpt::of(&said, config.log.upstream_error_bytes_max);
            let id = &*self.asked.log.request_id;
            tracing::warn!(request_id = id, account = &*account.name, status, said, "refused");
        }
        let heeds = config.anthropic.failover_on_400 && account.protocol == Protocol::Anthropic;
        let is_400 = outcome == Outcome::ClientError { status: 400 };
        let tries_another = heeds && is_400 && may_be_the_accounts(&body);
        let outcome = if tries_another { Outcome::Unable { status: 400 } } else { outcome };
        End { outcome, refusal, told: false }
    }

    /// The next piece of the answer; `None` at its proper end.
    async fn chunk(&self, exchange: &mut Exchange<N>, by: Instant) -> Result<Option<Bytes>, ()> {
        let now = Clock::after(Duration::ZERO);
        if now >= by {
            return Err(()); // However much there is: a slow client must not make it last.
        }
        match timeout_at(by.min(now + self.worker.idle_timeout), exchange.chunk()).await {
            Ok(None) => Ok(None),
            Ok(Some(Ok(chunk))) => {
                self.wire.overhear(chunk.len());
                Ok(Some(chunk))
            }
            Ok(Some(Err(_))) | Err(_) => Err(()),
        }
    }

    /// A plain answer is held until it is whole, if it is not too long: then an upstream that
    /// breaks off in the middle is only a failed attempt.
    async fn plain(&self, answered: Answered<'_, N>, model: Option<String>) -> Result<End, CutOff> {
        let Answered { access, head, mut exchange, total } = answered;
        let mut held = Held::default();
        let whole = loop {
            match self.chunk(&mut exchange, total).await {
                Ok(Some(chunk)) => held.push(chunk),
                Ok(None) => break true,
                Err(()) => return Ok(NO_GOOD.into()),
            }
            if held.len() > ANSWER_BYTES_HELD_MAX {
                break false;
            }
        };
        let held = held.into_bytes();
        let usage = self.asked.protocol.usage_of_answer(&held);
        if whole && usage.is_none() {
            // HTTP was told that it is whole, and it is not.
            return Ok(NO_GOOD.into());
        }
        let mut response = Response::new(());
        *response.status_mut() = head.status();
        *response.headers_mut() = self.head(access.account, &head);
        self.asked.log.status(head.status().as_u16());
        self.permit.started(self.attempt);
        if whole {
            self.worker.pool.keep(self.id, self.account, exchange);
            self.asked.log.usage.set(usage.unwrap_or_default());
            let at = self.asked.protocol.model_in_answer();
            self.wire.answer(response, named(held, at, model.as_deref()));
            return Ok(Outcome::Completed.into());
        }
        self.asked.forget_body();
        self.wire.open(response);
        let mut last = last_visible(&held);
        self.wire.send(held).await;
        loop {
            match self.chunk(&mut exchange, total).await {
                Ok(Some(chunk)) => {
                    last = last_visible(&chunk).or(last);
                    self.wire.send(chunk).await;
                }
                Ok(None) if last == Some(b'}') => {
                    self.worker.pool.keep(self.id, self.account, exchange);
                    return Ok(Outcome::Completed.into());
                }
                Ok(None) | Err(()) => {
                    drop(exchange);
                    self.permit.ended(Outcome::Truncated);
                    return Err(CutOff);
                }
            }
        }
    }

    /// A plain answer that the client reads in another form: it is held until it is whole.
    async fn remade(
        &self,
        answered: Answered<'_, N>,
        mut remake: Remake,
        model: Option<String>,
    ) -> Result<End, CutOff> {
        let Answered { access, head, mut exchange, total } = answered;
        let mut by = total;
        let properly = loop {
            match self.chunk(&mut exchange, by).await {
                Ok(Some(chunk)) => {
                    if let Err(error) = remake.push(chunk) {
                        return Ok(End::of(access.secrets().told(error)));
                    }
                }
                Ok(None) => break true,
                // What it still had to say is not worth another attempt.
                Err(()) if remake.is_finishing() => break false,
                Err(()) => return Ok(NO_GOOD.into()),
            }
            let patience = total.min(Clock::after(AFTERWORD));
            // Of several answers, another may begin when all have ended that there are.
            by = if remake.is_finishing() { patience } else { total };
        };
        let at = self.asked.protocol.model_in_answer();
        let body = match remake.end() {
            Ok(body) => named(body, at, model.as_deref()),
            Err(error) => return Ok(End::of(access.secrets().told(error))),
        };
        if properly {
            self.worker.pool.keep(self.id, self.account, exchange);
        }
        let usage = self.asked.protocol.usage_of_answer(&body).unwrap_or_default();
        self.asked.log.usage.set(usage);
        self.asked.log.status(200);
        self.permit.started(self.attempt);
        let mut response = Response::new(());
        *response.headers_mut() = self.head(access.account, &head);
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        self.wire.answer(response, body);
        Ok(Outcome::Completed.into())
    }

    async fn stream(
        &self,
        answered: Answered<'_, N>,
        mut lane: Lane,
        mut relay: Relay,
    ) -> Result<End, CutOff> {
        let Answered { access, head, mut exchange, total } = answered;
        let mut by = total;
        loop {
            let (piece, ended) = match self.chunk(&mut exchange, by).await {
                Ok(Some(chunk)) => (lane.push(chunk), None),
                Ok(None) => (lane.end(), Some(true)),
                Err(()) => (lane.end(), Some(false)),
            };
            let step = relay.push(piece);
            self.asked.log.usage.set(relay.usage());
            match step {
                Step::Failed(outcome, refusal) => return Ok(End { outcome, refusal, told: false }),
                Step::Start(bytes) => {
                    self.start(access.account, &head);
                    self.wire.send(self.asked.framed(bytes)).await;
                }
                Step::Send(bytes) => self.wire.send(self.asked.framed(bytes)).await,
                Step::Broken(bytes) => {
                    if !self.permit.begun() {
                        self.start(access.account, &head);
                    }
                    self.wire.send(self.asked.framed(bytes)).await;
                    return Ok(End { told: true, ..Outcome::Truncated.into() });
                }
            }
            if let Some(properly) = ended {
                if properly && relay.stopped() {
                    self.worker.pool.keep(self.id, self.account, exchange);
                }
                break;
            }
            if relay.stopped() && !self.permit.over() {
                self.permit.whole();
                by = total.min(Clock::after(AFTERWORD));
            } else if lane.is_finishing() && by == total {
                by = total.min(Clock::after(AFTERWORD));
            }
        }
        let outcome = match (relay.stopped(), relay.started()) {
            (true, _) => Outcome::Completed,
            (false, true) => Outcome::Truncated,
            (false, false) => NO_GOOD,
        };
        Ok(outcome.into())
    }

    /// From here on the answer is this attempt's.
    fn start(&self, account: &Account, head: &Response<()>) {
        self.asked.forget_body();
        self.permit.started(self.attempt);
        if !self.wire.opened() {
            let mut response = self.asked.stream_head();
            let mut passed = self.passed(account, head);
            if self.asked.array.is_some() {
                // Its own says how the client reads it.
                passed.remove(CONTENT_TYPE);
            }
            response.headers_mut().extend(passed);
            self.wire.open(response);
        }
        self.asked.log.status(200);
    }

    fn head(&self, account: &Account, head: &Response<()>) -> HeaderMap {
        let mut headers = self.passed(account, head);
        headers.insert(REQUEST_ID, self.asked.request_id_header());
        headers
    }

    /// The upstream's headers that the client is sent.
    fn passed(&self, account: &Account, head: &Response<()>) -> HeaderMap {
        let mut headers = headers::down(account.protocol, head.headers());
        let id = headers::upstream_id(self.asked.protocol);
        if account.protocol != self.asked.protocol && id != REQUEST_ID {
            // Its clients look for one there.
            headers.insert(id, self.asked.request_id_header());
        }
        headers
    }
}

/// An answer whose head has come, and until when it may take.
struct Answered<'a, N: Net> {
    access: &'a Access<'a>,
    head: Response<()>,
    exchange: Exchange<N>,
    total: Instant,
}

/// What has come of an answer; most come in one piece, which is not copied.
#[derive(Default)]
struct Held {
    first: Bytes,
    more: BytesMut,
}

impl Held {
    fn push(&mut self, chunk: Bytes) {
        if self.len() == 0 {
            self.first = chunk;
            return;
        }
        if self.more.is_empty() {
            self.more.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.more.extend_from_slice(&chunk);
    }

    fn len(&self) -> usize {
        self.first.len() + self.more.len()
    }

    fn into_bytes(self) -> Bytes {
        if self.more.is_empty() { self.first } else { self.more.freeze() }
    }
}

/// The last byte that is no white space.
fn last_visible(bytes: &[u8]) -> Option<u8> {
    bytes.iter().copied().rfind(|byte| !byte.is_ascii_whitespace())
}

/// A plain answer with the client's own name for the model.
fn named(body: Bytes, at: &[&str], model: Option<&str>) -> Bytes {
    let renamed =
        model.and_then(|model| json::replace_string(std::str::from_utf8(&body).ok()?, at, model));
    renamed.map_or(body, Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_answers_come_in_one_piece_and_are_not_copied() {
        let piece = Bytes::from_static(b"whole");
        let mut held = Held::default();
        held.push(piece.clone());
        assert_eq!(held.into_bytes().as_ptr(), piece.as_ptr());
        let mut held = Held::default();
        for part in ["a", "bc", "d"] {
            held.push(Bytes::from(part));
        }
        assert_eq!((held.len(), held.into_bytes()), (4, Bytes::from("abcd")));
    }
}
