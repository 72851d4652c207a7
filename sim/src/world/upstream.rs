//! An account's upstream: raw HTTP/1.1 and server-sent events, answering as the scenario says.
//!
//! It knows a request by the client's user agent, which gateways pass on. Whatever a gateway sends it
//! must be whole, and must carry this account's credential and no other (I19).

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use sluice_engine::{AccountId, Outcome, RequestId, Span};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use turmoil::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use turmoil::net::{TcpListener, TcpStream};

use super::cx::{Counted, Cx};
use super::http::{self, Message};
use super::seen::{Seen, UpstreamEnd};
use super::setup::{api_key, user_agent_of};
use super::{EVERYWHERE, PORT, net};
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
        }
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
        if head.get("x-api-key") != Some(&api_key(account)) || head.get("authorization").is_some() {
            return Err(format!("{account} is sent {:?}", head.get("x-api-key")));
        }
        let req = head.get("user-agent").and_then(user_agent_of).ok_or("no request's name")?;
        let body: serde_json::Value =
            serde_json::from_slice(body).map_err(|error| format!("{req}'s body: {error}"))?;
        if body["messages"][0]["content"] != super::setup::question(req) {
            return Err(format!("{req} comes with another's body: {body}"));
        }
        let mut tries = self.cx.tries.borrow_mut();
        let attempt = tries.entry(req).or_default();
        *attempt += 1;
        Ok(Known { req, attempt: *attempt, stream: body["stream"] == true })
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
        let body = if status == 200 { whole(known) } else { error(status) };
        let after = after
            .map_or_else(String::new, |a| format!("retry-after: {}\r\n", a.0.div_ceil(1_000_000)));
        let head = format!(
            "HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\n{after}\
             content-length: {}\r\n\r\n",
            body.len(),
        );
        self.write(to, &(head + &body)).await?;
        Some(Said::All)
    }

    async fn stream(&self, to: &mut OwnedWriteHalf, known: &Known, answer: Answer) -> Option<Said> {
        let Answer { first_byte, end, outcome } = answer;
        let first = first_byte.unwrap_or(end);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
            transfer-encoding: chunked\r\n\r\n";
        sleep(duration(first)).await;
        self.write(to, head).await?;
        self.event(to, "message_start", &format!("\"message\":{}", whole(known))).await?;
        let lasts = end.saturating_sub(first);
        let pieces = (lasts.0 / PIECE.0).clamp(1, PIECES_MAX);
        for piece in 0..pieces {
            let text = super::answer::piece(known.req, known.attempt, piece);
            let data =
                format!("\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":{text:?}}}");
            self.event(to, "content_block_delta", &data).await?;
            sleep(duration(Span(lasts.0 / pieces))).await;
        }
        if matches!(outcome, Outcome::Truncated) {
            return Some(Said::Half);
        }
        self.event(to, "message_delta", "\"delta\":{},\"usage\":{\"output_tokens\":1}").await?;
        self.event(to, "message_stop", "\"x\":0").await?;
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

/// A message as the protocol has it.
fn whole(known: &Known) -> String {
    let text = super::answer::piece(known.req, known.attempt, 0);
    format!(
        "{{\"id\":\"msg\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\
         \"content\":[{{\"type\":\"text\",\"text\":{text:?}}}],\"stop_reason\":null,\
         \"usage\":{{\"input_tokens\":1,\"output_tokens\":1}}}}"
    )
}

fn error(status: u16) -> String {
    let kind = match status {
        429 => "rate_limit_error",
        529 => "overloaded_error",
        401 => "authentication_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    };
    format!("{{\"type\":\"error\",\"error\":{{\"type\":\"{kind}\",\"message\":\"scripted\"}}}}")
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
            cx.push(What::Seen(Seen::Opened {
                req: known.req,
                attempt: known.attempt,
                account: of.account,
                node,
                near,
                kept,
                open: beside,
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
