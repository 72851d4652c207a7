//! The Messages protocol: what the scheduler needs of a request, and what matters in an answer.

mod skim;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::json::Walk;
use super::sse::Event;

pub use skim::{MODEL_BYTES_MAX, Skim};

/// What an event of an answer's stream means for the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `message_start`: says nothing yet but names the model and the tokens read.
    Start,
    /// `ping`: says nothing.
    Ping,
    /// Content: from here on the answer belongs to the client. So is any event that is not known.
    Content,
    /// `message_delta`: content, and the tokens written.
    Delta,
    /// `message_stop`: the answer is whole.
    Stop,
    /// The upstream gives up.
    Error,
}

impl Kind {
    /// By the event's name: its `event` field, else the `type` in its data.
    #[must_use]
    pub fn of(event: &Event<'_>) -> Self {
        if !event.name.is_empty() {
            return Self::named(event.name);
        }
        #[derive(Deserialize)]
        struct Typed<'a> {
            #[serde(borrow)]
            r#type: Cow<'a, str>,
        }
        let typed = serde_json::from_slice::<Typed<'_>>(&event.data);
        typed.map_or(Self::Content, |typed| Self::named(typed.r#type.as_bytes()))
    }

    fn named(name: &[u8]) -> Self {
        match name {
            b"message_start" => Self::Start,
            b"ping" => Self::Ping,
            b"message_delta" => Self::Delta,
            b"message_stop" => Self::Stop,
            b"error" => Self::Error,
            _ => Self::Content,
        }
    }
}

/// Tokens used, as the upstream counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Read.
    pub input_tokens: u64,
    /// Written.
    pub output_tokens: u64,
    /// Written to the prompt cache.
    pub cache_creation_input_tokens: u64,
    /// Read from the prompt cache.
    pub cache_read_input_tokens: u64,
}

impl Usage {
    /// Takes in what an event of a stream says: each count as last named, a count that is not named
    /// as it was. Data that is of no use is not read.
    pub fn note(&mut self, kind: Kind, data: &[u8]) {
        let said = match kind {
            Kind::Start => serde_json::from_slice::<Start>(data).ok().map(|s| s.message.usage),
            Kind::Delta => serde_json::from_slice::<Delta>(data).ok().map(|d| d.usage),
            Kind::Ping | Kind::Content | Kind::Stop | Kind::Error => None,
        };
        if let Some(said) = said {
            self.take(said);
        }
    }

    /// The usage that a plain answer names. Nothing else of the answer is parsed.
    #[must_use]
    pub fn of_answer(body: &[u8]) -> Self {
        let mut usage = Self::default();
        let mut walk = Walk::new(body);
        if walk.enter(b'{') {
            while let Ok(Some(name)) = walk.member() {
                let Ok(value) = walk.raw() else { break };
                if *name == *b"usage" {
                    usage.take(serde_json::from_slice(value).unwrap_or_default());
                }
            }
        }
        usage
    }

    fn take(&mut self, said: Said) {
        let take = |new: Option<u64>, old: &mut u64| *old = new.unwrap_or(*old);
        take(said.input_tokens, &mut self.input_tokens);
        take(said.output_tokens, &mut self.output_tokens);
        take(said.cache_creation_input_tokens, &mut self.cache_creation_input_tokens);
        take(said.cache_read_input_tokens, &mut self.cache_read_input_tokens);
    }
}

#[derive(Default, Deserialize)]
struct Said {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Start {
    message: Delta,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    usage: Said,
}

/// Class and words of an error that an upstream sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamError {
    /// `error.type`.
    pub kind: String,
    /// `error.message`.
    pub message: String,
}

/// The most characters of an upstream's message that a client is shown.
const MESSAGE_CHARS_MAX: usize = 1_000;

/// The error in an upstream's body or event, if it is one in the Anthropic shape.
#[must_use]
pub fn upstream_error(body: &[u8]) -> Option<UpstreamError> {
    #[derive(Deserialize)]
    struct Outer {
        error: Inner,
    }
    #[derive(Deserialize)]
    struct Inner {
        r#type: String,
        #[serde(default)]
        message: String,
    }
    let Inner { r#type, message } = serde_json::from_slice::<Outer>(body).ok()?.error;
    let plain = !r#type.is_empty()
        && r#type.len() <= 64
        && r#type.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let visible = |c: &char| !c.is_control();
    let message = message.chars().filter(visible).take(MESSAGE_CHARS_MAX).collect();
    plain.then_some(UpstreamError { kind: r#type, message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::sse;

    #[test]
    fn usage_is_what_was_last_named() {
        let mut usage = Usage::default();
        usage.note(
            Kind::Start,
            br#"{"message":{"usage":{"input_tokens":9,"output_tokens":1,"cache_read_input_tokens":4}}}"#,
        );
        usage.note(Kind::Content, br#"{"usage":{"input_tokens":99}}"#);
        usage.note(Kind::Delta, br#"{"usage":{"output_tokens":7}}"#);
        let want = Usage {
            input_tokens: 9,
            output_tokens: 7,
            cache_read_input_tokens: 4,
            ..Usage::default()
        };
        assert_eq!(usage, want);
    }

    #[test]
    fn an_event_without_a_name_is_known_by_its_data() {
        let kinds = |bytes: &[u8]| sse::events(bytes).map(|e| Kind::of(&e)).collect::<Vec<_>>();
        let bytes = b"data: {\"type\":\"message_stop\"}\n\ndata: {\"type\":\"new\"}\n\ndata: x\n\n";
        assert_eq!(kinds(bytes), [Kind::Stop, Kind::Content, Kind::Content]);
        assert_eq!(kinds(b"event: ping\ndata: {\"type\":\"error\"}\n\n"), [Kind::Ping]);
    }

    #[test]
    fn an_upstream_error_is_shown_without_control_characters() {
        let body =
            br#"{"type":"error","error":{"type":"invalid_request_error","message":"a\u0000b"}}"#;
        let error = upstream_error(body).expect("an error");
        assert_eq!((&*error.kind, &*error.message), ("invalid_request_error", "ab"));
        assert_eq!(upstream_error(br#"{"error":{"type":"<b>","message":"x"}}"#), None);
        assert_eq!(upstream_error(b"<html>"), None);
    }
}
