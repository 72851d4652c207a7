//! OpenAI's Responses protocol: what the scheduler needs of a request, and what matters in an answer.

mod skim;

use serde::Deserialize;

use super::answer::{Kind, UpstreamError, Usage};

pub use skim::{Skim, instructed};

/// What an event of this name means.
#[must_use]
pub fn kind(name: &[u8]) -> Kind {
    match name {
        b"response.created" | b"response.queued" | b"response.in_progress" => Kind::Start,
        b"keepalive" => Kind::Ping,
        b"response.completed" | b"response.incomplete" | b"response.cancelled" => Kind::Stop,
        b"response.failed" => Kind::Failed,
        b"error" => Kind::Error,
        _ => Kind::Content,
    }
}

/// Takes in what an event of a stream says of the tokens used: the last one says it, however the
/// answer ends.
pub fn note(usage: &mut Usage, kind: Kind, data: &[u8]) {
    #[derive(Deserialize)]
    struct Ended {
        response: Answer,
    }
    #[derive(Deserialize)]
    struct Answer {
        usage: Option<Said>,
    }
    if matches!(kind, Kind::Stop | Kind::Failed)
        && let Ok(Ended { response: Answer { usage: Some(said) } }) = serde_json::from_slice(data)
    {
        *usage = said.into();
    }
}

/// Takes in the `usage` of a plain answer.
pub fn note_whole(usage: &mut Usage, value: &[u8]) {
    if let Ok(said) = serde_json::from_slice::<Said>(value) {
        *usage = said.into();
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    input_tokens: u64,
    output_tokens: u64,
    input_tokens_details: Details,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: u64,
}

impl From<Said> for Usage {
    fn from(said: Said) -> Self {
        let cached = said.input_tokens_details.cached_tokens;
        Self {
            // Here they are counted twice.
            input_tokens: said.input_tokens.saturating_sub(cached),
            output_tokens: said.output_tokens,
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: cached,
        }
    }
}

/// The error in an upstream's body or event: in `error`, in `response.error`, or the event itself. Its
/// class is its `code` if it has one, which says more.
#[must_use]
pub fn upstream_error(body: &[u8]) -> Option<UpstreamError> {
    #[derive(Deserialize)]
    struct Outer {
        error: Option<Inner>,
        response: Option<Failed>,
        #[serde(flatten)]
        itself: Inner,
    }
    #[derive(Deserialize)]
    struct Failed {
        error: Option<Inner>,
    }
    #[derive(Deserialize)]
    struct Inner {
        code: Option<String>,
        r#type: Option<String>,
        #[serde(default)]
        message: Option<String>,
    }
    let Outer { error, response, itself } = serde_json::from_slice(body).ok()?;
    let inner = error.or_else(|| response?.error).unwrap_or(itself);
    let shown = |kind: &str| UpstreamError::shown(kind, inner.message.as_deref().unwrap_or(""));
    let named = inner.code.as_deref().and_then(shown);
    named.or_else(|| inner.r#type.as_deref().and_then(shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_found_wherever_it_stands() {
        let of = |body: &str| upstream_error(body.as_bytes()).map(|e| (e.kind, e.message));
        let want = |kind: &str| Some((kind.to_owned(), "m".to_owned()));
        let error = r#"{"code":"slow_down","type":"t","message":"m"}"#;
        assert_eq!(of(&format!("{{\"error\":{error}}}")), want("slow_down"));
        assert_eq!(of(&format!("{{\"response\":{{\"error\":{error}}}}}")), want("slow_down"));
        assert_eq!(of(error), want("slow_down"));
        assert_eq!(of(r#"{"error":{"code":null,"type":"t","message":"m"}}"#), want("t"));
        assert_eq!(of(r#"{"error":"no"}"#), None);
        assert_eq!(of("{}"), None);
    }

    #[test]
    fn usage_is_what_the_last_event_says_however_it_ended() {
        let data = br#"{"response":{"usage":{"input_tokens":9,"output_tokens":3,
            "input_tokens_details":{"cached_tokens":4}}}}"#;
        let want = Usage {
            input_tokens: 5,
            output_tokens: 3,
            cache_read_input_tokens: 4,
            ..Usage::default()
        };
        for (name, counts) in [
            (&b"response.completed"[..], true),
            (b"response.incomplete", true),
            (b"response.failed", true),
            (b"response.created", false),
            (b"response.output_text.delta", false),
        ] {
            let mut usage = Usage::default();
            note(&mut usage, kind(name), data);
            assert_eq!(usage, if counts { want } else { Usage::default() });
        }
    }
}
