//! The Messages protocol: what the scheduler needs of a request, and what matters in an answer.

pub mod betas;
mod skim;

use serde::Deserialize;

use super::answer::{Kind, UpstreamError, Usage};
use super::json::{self, Walk};

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
    let path: &[&str] = match kind {
        Kind::Start => &["message", "usage"],
        Kind::Delta => &["usage"],
        Kind::Ping | Kind::Content | Kind::Stop | Kind::Failed | Kind::Error => return,
    };
    if let Some(at) = json::find(data, path) {
        note_whole(usage, &data[at]);
    }
}

/// Takes in the `usage` of a plain answer. One that makes no sense says nothing.
pub fn note_whole(usage: &mut Usage, value: &[u8]) {
    let mut said = *usage;
    if note_counts(&mut said, value).is_some() {
        *usage = said;
    }
}

fn note_counts(usage: &mut Usage, value: &[u8]) -> Option<()> {
    let mut walk = Walk::new(value);
    if !walk.enter(b'{') {
        return None;
    }
    while let Some(name) = walk.member().ok()? {
        let value = walk.raw().ok()?;
        let count = match &*name {
            b"input_tokens" => &mut usage.input_tokens,
            b"output_tokens" => &mut usage.output_tokens,
            b"cache_creation_input_tokens" => &mut usage.cache_creation_input_tokens,
            b"cache_read_input_tokens" => &mut usage.cache_read_input_tokens,
            _ => continue,
        };
        if value != b"null" {
            *count = std::str::from_utf8(value).ok()?.parse().ok()?;
        }
    }
    walk.end().ok()
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
    fn usage_that_makes_no_sense_says_nothing() {
        let noted = |value: &str| {
            let mut usage = Usage { input_tokens: 1, output_tokens: 2, ..Usage::default() };
            note_whole(&mut usage, value.as_bytes());
            (usage.input_tokens, usage.output_tokens)
        };
        assert_eq!(noted(r#"{"output_tokens":5,"x":[{"output_tokens":6}]}"#), (1, 5));
        assert_eq!(noted(r#"{"input_tokens":null,"output_tokens":5}"#), (1, 5));
        for bad in ["null", "[]", r#"{"output_tokens":5"#, r#"{"output_tokens":5}1"#] {
            assert_eq!(noted(bad), (1, 2), "{bad}");
        }
        for bad in ["-5", "5.0", "\"5\"", "{}", "99999999999999999999", "true"] {
            assert_eq!(noted(&format!(r#"{{"output_tokens":7,"input_tokens":{bad}}}"#)), (1, 2));
        }
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
