//! What a client may be answered: one whole message, or one whole error, or one stream of events that
//! ends as the protocol says, and never anything of two attempts in one.

use serde_json::Value;
use sluice_engine::RequestId;

use super::http::{self, Head, Message};
use super::seen::{ClientEnd, Refusal, StreamEnd};
use super::setup;
use super::upstream::OPERATORS_OWN;
use crate::scenario::Arrival;

/// The text of one piece of an upstream's answer, by which it can be told whose it is.
pub(super) fn piece(req: RequestId, attempt: u16, n: u64) -> String {
    format!("{req}.{attempt}.{n}")
}

/// How an upstream calls an attempt.
pub(super) fn upstream_id(req: RequestId, attempt: u16) -> String {
    format!("up-{}-{attempt}", req.0)
}

/// The attempt that an upstream calls so.
pub(super) fn of_upstream_id(id: &str) -> Option<(RequestId, u16)> {
    let (req, attempt) = id.strip_prefix("up-")?.split_once('-')?;
    Some((RequestId(req.parse().ok()?), attempt.parse().ok()?))
}

/// The tokens of an attempt's question and of its whole answer: no two have the same.
pub(super) const fn tokens(req: RequestId, attempt: u16) -> (u64, u64) {
    let attempt = attempt as u64;
    (100 * req.0 + attempt, 1_000 * req.0 + 10 + attempt)
}

/// Tokens of an answer before its end.
pub(super) const TOKENS_BEFORE: u64 = 1;

/// What a client has asked for.
pub(super) struct Asked {
    req: RequestId,
    model: String,
    stream: bool,
}

impl Asked {
    pub(super) fn of(arrival: &Arrival) -> Self {
        let Arrival { id: req, spec, .. } = arrival;
        Self { req: *req, model: spec.model.to_string(), stream: spec.stream }
    }

    fn has_own_model(&self, message: &Value) -> Result<(), String> {
        let Self { req, model, .. } = self;
        if message["model"] == **model {
            return Ok(());
        }
        Err(format!("{req} asked for {model}, and is answered by {}", message["model"]))
    }
}

/// The error in what has come of an answer, if there is one.
pub(super) fn refusal(bytes: &[u8]) -> Option<Refusal> {
    let (Message::Whole(head, body, _) | Message::Partial(Some((head, body)))) =
        http::read(bytes).ok()?
    else {
        return None;
    };
    let text = String::from_utf8_lossy(&body);
    let data = if is_stream(&head) {
        text.split("event: error\ndata: ").nth(1)?.lines().next()?
    } else {
        &text
    };
    let value: Value = serde_json::from_str(data).ok()?;
    let said = |name: &str| value["error"][name].as_str().map(str::to_owned);
    let retry_after = head.get("retry-after").and_then(|secs| secs.parse().ok());
    Some(Refusal { kind: said("type")?, message: said("message")?, retry_after })
}

/// What an answer amounts to, as far as it has come; `None` if more must come.
pub(super) fn judge(asked: &Asked, bytes: &[u8]) -> Option<ClientEnd> {
    let judged = match http::read(bytes) {
        Err(what) => Err(what),
        Ok(Message::Partial(None)) => return None,
        // What has begun wrong will not end well.
        Ok(Message::Partial(Some((head, body)))) => {
            return if is_stream(&head) {
                events(asked, &body, false).err().map(ClientEnd::Malformed)
            } else {
                None
            };
        }
        Ok(Message::Whole(_, _, taken)) if taken < bytes.len() => {
            Err("more than one answer".to_owned())
        }
        Ok(Message::Whole(head, body, _)) => whole(asked, &head, &body),
    };
    let judged = judged.and_then(|end| secrets(bytes).map(|()| end));
    Some(judged.unwrap_or_else(ClientEnd::Malformed))
}

fn is_stream(head: &Head) -> bool {
    head.get("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"))
}

/// Nothing of what is the operator's own may be in it.
fn secrets(bytes: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(bytes);
    let found = [setup::CREDENTIAL, OPERATORS_OWN].into_iter().find(|own| text.contains(own));
    found.map_or(Ok(()), |own| Err(format!("{own} is told")))
}

fn whole(asked: &Asked, head: &Head, body: &[u8]) -> Result<ClientEnd, String> {
    let &Asked { req, stream, .. } = asked;
    let status = head.first.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status: u16 = status.ok_or_else(|| format!("status {:?}", head.first))?;
    if is_stream(head) {
        if status != 200 || !stream {
            return Err(format!("a stream with status {status}, asked for: {stream}"));
        }
        let end = events(asked, body, true)?;
        return Ok(ClientEnd::Whole { status, stream: end });
    }
    let text = || String::from_utf8_lossy(body).into_owned();
    let value: Value = serde_json::from_slice(body).map_err(|e| format!("{e}: {}", text()))?;
    let sound = if status == 200 {
        asked.has_own_model(&value)?;
        let said = value["content"][0]["text"].as_str().and_then(parts);
        !stream && said.is_some_and(|(of, _, _)| of == req)
    } else {
        status >= 400 && value["type"] == "error" && value["error"]["type"].is_string()
    };
    if !sound {
        return Err(format!("status {status} with {}", text()));
    }
    if matches!(status, 429 | 503 | 529)
        && head.get("retry-after").is_some_and(|s| s.parse::<u64>().is_err())
    {
        return Err("retry-after that is no number".to_owned());
    }
    Ok(ClientEnd::Whole { status, stream: None })
}

/// Reads `message_start … message_stop`, or an error event at any place, with pings between; `all` if
/// nothing more will come.
fn events(asked: &Asked, body: &[u8], all: bool) -> Result<Option<StreamEnd>, String> {
    let text = String::from_utf8_lossy(body);
    let mut state = State::default();
    let mut rest = &*text;
    while let Some((event, after)) = rest.split_once("\n\n") {
        rest = after;
        let data = event.lines().find_map(|line| line.strip_prefix("data: "));
        let name = event.lines().find_map(|line| line.strip_prefix("event: "));
        let Some(data) = data else {
            // A comment keeps a connection alive.
            if event.lines().all(|line| line.starts_with(':')) {
                continue;
            }
            return Err(format!("event {event:?}"));
        };
        let data: Value = serde_json::from_str(data).map_err(|e| format!("{e}: {data}"))?;
        if name != data["type"].as_str() {
            return Err(format!("an event named {name:?}: {data}"));
        }
        state.next(asked, &data)?;
    }
    if all && (!rest.is_empty() || state.end.is_none()) {
        return Err(format!("a stream without an end: {rest:?}"));
    }
    Ok(state.end)
}

#[derive(Default)]
struct State {
    /// The attempt that speaks, and how many pieces it has said.
    speaks: Option<(u16, u64)>,
    end: Option<StreamEnd>,
}

impl State {
    fn next(&mut self, asked: &Asked, data: &Value) -> Result<(), String> {
        let req = asked.req;
        let kind = data["type"].as_str().unwrap_or_default();
        if self.end.is_some() {
            return Err(format!("{kind} after the end"));
        }
        match (kind, self.speaks) {
            ("ping", _) => {}
            ("error", _) => self.end = Some(StreamEnd::Error),
            ("message_start", None) => {
                let said = data["message"]["content"][0]["text"].as_str().and_then(parts);
                let (of, attempt, _) = said.ok_or_else(|| format!("message_start {data}"))?;
                if of != req {
                    return Err(format!("{of}'s answer to {req}"));
                }
                asked.has_own_model(&data["message"])?;
                self.speaks = Some((attempt, 0));
            }
            ("content_block_delta", Some((attempt, n))) => {
                let said = data["delta"]["text"].as_str().and_then(parts);
                if said != Some((req, attempt, n)) {
                    return Err(format!("{said:?} where {req}.{attempt}.{n} belongs"));
                }
                self.speaks = Some((attempt, n + 1));
            }
            ("message_delta", Some((_, 1..))) => {}
            ("message_stop", Some((_, 1..))) => self.end = Some(StreamEnd::Stop),
            (other, speaks) => return Err(format!("{other} at {speaks:?}")),
        }
        Ok(())
    }
}

/// Whose a piece is.
fn parts(text: &str) -> Option<(RequestId, u16, u64)> {
    let mut parts = text.strip_prefix('r')?.split('.');
    let (req, attempt, n) = (parts.next()?, parts.next()?, parts.next()?);
    Some((RequestId(req.parse().ok()?), attempt.parse().ok()?, n.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        Asked { req: RequestId(7), model: "m".to_owned(), stream: true }
    }

    fn stream(events: &[(&str, &str)]) -> Option<ClientEnd> {
        let mut body = String::new();
        for (name, data) in events {
            body += &format!("event: {name}\ndata: {{\"type\":\"{name}\"{data}}}\n\n");
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
            transfer-encoding: chunked\r\n\r\n";
        let all = format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        judge(&asked(), all.as_bytes())
    }

    fn delta(text: &str) -> String {
        format!(",\"delta\":{{\"text\":\"{text}\"}}")
    }

    const START: (&str, &str) =
        ("message_start", ",\"message\":{\"model\":\"m\",\"content\":[{\"text\":\"r7.2.0\"}]}");

    #[test]
    fn a_whole_stream_is_accepted() {
        let (first, second) = (delta("r7.2.0"), delta("r7.2.1"));
        let end = stream(&[
            ("ping", ""),
            START,
            ("content_block_delta", &first),
            ("ping", ""),
            ("content_block_delta", &second),
            ("message_delta", ""),
            ("message_stop", ""),
        ]);
        let stop = ClientEnd::Whole { status: 200, stream: Some(StreamEnd::Stop) };
        assert_eq!(end, Some(stop));
        let error = ClientEnd::Whole { status: 200, stream: Some(StreamEnd::Error) };
        assert_eq!(stream(&[START, ("error", "")]), Some(error));
    }

    #[test]
    fn two_attempts_in_one_stream_are_found() {
        let (first, other) = (delta("r7.2.0"), delta("r7.3.1"));
        let spliced = [START, ("content_block_delta", &first), ("content_block_delta", &other)];
        assert!(matches!(stream(&spliced), Some(ClientEnd::Malformed(_))));
        let missing = delta("r7.2.1");
        assert!(matches!(
            stream(&[START, ("content_block_delta", &missing)]),
            Some(ClientEnd::Malformed(_))
        ));
        for broken in [&[START, START][..], &[START], &[("message_stop", "")]] {
            assert!(matches!(stream(broken), Some(ClientEnd::Malformed(_))), "{broken:?}");
        }
        let after = [START, ("error", ""), ("ping", "")];
        assert!(matches!(stream(&after), Some(ClientEnd::Malformed(_))));
    }

    #[test]
    fn a_second_answer_is_found() {
        let one = "HTTP/1.1 503 S\r\ncontent-length: 40\r\n\r\n\
            {\"type\":\"error\",\"error\":{\"type\":\"busy\"}}";
        let end = judge(&asked(), one.as_bytes());
        assert_eq!(end, Some(ClientEnd::Whole { status: 503, stream: None }));
        let two = format!("{one}{one}");
        assert!(matches!(judge(&asked(), two.as_bytes()), Some(ClientEnd::Malformed(_))));
        assert_eq!(judge(&asked(), &one.as_bytes()[..30]), None);
    }
}
