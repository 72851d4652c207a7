//! The Messages protocol: what the scheduler needs of a request, and what matters in an answer.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::ApiError;
use super::sse::Event;

/// What is read of a request's body; everything else goes on as the bytes that came.
#[derive(Debug)]
pub struct Skim<'a> {
    /// The model asked for, not empty.
    pub model: Cow<'a, str>,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// `metadata.user_id`, if it is a string.
    pub user_id: Option<Cow<'a, str>>,
    /// The raw value.
    pub system: Option<&'a str>,
    /// The raw value.
    pub tools: Option<&'a str>,
    /// The raw value of the first user message's content.
    pub first_user: Option<&'a str>,
}

#[derive(Deserialize)]
struct Top<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    model: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "present")]
    stream: Option<bool>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    system: Option<&'a RawValue>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
}

/// A value that may be absent but not `null`.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<T>, D::Error> {
    T::deserialize(d).map(Some)
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    user_id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow)]
    content: &'a RawValue,
}

impl<'a> Skim<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// What the client is to be told.
    pub fn read(body: &'a [u8]) -> Result<Self, ApiError> {
        const BAD: ApiError = ApiError::invalid("Failed to parse request body");
        const NO_MODEL: ApiError = ApiError::invalid("model is required");
        if body.is_empty() {
            return Err(ApiError::invalid("Request body is empty"));
        }
        let text = std::str::from_utf8(body).map_err(|_| BAD)?;
        let trimmed = text.trim_matches([' ', '\t', '\r', '\n']);
        if trimmed == "null" {
            return Err(NO_MODEL);
        }
        // A struct would also be read from an array.
        if !trimmed.starts_with('{') {
            return Err(BAD);
        }
        let top: Top<'a> = serde_json::from_str(text).map_err(|_| BAD)?;
        let model = top.model.filter(|model| !model.is_empty()).ok_or(NO_MODEL)?;
        let metadata =
            top.metadata.and_then(|raw| serde_json::from_str::<Metadata<'a>>(raw.get()).ok());
        Ok(Self {
            model,
            stream: top.stream.unwrap_or(false),
            user_id: metadata.and_then(|metadata| metadata.user_id),
            system: top.system.map(RawValue::get),
            tools: top.tools.map(RawValue::get),
            first_user: top.messages.and_then(|raw| first_user(raw.get())),
        })
    }
}

fn first_user(messages: &str) -> Option<&str> {
    let mut parser = serde_json::Deserializer::from_str(messages);
    parser.deserialize_seq(FirstUser).ok().flatten()
}

struct FirstUser;

impl<'de> Visitor<'de> for FirstUser {
    type Value = Option<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while let Some(message) = seq.next_element::<Message<'de>>()? {
            if message.role == "user" {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(Some(message.content.get()));
            }
        }
        Ok(None)
    }
}

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
            let take = |new: Option<u64>, old: &mut u64| *old = new.unwrap_or(*old);
            take(said.input_tokens, &mut self.input_tokens);
            take(said.output_tokens, &mut self.output_tokens);
            take(said.cache_creation_input_tokens, &mut self.cache_creation_input_tokens);
            take(said.cache_read_input_tokens, &mut self.cache_read_input_tokens);
        }
    }

    /// The usage that a plain answer names.
    #[must_use]
    pub fn of_answer(body: &[u8]) -> Self {
        let mut usage = Self::default();
        usage.note(Kind::Delta, body);
        usage
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

    fn refused(body: &str) -> String {
        let error = Skim::read(body.as_bytes()).expect_err("refused");
        assert_eq!((error.status, &*error.kind), (400, "invalid_request_error"));
        error.message.into_owned()
    }

    #[test]
    fn a_wrong_body_is_refused_in_the_words_of_the_protocol() {
        assert_eq!(refused(""), "Request body is empty");
        for bad in [
            "[1,2]",
            " ",
            "7",
            "\"x\"",
            "{",
            "{\"model\":null}",
            "{\"model\":7}",
            "{\"model\":\"m\",\"stream\":\"yes\"}",
            "{\"model\":\"m\",\"stream\":null}",
            "{\"model\":\"m\"} x",
            "[\"m\",true,null,null,null,null]",
        ] {
            assert_eq!(refused(bad), "Failed to parse request body", "{bad}");
        }
        for bad in ["null", " null\n", "{}", "{\"model\":\"\"}"] {
            assert_eq!(refused(bad), "model is required", "{bad}");
        }
        assert!(Skim::read(b"{\"model\":\"\xff\"}").is_err());
    }

    #[test]
    fn what_the_scheduler_needs_is_read_and_nothing_else_is_asked_for() {
        let body = r#"{"model":"m","stream":true,"metadata":{"user_id":"u"},"system":"s",
            "tools":[1],"messages":[{"role":"assistant","content":"no"},{"content":[2],"role":"user"},
            {"role":"user","content":"later"}],"max_tokens":7}"#;
        let skim = Skim::read(body.as_bytes()).expect("good");
        assert_eq!((&*skim.model, skim.stream, skim.user_id.as_deref()), ("m", true, Some("u")));
        assert_eq!((skim.system, skim.tools), (Some("\"s\""), Some("[1]")));
        assert_eq!(skim.first_user, Some("[2]"));
        let odd = r#"{"model":" ","metadata":7,"messages":{"a":1}}"#;
        let skim = Skim::read(odd.as_bytes()).expect("good enough");
        assert_eq!((&*skim.model, skim.stream, skim.first_user), (" ", false, None));
    }

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
