//! Reading a stream on its way to the client: when it begins to be an answer, what it used, whether
//! it ended as it must.
//!
//! Pure. What says nothing yet is held back, so that an attempt that fails before its first content
//! leaves the client untouched and another account can be asked.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use sluice_engine::Outcome;

use super::classify::classify_event;
use crate::protocol::anthropic::{self, Kind, Usage};
use crate::protocol::error::ApiError;
use crate::protocol::json;
use crate::protocol::sse::{self, Event, Splitter};

/// The most bytes that are held back.
const PRELUDE_BYTES_MAX: usize = 256 * 1024;

/// A stream on its way.
#[derive(Debug, Default)]
pub(crate) struct Relay {
    splitter: Splitter,
    prelude: BytesMut,
    /// The client's name for the model, if the upstream has another.
    model: Option<String>,
    started: bool,
    stopped: bool,
    usage: Usage,
}

/// What to do after a piece of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send these bytes, which may be none.
    Send(Bytes),
    /// The answer begins: send these bytes as its first.
    Start(Bytes),
    /// The upstream gave up before its first content.
    Failed(Outcome),
    /// The upstream gave up in the middle: send these bytes, which end with its error, and stop.
    Broken(Bytes),
}

impl Relay {
    pub(crate) fn new(model: Option<String>) -> Self {
        Self { model, ..Self::default() }
    }

    /// The answer has begun.
    pub(crate) const fn started(&self) -> bool {
        self.started
    }

    /// The answer is whole.
    pub(crate) const fn stopped(&self) -> bool {
        self.stopped
    }

    pub(crate) const fn usage(&self) -> Usage {
        self.usage
    }

    /// Takes in a piece of the stream.
    pub(crate) fn push(&mut self, chunk: Bytes) -> Step {
        let Ok(whole) = self.splitter.push(chunk) else {
            return self.give_up(&[], Outcome::Unreachable, None);
        };
        let mut content = false;
        let mut rewritten = None;
        for event in sse::events(&whole) {
            let name = anthropic::name(&event);
            self.usage.note(&name, &event.data);
            match anthropic::kind(&name) {
                Kind::Prelude => {
                    if name == "message_start" && self.model.is_some() {
                        rewritten = self.rewrite(&whole, &event);
                    }
                }
                Kind::Semantic => content = true,
                Kind::Stop => {
                    content = true;
                    self.stopped = true;
                }
                Kind::Error => {
                    let before = &whole[..offset(&whole, event.raw)];
                    self.started |= content;
                    let error = anthropic::upstream_error(&event.data);
                    return self.give_up(before, classify_event(&event.data), error);
                }
            }
        }
        let bytes = rewritten.unwrap_or_else(|| whole.clone());
        if self.started {
            return Step::Send(bytes);
        }
        self.prelude.extend_from_slice(&bytes);
        if !content && self.prelude.len() <= PRELUDE_BYTES_MAX {
            return Step::Send(Bytes::new());
        }
        self.started = true;
        Step::Start(self.prelude.split().freeze())
    }

    fn give_up(
        &mut self,
        before: &[u8],
        outcome: Outcome,
        error: Option<anthropic::UpstreamError>,
    ) -> Step {
        if !self.started {
            return Step::Failed(outcome);
        }
        let told = ApiError::new(502, "api_error", "The upstream's answer broke off");
        let told = match error {
            Some(error) => ApiError {
                kind: Cow::Owned(error.kind),
                message: Cow::Owned(error.message),
                ..told
            },
            None => told,
        };
        let mut bytes = self.prelude.split();
        bytes.extend_from_slice(before);
        bytes.extend_from_slice(&told.to_event());
        Step::Broken(bytes.freeze())
    }

    /// `whole` with the client's name for the model in this event.
    fn rewrite(&self, whole: &Bytes, event: &Event<'_>) -> Option<Bytes> {
        let model = self.model.as_deref()?;
        let data = std::str::from_utf8(&event.data).ok()?;
        let data = json::replace_string(data, &["message", "model"], model)?;
        let at = offset(whole, event.raw);
        let mut bytes = BytesMut::with_capacity(whole.len() + model.len());
        bytes.extend_from_slice(&whole[..at]);
        bytes.extend_from_slice(&sse::event("message_start", &data.replace(['\r', '\n'], " ")));
        bytes.extend_from_slice(&whole[at + event.raw.len()..]);
        Some(bytes.freeze())
    }
}

/// Where `part`, a slice of `whole`, begins in it.
fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":\
        {\"model\":\"up\",\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\n";
    const PING: &str = "event: ping\ndata: {\"type\": \"ping\"}\n\n";
    const DELTA: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\"}\n\n";
    const STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    const ERROR: &str = "event: error\ndata: {\"type\":\"error\",\"error\":\
        {\"type\":\"overloaded_error\",\"message\":\"no\"}}\n\n";

    fn bytes(parts: &[&str]) -> Bytes {
        Bytes::from(parts.concat())
    }

    #[test]
    fn what_says_nothing_is_held_back_until_there_is_content() {
        let mut relay = Relay::default();
        assert_eq!(relay.push(bytes(&[START])), Step::Send(Bytes::new()));
        assert_eq!(relay.push(bytes(&[PING])), Step::Send(Bytes::new()));
        assert_eq!(relay.push(bytes(&[&DELTA[..9]])), Step::Send(Bytes::new()));
        assert!(!relay.started());
        assert_eq!(relay.push(bytes(&[&DELTA[9..]])), Step::Start(bytes(&[START, PING, DELTA])));
        assert_eq!(relay.push(bytes(&[DELTA, STOP])), Step::Send(bytes(&[DELTA, STOP])));
        assert!(relay.started() && relay.stopped());
        assert_eq!(relay.usage().input_tokens, 5);
    }

    #[test]
    fn an_error_before_content_is_a_failed_attempt() {
        let mut relay = Relay::default();
        let failed = Step::Failed(Outcome::Overloaded { retry_after: None });
        assert_eq!(relay.push(bytes(&[START, PING, ERROR])), failed);
    }

    #[test]
    fn an_error_after_content_is_passed_on_as_the_last_event() {
        let mut relay = Relay::default();
        relay.push(bytes(&[START, DELTA]));
        let told = "event: error\ndata: {\"type\":\"error\",\"error\":\
                    {\"type\":\"overloaded_error\",\"message\":\"no\"}}\n\n";
        assert_eq!(relay.push(bytes(&[DELTA, ERROR, DELTA])), Step::Broken(bytes(&[DELTA, told])));
        let mut at_once = Relay::default();
        let step = at_once.push(bytes(&[START, DELTA, ERROR]));
        assert_eq!(step, Step::Broken(bytes(&[START, DELTA, told])));
        assert!(at_once.started());
    }

    #[test]
    fn the_client_sees_its_own_name_for_the_model() {
        let mut relay = Relay::new(Some("mine".to_owned()));
        let step = relay.push(bytes(&[PING, START, DELTA]));
        let mine = START.replace("\"up\"", "\"mine\"");
        assert_eq!(step, Step::Start(bytes(&[PING, &mine, DELTA])));
    }

    #[test]
    fn a_prelude_without_end_is_let_through() {
        let mut relay = Relay::default();
        let pings = bytes(&[PING; 2 * PRELUDE_BYTES_MAX / PING.len()]);
        assert_eq!(relay.push(pings.clone()), Step::Start(pings));
    }
}
