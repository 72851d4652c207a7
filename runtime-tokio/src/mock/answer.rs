//! From a request to its answer, or to what goes wrong with it.

use std::borrow::Cow;
use std::fmt;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::protocol::gemini::{self, Call};
use crate::protocol::{Protocol, sse};
use crate::wire::{Answer, CutOff, Wire, respond};

use super::behaviour::{Behaviour, Fault};
use super::stats::{Open, Seen};
use super::story::{Asked, Spoken, Story};
use super::{Mock, page};

/// The connection is to end before any byte of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset;

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("reset")
    }
}

impl std::error::Error for Reset {}

/// What the paths of models begin with.
const GEMINI_MODELS: &str = "/v1beta/models/";
/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 128 << 20;
/// Bytes of a key.
const KEY_BYTES_MAX: usize = 256;
/// What a client that has too much open is told to wait.
const OVER_LIMIT_RETRY_SECS: u64 = 1;
/// Requests that can be let go in advance.
const RELEASED_MAX: usize = 1_000_000;

impl Mock {
    /// Answers one request.
    ///
    /// # Errors
    /// The connection is to be closed without an answer.
    pub async fn handle(
        self: Rc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Answer>, Reset> {
        let (head, body) = request.into_parts();
        match (&head.method, head.uri.path()) {
            (&Method::POST, "/v1/messages") => self.generate(Spoken::Messages, &head, body).await,
            (&Method::POST, "/v1/messages/count_tokens") => {
                self.generate(Spoken::Count, &head, body).await
            }
            (&Method::GET, "/v1/models") => {
                let claude = head.headers.contains_key("anthropic-version");
                let protocol = if claude { Protocol::Anthropic } else { Protocol::OpenAi };
                self.generate(Spoken::Models(protocol), &head, body).await
            }
            (&Method::GET, "/v1beta/models") => {
                self.generate(Spoken::Models(Protocol::Gemini), &head, body).await
            }
            (&Method::POST, "/v1/responses") => self.generate(Spoken::Responses, &head, body).await,
            (&Method::POST, path) if path.starts_with(GEMINI_MODELS) => {
                match Call::read(&path[GEMINI_MODELS.len()..]) {
                    Ok(call) => self.generate(Spoken::Gemini(call), &head, body).await,
                    Err(_) => {
                        Ok(error_answer(Protocol::Gemini, 404, "not_found_error", "no such path"))
                    }
                }
            }
            (&Method::POST, "/v1internal:generateContent") => {
                self.generate(Spoken::CodeAssist { stream: false }, &head, body).await
            }
            (&Method::POST, "/v1internal:streamGenerateContent") => {
                self.generate(Spoken::CodeAssist { stream: true }, &head, body).await
            }
            (&Method::POST, "/oauth/token") => {
                self.issuer.call(head, body, || self.book.now()).await
            }
            (&Method::GET, "/") => Ok(answer(200, "text/html; charset=utf-8", page::html(&self))),
            (&Method::GET, "/_mock/stats") => Ok(json_answer(200, &page::stats(&self))),
            (&Method::GET, "/_mock/left") => Ok(json_answer(200, &page::left(&self))),
            (&Method::POST, "/_mock/release") => Ok(self.release(&head)),
            (_, _) => Ok(error_answer(Protocol::Anthropic, 404, "not_found_error", "no such path")),
        }
    }

    async fn generate(
        &self,
        spoken: Spoken<'_>,
        head: &Parts,
        body: Incoming,
    ) -> Result<Response<Answer>, Reset> {
        let protocol = spoken.protocol();
        let error_answer =
            |status, kind: &str, message: &str| error_answer(protocol, status, kind, message);
        let caller = self.caller(&head.headers);
        let found = caller.and_then(|(key, good)| Some((self.behaviour(&key)?, key, good)));
        let Some((behaviour, key, good)) = found else {
            return Ok(error_answer(401, "authentication_error", "invalid x-api-key"));
        };
        let open = Open::new(&self.book, self.book.name_of(&key));
        if !good {
            let why = "the access token has expired";
            return Ok(finish(&open, error_answer(401, "authentication_error", why)));
        }
        let fault = behaviour.fate(self.seed, &key, open.n).cloned();
        let over = open.enter(behaviour.limit).await;
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let body = match body {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                let why = "the body has more than 128 MiB";
                return Ok(finish(&open, error_answer(413, "request_too_large", why)));
            }
            // The client has gone in the middle of it.
            Err(_) => return Err(Reset),
        };
        let mut headers = head.headers.clone();
        headers.remove("x-api-key");
        headers.remove("x-goog-api-key");
        headers.remove(AUTHORIZATION);
        self.book.remember(Seen { headers, body: body.clone() });
        if over && behaviour.refuses_over_limit {
            let why = "more requests at once than this key tolerates";
            let mut refusal = error_answer(429, "rate_limit_error", why);
            refusal.headers_mut().insert(RETRY_AFTER, OVER_LIMIT_RETRY_SECS.into());
            return Ok(finish(&open, refusal));
        }
        let asked = Asked::read(spoken, &body).map_err(|error| error.to_string());
        let understood = asked.and_then(|asked| {
            let story = Story::new(protocol, &asked, &body, &behaviour, open.n)?;
            Ok((asked.stream, story))
        });
        let (stream, story) = match understood {
            Ok(understood) => understood,
            Err(why) => return Ok(finish(&open, error_answer(BAD.0, BAD.1, &why))),
        };
        wait(&behaviour).await;
        if let Some(fault) = &fault {
            open.goes_wrong(fault);
        }
        tell(open, story, stream, fault, behaviour.pace).await
    }

    /// The key of a request, or that which its access token stands for, and whether it is still good.
    fn caller<'h>(&self, headers: &'h HeaderMap) -> Option<(Cow<'h, str>, bool)> {
        let token = bearer(headers).and_then(|token| self.issuer.key_of(token, self.book.now()));
        let token = token.map(|(key, good)| (Cow::Owned(key), good));
        token.or_else(|| Some((Cow::Borrowed(key_of(headers)?), true)))
    }

    /// Lets go so many of the requests that a key's behaviour holds, also such as come later.
    fn release(&self, head: &Parts) -> Response<Answer> {
        let refuse = |why: &str| error_answer(Protocol::Anthropic, BAD.0, BAD.1, why);
        let n = match head.uri.query() {
            None => Some(1),
            Some(query) => query.strip_prefix("n=").and_then(|n| n.parse().ok()),
        };
        let Some(n) = n.filter(|n| (1..=RELEASED_MAX).contains(n)) else {
            return refuse("write /_mock/release?n=N, N from 1 to 1000000");
        };
        let behaviour = key_of(&head.headers).and_then(|key| self.behaviour(key));
        let Some(hold) = behaviour.and_then(|behaviour| behaviour.hold.clone()) else {
            return refuse("x-api-key must name a key whose behaviour has hold = true");
        };
        if hold.available_permits() + n > RELEASED_MAX {
            return refuse("more than 1000000 requests would be let go in advance");
        }
        hold.add_permits(n);
        json_answer(200, &json!({"released": n}))
    }
}

const BAD: (u16, &str) = (400, "invalid_request_error");

fn key_of(headers: &HeaderMap) -> Option<&str> {
    let key = headers.get("x-api-key").and_then(|key| key.to_str().ok());
    let googs = || headers.get("x-goog-api-key")?.to_str().ok();
    key.or_else(|| bearer(headers)).or_else(googs).filter(|key| is_key(key))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// Whether it has a length that a key can have.
pub(super) fn is_key(text: &str) -> bool {
    (1..=KEY_BYTES_MAX).contains(&text.len())
}

/// What comes before an answer's head.
async fn wait(behaviour: &Behaviour) {
    if !behaviour.latency.is_zero() {
        sleep(behaviour.latency).await;
    }
    if let Some(hold) = &behaviour.hold {
        // A closed hold lets everything pass.
        if let Ok(permit) = hold.acquire().await {
            permit.forget();
        }
    }
}

/// How an answer ends that has begun.
enum Ending {
    Error(&'static str),
    Tear,
    Stall,
    End,
}

/// The answer, with its fault.
async fn tell(
    open: Open,
    story: Story,
    stream: bool,
    fault: Option<Fault>,
    pace: Duration,
) -> Result<Response<Answer>, Reset> {
    let (after, ending) = match fault {
        None | Some(Fault::Linger) => {
            if stream {
                let ending = fault.map(|_| (usize::MAX, Ending::Stall));
                return Ok(begin(open, |wire, open| say(story, pace, ending, wire, open)).await);
            }
            return Ok(finish(&open, json_answer(200, &story.plain())));
        }
        Some(Fault::Status(status, kind, retry_after)) => {
            let mut refusal = error_answer(story.protocol(), status, kind, SAYS_SO);
            if let Some(secs) = retry_after {
                refusal.headers_mut().insert(RETRY_AFTER, HeaderValue::from(secs));
            }
            return Ok(finish(&open, refusal));
        }
        Some(Fault::Refusal(status, headers, body)) => {
            let mut refusal = answer(status, "application/json", body);
            for (name, value) in headers {
                refusal.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            return Ok(finish(&open, refusal));
        }
        Some(Fault::Redirect(status, location)) => {
            let mut redirect = answer(status, "text/plain", "moved");
            let location = HeaderValue::try_from(location).expect("behaviours name good locations");
            redirect.headers_mut().insert(LOCATION, location);
            return Ok(finish(&open, redirect));
        }
        Some(Fault::Html) => {
            let page = "<!doctype html><title>Hello</title><p>This is a page for people.";
            return Ok(finish(&open, answer(200, "text/html", page)));
        }
        Some(Fault::Reset) => {
            open.end();
            return Err(Reset);
        }
        Some(Fault::Stall) => pending().await,
        Some(Fault::ErrorEvent(kind)) => (story.before_content(), Ending::Error(kind)),
        Some(Fault::ErrorAfter(kind, after)) => (after, Ending::Error(kind)),
        Some(Fault::Truncate) => (story.middle(), Ending::Tear),
        Some(Fault::TearAfter(after)) => (after, Ending::Tear),
        Some(Fault::StallAfter(after)) => (after, Ending::Stall),
        Some(Fault::EndAfter(after)) => (after, Ending::End),
    };
    if stream {
        let ending = Some((after.min(story.last()), ending));
        return Ok(begin(open, |wire, open| say(story, pace, ending, wire, open)).await);
    }
    if let Ending::Error(kind) = ending {
        return Ok(finish(&open, error_answer(story.protocol(), 500, kind, SAYS_SO)));
    }
    Ok(begin(open, |wire, open| half(story, ending, wire, open)).await)
}

/// What every made-up refusal says.
const SAYS_SO: &str = "the upstream says so";

/// An answer that is whole, and all that was wanted.
fn finish(open: &Open, response: Response<Answer>) -> Response<Answer> {
    open.end();
    open.answers(response.status().as_u16());
    response
}

/// An answer that a flow makes, with status 200.
async fn begin<F>(open: Open, flow: impl FnOnce(Wire, Open) -> F) -> Response<Answer>
where
    F: Future<Output = Result<(), CutOff>> + 'static,
{
    open.answers(200);
    respond(None, |wire| flow(wire, open)).await
}

/// A stream, with how it ends before its time.
async fn say(
    story: Story,
    pace: Duration,
    mut ending: Option<(usize, Ending)>,
    wire: Wire,
    open: Open,
) -> Result<(), CutOff> {
    wire.open(head(200, "text/event-stream"));
    let send = async |data: &Value| {
        let name = data["type"].as_str().unwrap_or_default();
        let data = data.to_string();
        let event = if name.is_empty() { sse::unnamed(&data) } else { sse::event(name, &data) };
        wire.send(event).await;
    };
    for (n, (event, paced)) in story.events().enumerate() {
        if paced && !pace.is_zero() {
            sleep(pace).await;
        }
        if let Some((_, ending)) = ending.take_if(|(after, _)| n >= *after) {
            if let Ending::Error(kind) = ending {
                send(&error_event(story.protocol(), kind)).await;
            }
            return leave(ending, &open).await;
        }
        send(&event).await;
    }
    leave(ending.map_or(Ending::End, |(_, ending)| ending), &open).await
}

/// Half of a plain answer.
async fn half(story: Story, ending: Ending, wire: Wire, open: Open) -> Result<(), CutOff> {
    let text = story.plain().to_string();
    wire.open(head(200, "application/json"));
    wire.send(Bytes::copy_from_slice(&text.as_bytes()[..text.len() / 2])).await;
    leave(ending, &open).await
}

async fn leave(ending: Ending, open: &Open) -> Result<(), CutOff> {
    match ending {
        Ending::Error(_) | Ending::End => {
            open.end();
            Ok(())
        }
        Ending::Stall => pending().await,
        Ending::Tear => {
            // What has been said goes out first: in one turn the last frame is taken, in the next
            // there is none and hyper writes.
            for _ in 0..2 {
                yield_now().await;
            }
            open.end();
            Err(CutOff)
        }
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

pub(super) fn answer(
    status: u16,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Answer> {
    head(status, content_type).map(|()| Answer::whole(body))
}

pub(super) fn json_answer(status: u16, body: &Value) -> Response<Answer> {
    answer(status, "application/json", body.to_string())
}

fn error_answer(protocol: Protocol, status: u16, kind: &str, message: &str) -> Response<Answer> {
    let error = json!({"type": kind, "message": message});
    let body = match protocol {
        Protocol::Anthropic => json!({"type": "error", "error": error}),
        Protocol::OpenAi => json!({"error": error}),
        Protocol::Gemini => google_error(status, message),
    };
    json_answer(status, &body)
}

fn error_event(protocol: Protocol, kind: &str) -> Value {
    match protocol {
        Protocol::Anthropic => {
            json!({"type": "error", "error": {"type": kind, "message": SAYS_SO}})
        }
        Protocol::OpenAi => json!({"type": "error", "code": kind, "message": SAYS_SO}),
        Protocol::Gemini => google_error(500, SAYS_SO),
    }
}

fn google_error(status: u16, message: &str) -> Value {
    let name = gemini::status_name(status);
    json!({"error": {"code": status, "message": message, "status": name}})
}
