//! An account's upstream: raw HTTP/1.1 and server-sent events, answering as the scenario says.
//!
//! It knows a request by the client's user agent, which gateways pass on. Whatever a gateway sends it
//! must be whole, and must carry this account's credential and no other (I19).

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use sluice_engine::{AccountId, Outcome, RequestId, Span, Time};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use turmoil::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use turmoil::net::{TcpListener, TcpStream};

use super::cx::{Counted, Cx};
use super::http::{self, Message};
use super::seen::{Deadline, Seen, UpstreamEnd};
use super::setup::{api_key, credential_of, model_name, user_agent_of};
use super::{EVERYWHERE, PORT, answer, net, setup};
use crate::history::What;
use crate::scenario::Answer;

/// A connection that says nothing for so long is ended.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Nobody reads what could not be written for so long.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// Between two pieces of an answer, at most.
const PIECE: Span = Span::from_ms(400);
/// The most pieces of an answer.
const PIECES_MAX: u64 = 40;
/// What gateways' timers may be late by.
const LATE: Span = Span::from_ms(100);
/// What passes at most between an upstream's word and a gateway's hearing it, while nothing is wrong.
const NEAR: Span = Span::from_ms(300);
/// How long a gateway takes at most to learn that its client has gone, while nothing is wrong.
const NOTICED: Span = Span::from_ms(700);
/// A connection that has carried nothing for so long is nobody's present business.
const UNUSED: Span = Span::from_ms(500);
/// What no client is to be told.
pub(super) const OPERATORS_OWN: &str = "anthropic-organization-id";

/// The host's process.
pub(super) async fn serve(cx: Cx, account: AccountId) -> turmoil::Result {
    let listener = TcpListener::bind((EVERYWHERE, PORT)).await?;
    loop {
        let (stream, peer) = listener.accept().await?;
        let server = Upstream { cx: cx.clone(), account, peer };
        drop(spawn_local(Rc::new(server).connection(stream)));
    }
}

struct Upstream {
    cx: Cx,
    account: AccountId,
    peer: SocketAddr,
}

/// One request, read and known.
struct Known {
    req: RequestId,
    attempt: u16,
    stream: bool,
    /// As the gateway names it here.
    model: String,
    /// Which of the account's credentials it came with.
    credential: usize,
    since: Time,
}

impl Known {
    /// How this upstream calls the attempt.
    fn id(&self) -> String {
        answer::upstream_id(self.req, self.attempt)
    }
}

/// What was said of an answer before the connection ends, or may be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Half,
    All,
}

impl Upstream {
    async fn connection(self: Rc<Self>, stream: TcpStream) {
        let (mut reader, mut writer) = stream.into_split();
        let (mut bytes, mut kept) = (Vec::new(), false);
        while let Some(known) = self.request(&mut reader, &mut bytes).await {
            self.cx.idle.borrow_mut().remove(&self.peer);
            let trying = Trying::begin(&self, &known, kept);
            kept = true;
            let answer = self.answer(&known);
            let said = tokio::select! {
                biased; // What is said counts, though the other side has left meanwhile.
                said = self.say(&mut writer, &known, answer) => said,
                () = self.hears_end(&mut reader, &mut bytes) => return trying.end(UpstreamEnd::Left),
            };
            trying.end(match said {
                None => UpstreamEnd::Left,
                Some(Said::Nothing) => UpstreamEnd::Silent,
                Some(Said::All | Said::Half) => UpstreamEnd::Said,
            });
            if said != Some(Said::All) {
                return;
            }
            // While a client takes its time, its gateway has not read all of the answer.
            if !self.cx.network.readers.contains_key(&known.req) {
                let (account, node) = (self.account, self.cx.node_at(self.peer.ip()));
                self.cx.idle.borrow_mut().insert(self.peer, (account, node, self.cx.now()));
            }
        }
        self.cx.idle.borrow_mut().remove(&self.peer);
    }

    /// Reads one request; `None` at the end of the connection.
    async fn request(&self, reader: &mut OwnedReadHalf, bytes: &mut Vec<u8>) -> Option<Known> {
        loop {
            match http::read(bytes) {
                Ok(Message::Whole(head, body, taken)) => {
                    bytes.drain(..taken);
                    let known = self.know(&head, &body);
                    if let Err(what) = &known {
                        self.wrong(what);
                    }
                    return known.ok();
                }
                Ok(Message::Partial(_)) => {}
                Err(what) => {
                    self.wrong(&what);
                    return None;
                }
            }
            let read = timeout(SILENCE_MAX, reader.read_buf(bytes)).await;
            if !matches!(read, Ok(Ok(1..))) {
                return None;
            }
        }
    }

    fn know(&self, head: &http::Head, body: &[u8]) -> Result<Known, String> {
        let account = self.account;
        let keys: Vec<_> = head.all("x-api-key").chain(head.all("authorization")).collect();
        let credential = match keys[..] {
            [key] => credential_of(account, key),
            _ => None,
        };
        let credential = credential.ok_or_else(|| format!("{account} is sent {keys:?}"))?;
        let req = head.get("user-agent").and_then(user_agent_of).ok_or("no request's name")?;
        let body: serde_json::Value =
            serde_json::from_slice(body).map_err(|error| format!("{req}'s body: {error}"))?;
        if body["messages"][2]["content"] != setup::question(req) {
            return Err(format!("{req} comes with another's body: {body}"));
        }
        let model = body["model"].as_str().unwrap_or_default().to_owned();
        let arrival = self.cx.scenario.arrival(req).ok_or_else(|| format!("{req} is nobody's"))?;
        if model != model_name(&self.cx.network, account, arrival.spec.model) {
            return Err(format!("{account} is asked for {model:?} by {req}"));
        }
        self.cx.push(What::Seen(Seen::Presented { req, account, credential }));
        let mut tries = self.cx.tries.borrow_mut();
        let attempt = tries.entry(req).or_default();
        *attempt += 1;
        let since = self.cx.now();
        let (attempt, stream) = (*attempt, body["stream"] == true);
        Ok(Known { req, attempt, stream, model, credential, since })
    }

    /// Notes if the gateway still waits though something has passed by now.
    fn overdue(&self, known: &Known, deadline: Deadline, due: Time) {
        if self.cx.now() > due + LATE && !net::let_go(self.peer) {
            let Known { req, attempt, .. } = *known;
            let node = self.cx.node_at(self.peer.ip());
            self.cx.push(What::Seen(Seen::Overdue { req, attempt, node, deadline }));
        }
    }

    /// The head is about to be sent.
    fn begins(&self, known: &Known) {
        self.overdue(known, Deadline::Head, known.since + self.cx.network.header_timeout);
        self.goes_on(known, self.cx.now());
    }

    /// A piece is about to be sent; the last one was at `last`.
    fn goes_on(&self, known: &Known, last: Time) {
        let network = &self.cx.network;
        let due = last + network.idle_timeout + network.latency_max;
        self.overdue(known, Deadline::Idle, due);
        let lingers = if network.drain { setup::DRAIN_MAX } else { Span::ZERO };
        if let Some(&left) = self.cx.left.borrow().get(&known.req) {
            self.overdue(known, Deadline::Client, left + lingers + NOTICED);
        }
    }

    /// The last of an answer is about to be said: the only one there is, or one of those that came
    /// `gap` apart after the first.
    fn speaks(&self, known: &Known, status: u16, after: Option<Span>, waits: (Span, Span)) {
        let network = &self.cx.network;
        let (first, gap) = waits;
        let timely = first + NEAR < network.header_timeout && gap + NEAR < network.idle_timeout;
        if !net::let_go(self.peer) {
            self.cx.push(What::Seen(Seen::Speaks {
                req: known.req,
                attempt: known.attempt,
                account: self.account,
                status,
                retry_after: after.map(seconds),
                timely,
            }));
        }
    }

    fn wrong(&self, what: &str) {
        self.cx.push(What::Seen(Seen::Wrong { what: what.to_owned() }));
    }

    /// What the scenario says that this attempt meets.
    fn answer(&self, known: &Known) -> Answer {
        let (scenario, now) = (&self.cx.scenario, self.cx.now());
        let spell = scenario.sick.iter().find(|s| {
            s.account == self.account && s.from <= now && now < s.until && !self.cx.healed.get()
        });
        let answers = scenario.arrival(known.req).map_or(&[][..], |arrival| &arrival.answers);
        let own = answers.get(usize::from(known.attempt) - 1).or_else(|| answers.last());
        let well = Answer { first_byte: None, end: Span::ZERO, outcome: Outcome::Completed };
        spell.map_or_else(|| own.copied().unwrap_or(well), |spell| spell.answer)
    }

    /// Returns when the gateway has ended the connection.
    async fn hears_end(&self, reader: &mut OwnedReadHalf, bytes: &mut Vec<u8>) {
        while matches!(reader.read_buf(bytes).await, Ok(1..)) {
            self.wrong("a gateway sends on before it has its answer");
        }
    }

    /// Says the answer; `None` if nobody heard it.
    async fn say(&self, to: &mut OwnedWriteHalf, known: &Known, answer: Answer) -> Option<Said> {
        let Answer { first_byte, end, outcome } = answer;
        let refusal = |status: u16, after: Option<Span>| (status, after);
        let (status, after) = match outcome {
            Outcome::Completed | Outcome::Truncated if known.stream => {
                return self.stream(to, known, answer).await;
            }
            Outcome::Completed => (200, None),
            Outcome::ClientError { status }
            | Outcome::ServerError { status }
            | Outcome::Unauthorized { status }
            | Outcome::Unable { status } => refusal(status, None),
            Outcome::RateLimited { retry_after, .. } => refusal(429, retry_after),
            Outcome::Overloaded { retry_after } => refusal(529, retry_after),
            Outcome::Truncated | Outcome::Unreachable | Outcome::Cancelled => {
                sleep(duration(end)).await;
                self.begins(known);
                if matches!(outcome, Outcome::Truncated) && first_byte.is_some() {
                    let half = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                        content-length: 100\r\n\r\n{\"type\":\"mess";
                    self.write(to, half).await?;
                    return Some(Said::Half);
                }
                return Some(Said::Nothing);
            }
        };
        sleep(duration(end)).await;
        self.begins(known);
        self.speaks(known, status, after, (end, Span::ZERO));
        let body = if status == 200 {
            whole(known, true)
        } else {
            error(status, &api_key(self.account, known.credential))
        };
        let after = after.map_or_else(String::new, |a| format!("retry-after: {}\r\n", seconds(a)));
        let head = format!(
            "HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\n{after}\
             {OPERATORS_OWN}: x\r\nrequest-id: {}\r\ncontent-length: {}\r\n\r\n",
            known.id(),
            body.len(),
        );
        self.write(to, &(head + &body)).await?;
        Some(Said::All)
    }

    async fn stream(&self, to: &mut OwnedWriteHalf, known: &Known, answer: Answer) -> Option<Said> {
        let Answer { first_byte, end, outcome } = answer;
        let first = first_byte.unwrap_or(end);
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{OPERATORS_OWN}: x\r\n\
             request-id: {}\r\ntransfer-encoding: chunked\r\n\r\n",
            known.id()
        );
        sleep(duration(first)).await;
        self.begins(known);
        self.write(to, &head).await?;
        let message = format!("\"message\":{}", whole(known, false));
        self.event(to, "message_start", &message).await?;
        let lasts = end.saturating_sub(first);
        let pieces = (lasts.0 / PIECE.0).clamp(1, PIECES_MAX);
        let gap = Span(lasts.0 / pieces);
        for piece in 0..pieces {
            let text = answer::piece(known.req, known.attempt, piece);
            let data =
                format!("\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":{text:?}}}");
            self.event(to, "content_block_delta", &data).await?;
            let last = self.cx.now();
            sleep(duration(gap)).await;
            self.goes_on(known, last);
        }
        if matches!(outcome, Outcome::Truncated) {
            return Some(Said::Half);
        }
        self.speaks(known, 200, None, (first, gap));
        let (_, output) = answer::tokens(known.req, known.attempt);
        let usage = format!("\"delta\":{{}},\"usage\":{{\"output_tokens\":{output}}}");
        self.event(to, "message_delta", &usage).await?;
        self.event(to, "message_stop", "\"x\":0").await?;
        sleep(duration(self.cx.network.extras.afterword)).await;
        self.write(to, "0\r\n\r\n").await?;
        Some(Said::All)
    }

    async fn event(&self, to: &mut OwnedWriteHalf, name: &str, data: &str) -> Option<()> {
        let event = format!("event: {name}\ndata: {{\"type\":\"{name}\",{data}}}\n\n");
        self.write(to, &format!("{:x}\r\n{event}\r\n", event.len())).await
    }

    /// Writes, in as small pieces as the scenario wants.
    async fn write(&self, to: &mut OwnedWriteHalf, text: &str) -> Option<()> {
        let most = self.cx.network.shred.unwrap_or(usize::MAX);
        for piece in text.as_bytes().chunks(most) {
            timeout(WRITE_MAX, to.write_all(piece)).await.ok()?.ok()?;
        }
        Some(())
    }
}

/// A message as the protocol has it: all of one, or the beginning of a stream.
fn whole(known: &Known, all: bool) -> String {
    let text = answer::piece(known.req, known.attempt, 0);
    let (input, output) = answer::tokens(known.req, known.attempt);
    let (model, output) = (&known.model, if all { output } else { answer::TOKENS_BEFORE });
    format!(
        "{{\"id\":\"msg\",\"type\":\"message\",\"role\":\"assistant\",\"model\":{model:?},\
         \"content\":[{{\"type\":\"text\",\"text\":{text:?}}}],\"stop_reason\":null,\
         \"usage\":{{\"input_tokens\":{input},\"output_tokens\":{output}}}}}"
    )
}

/// As a header names it.
const fn seconds(span: Span) -> u64 {
    span.0.div_ceil(1_000_000)
}

/// An error, in words that some upstreams really use: with the credential, which must come to no client.
fn error(status: u16, credential: &str) -> String {
    let kind = match status {
        429 => "rate_limit_error",
        529 => "overloaded_error",
        401 => "authentication_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    };
    format!(
        "{{\"type\":\"error\",\"error\":{{\"type\":\"{kind}\",\"message\":\"said to {credential}\"}}}}"
    )
}

const fn duration(span: Span) -> Duration {
    Duration::from_micros(span.0)
}

/// An attempt at an upstream. However it ends, that is written down.
struct Trying {
    of: Rc<Upstream>,
    key: (RequestId, u16),
    _counted: Counted,
    end: UpstreamEnd,
}

impl Trying {
    fn begin(of: &Rc<Upstream>, known: &Known, kept: bool) -> Self {
        let (cx, near) = (&of.cx, of.peer);
        let key = (known.req, known.attempt);
        let mut open = cx.open.borrow_mut();
        let beside = open
            .iter()
            .filter(|(_, (account, near))| *account == of.account && !net::let_go(*near));
        let beside = beside.map(|(&key, _)| key).collect();
        // One that the gateway has given up already is open at this end only.
        if !net::let_go(near) {
            let node = cx.node_at(near.ip());
            let idle = cx.idle.borrow();
            let idle = idle.iter().filter(|&(near, &(account, by, since))| {
                (account, by) == (of.account, node)
                    && cx.now().since(since) > UNUSED
                    && !net::let_go(*near)
            });
            let idle = idle.count();
            cx.push(What::Seen(Seen::Opened {
                req: known.req,
                attempt: known.attempt,
                account: of.account,
                node,
                near,
                kept,
                open: beside,
                idle,
            }));
        }
        open.insert(key, (of.account, near));
        let counted = Counted::new(cx, |cx| &cx.serving);
        Self { of: of.clone(), key, _counted: counted, end: UpstreamEnd::Crashed }
    }

    fn end(mut self, end: UpstreamEnd) {
        self.end = end;
    }
}

impl Drop for Trying {
    fn drop(&mut self) {
        let cx = &self.of.cx;
        cx.open.borrow_mut().remove(&self.key);
        let (req, attempt) = self.key;
        cx.push(What::Seen(Seen::Closed { req, attempt, end: self.end }));
    }
}
