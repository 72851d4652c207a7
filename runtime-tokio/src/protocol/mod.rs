//! Bytes to values and back, for the protocols that clients and upstreams speak.
//!
//! **Architecture Invariant:** pure. Nothing in here knows a socket, a runtime or a clock.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use sluice_engine::roster::Platform;

use self::answer::{Kind, UpstreamError, Usage};
use self::json::Walk;
use self::sse::Event;

pub mod answer;
pub mod anthropic;
pub mod duration;
pub mod error;
pub mod estimate;
pub mod gemini;
pub mod json;
pub mod models;
pub mod openai;
mod skim;
pub mod sse;
pub mod warmup;

pub use skim::MODEL_BYTES_MAX;

/// What a client or an upstream speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Anthropic's Messages.
    #[default]
    Anthropic,
    /// OpenAI's Responses.
    OpenAi,
    /// Google's Gemini.
    Gemini,
}

impl Protocol {
    /// Whose accounts speak it.
    #[must_use]
    pub const fn platform(self) -> Platform {
        match self {
            Self::Anthropic => Platform::Anthropic,
            Self::OpenAi => Platform::OpenAi,
            Self::Gemini => Platform::Gemini,
        }
    }

    /// What an event of an answer's stream means, by its name: its `event` field, else the `type` in
    /// its data.
    #[must_use]
    pub fn kind(self, event: &Event<'_>) -> Kind {
        #[derive(Deserialize)]
        struct Typed<'a> {
            #[serde(borrow)]
            r#type: Cow<'a, str>,
        }
        let named = match self {
            Self::Anthropic => anthropic::kind,
            Self::OpenAi => openai::kind,
            Self::Gemini => return gemini::kind(&event.data),
        };
        if !event.name.is_empty() {
            return named(event.name);
        }
        let typed = serde_json::from_slice::<Typed<'_>>(&event.data);
        typed.map_or(Kind::Content, |typed| named(typed.r#type.as_bytes()))
    }

    /// Takes in what an event says of the tokens used.
    pub fn note(self, usage: &mut Usage, kind: Kind, data: &[u8]) {
        match self {
            Self::Anthropic => anthropic::note(usage, kind, data),
            Self::OpenAi => openai::note(usage, kind, data),
            Self::Gemini => gemini::note(usage, data),
        }
    }

    /// The usage that a plain answer names; `None` if it is no whole object. Nothing else of the
    /// answer is parsed.
    #[must_use]
    pub fn usage_of_answer(self, body: &[u8]) -> Option<Usage> {
        type Note = fn(&mut Usage, &[u8]);
        let (field, note): (&[u8], Note) = match self {
            Self::Anthropic => (b"usage", anthropic::note_whole),
            Self::OpenAi => (b"usage", openai::note_whole),
            Self::Gemini => (b"usageMetadata", gemini::note_whole),
        };
        let mut usage = Usage::default();
        let mut walk = Walk::new(body);
        if !walk.enter(b'{') {
            return None;
        }
        while let Some(name) = walk.member().ok()? {
            let value = walk.raw().ok()?;
            if *name == *field {
                note(&mut usage, value);
            }
        }
        walk.end().ok().map(|()| usage)
    }

    /// The tokens that an answer to a count of them names.
    #[must_use]
    pub fn counted(self, body: &[u8]) -> Option<u64> {
        match self {
            Self::Anthropic => anthropic::counted(body),
            Self::OpenAi => None,
            Self::Gemini => gemini::counted(body),
        }
    }

    /// Where an event of this kind names the model, if it does.
    #[must_use]
    pub const fn model_in(self, kind: Kind) -> Option<&'static [&'static str]> {
        match (self, kind) {
            (Self::Anthropic, Kind::Start) => Some(&["message", "model"]),
            (Self::OpenAi, Kind::Start | Kind::Stop | Kind::Failed) => Some(&["response", "model"]),
            (Self::Gemini, Kind::Content | Kind::Stop) => Some(&["modelVersion"]),
            _ => None,
        }
    }

    /// Where a plain answer names the model.
    #[must_use]
    pub const fn model_in_answer(self) -> &'static [&'static str] {
        match self {
            Self::Anthropic | Self::OpenAi => &["model"],
            Self::Gemini => &["modelVersion"],
        }
    }

    /// What may stand between events without being one, or a part of any answer.
    #[must_use]
    pub const fn sign_of_life(self) -> Bytes {
        Bytes::from_static(match self {
            Self::Anthropic | Self::OpenAi => b": keepalive\n\n",
            // Google's own SDKs take a comment for an answer that makes no sense, and one end of a line
            // for a part of what follows.
            Self::Gemini => b"\n\n",
        })
    }

    /// Whether nothing can follow the event with which an answer is whole.
    #[must_use]
    pub const fn ends_with_stop(self) -> bool {
        match self {
            Self::Anthropic | Self::OpenAi => true,
            Self::Gemini => false,
        }
    }

    /// The error in an upstream's body or event, if there is one in the protocol's shape.
    #[must_use]
    pub fn upstream_error(self, body: &[u8]) -> Option<UpstreamError> {
        match self {
            Self::Anthropic => anthropic::upstream_error(body),
            Self::OpenAi => openai::upstream_error(body),
            Self::Gemini => gemini::upstream_error(body),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_answer_is_whole_or_none() {
        let body = br#"{"type":"message","content":[{"text":"}"}],"usage":{"output_tokens":7}}"#;
        let usage = Protocol::Anthropic.usage_of_answer(body).expect("whole");
        assert_eq!((usage.input_tokens, usage.output_tokens), (0, 7));
        for end in 0..body.len() {
            assert_eq!(Protocol::Anthropic.usage_of_answer(&body[..end]), None, "{end}");
        }
        assert_eq!(Protocol::Anthropic.usage_of_answer(b"{} {}"), None);
        assert_eq!(Protocol::Anthropic.usage_of_answer(b"[]"), None);
    }

    #[test]
    fn an_event_without_a_name_is_known_by_its_data() {
        let kinds = |bytes: &[u8]| {
            sse::events(bytes).map(|e| Protocol::Anthropic.kind(&e)).collect::<Vec<_>>()
        };
        let bytes = b"data: {\"type\":\"message_stop\"}\n\ndata: {\"type\":\"new\"}\n\ndata: x\n\n";
        assert_eq!(kinds(bytes), [Kind::Stop, Kind::Content, Kind::Content]);
        assert_eq!(kinds(b"event: ping\ndata: {\"type\":\"error\"}\n\n"), [Kind::Ping]);
    }
}
