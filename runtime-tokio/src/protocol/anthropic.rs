//! The Messages protocol: what the scheduler needs of a request, and what matters in an answer.

pub mod betas;
mod skim;

use serde::Deserialize;

use super::answer::{Kind, UpstreamError, Usage};

pub use skim::Skim;

/// What an event of this name means.
#[must_use]
pub fn kind(name: &[u8]) -> Kind {
    match name {
        b"message_start" => Kind::Start,
        b"ping" => Kind::Ping,
        b"message_delta" => Kind::Delta,
        b"message_stop" => Kind::Stop,
        b"error" => Kind::Error,
        _ => Kind::Content,
    }
}

/// Takes in what an event of a stream says of the tokens used: each count as last named, a count that
/// is not named as it was. Data that is of no use is not read.
pub fn note(usage: &mut Usage, kind: Kind, data: &[u8]) {
    let said = match kind {
        Kind::Start => serde_json::from_slice::<Start>(data).ok().map(|s| s.message.usage),
        Kind::Delta => serde_json::from_slice::<Delta>(data).ok().map(|d| d.usage),
        Kind::Ping | Kind::Content | Kind::Stop | Kind::Failed | Kind::Error => None,
    };
    if let Some(said) = said {
        take(usage, said);
    }
}

/// Takes in the `usage` of a plain answer.
pub fn note_whole(usage: &mut Usage, value: &[u8]) {
    take(usage, serde_json::from_slice(value).unwrap_or_default());
}

fn take(usage: &mut Usage, said: Said) {
    let take = |new: Option<u64>, old: &mut u64| *old = new.unwrap_or(*old);
    take(said.input_tokens, &mut usage.input_tokens);
    take(said.output_tokens, &mut usage.output_tokens);
    take(said.cache_creation_input_tokens, &mut usage.cache_creation_input_tokens);
    take(said.cache_read_input_tokens, &mut usage.cache_read_input_tokens);
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

/// The tokens that an answer to a count names.
#[must_use]
pub fn counted(body: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Count {
        input_tokens: u64,
    }
    serde_json::from_slice::<Count>(body).ok().map(|count| count.input_tokens)
}

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
    UpstreamError::shown(&r#type, &message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_what_was_last_named() {
        let mut usage = Usage::default();
        note(
            &mut usage,
            Kind::Start,
            br#"{"message":{"usage":{"input_tokens":9,"output_tokens":1,"cache_read_input_tokens":4}}}"#,
        );
        note(&mut usage, Kind::Content, br#"{"usage":{"input_tokens":99}}"#);
        note(&mut usage, Kind::Delta, br#"{"usage":{"output_tokens":7}}"#);
        let want = Usage {
            input_tokens: 9,
            output_tokens: 7,
            cache_read_input_tokens: 4,
            ..Usage::default()
        };
        assert_eq!(usage, want);
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
