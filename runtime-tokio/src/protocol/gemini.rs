//! Google's Gemini protocol: what the scheduler needs of a request, and what matters in an answer.

mod array;
mod call;
pub mod envelope;
mod merge;
mod skim;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::answer::{Kind, UpstreamError, Usage};

pub use array::Array;
pub use call::{Action, Call, stays_in_path};
pub use merge::Merge;
pub use skim::prefix;

/// What an event with this data means. Events have no names here, and none says that it is the last;
/// that nothing is missing is known by why the answer has ended.
#[must_use]
pub fn kind(data: &[u8]) -> Kind {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Chunk {
        error: Option<IgnoredAny>,
        #[serde(default)]
        candidates: Vec<Candidate>,
        prompt_feedback: Option<Feedback>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Candidate {
        finish_reason: Option<IgnoredAny>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Feedback {
        block_reason: Option<IgnoredAny>,
    }
    let Ok(chunk) = serde_json::from_slice::<Chunk>(data) else { return Kind::Content };
    if chunk.error.is_some() {
        return Kind::Error;
    }
    let blocked = chunk.prompt_feedback.is_some_and(|feedback| feedback.block_reason.is_some());
    let all = |candidates: &[Candidate]| {
        !candidates.is_empty() && candidates.iter().all(|c| c.finish_reason.is_some())
    };
    if blocked || all(&chunk.candidates) { Kind::Stop } else { Kind::Content }
}

/// Takes in the tokens that an event or a plain answer names: the last one counts.
pub fn note(usage: &mut Usage, data: &[u8]) {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Chunk {
        usage_metadata: Option<Said>,
    }
    if let Ok(Chunk { usage_metadata: Some(said) }) = serde_json::from_slice(data) {
        *usage = said.into();
    }
}

/// Takes in the `usageMetadata` of a plain answer.
pub fn note_whole(usage: &mut Usage, value: &[u8]) {
    if let Ok(said) = serde_json::from_slice::<Said>(value) {
        *usage = said.into();
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Said {
    prompt_token_count: u64,
    candidates_token_count: u64,
    thoughts_token_count: u64,
    cached_content_token_count: u64,
}

impl From<Said> for Usage {
    fn from(said: Said) -> Self {
        let cached = said.cached_content_token_count;
        Self {
            // Here they are counted twice.
            input_tokens: said.prompt_token_count.saturating_sub(cached),
            // Here they are counted apart.
            output_tokens: said.candidates_token_count.saturating_add(said.thoughts_token_count),
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: cached,
        }
    }
}

/// The tokens that an answer to a count names.
#[must_use]
pub fn counted(body: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Count {
        total_tokens: u64,
    }
    serde_json::from_slice::<Count>(body).ok().map(|count| count.total_tokens)
}

/// The error in an upstream's body or event, which may stand in a list of its own.
#[must_use]
pub fn upstream_error(body: &[u8]) -> Option<UpstreamError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        One(Outer),
        Listed([Outer; 1]),
    }
    #[derive(Deserialize)]
    struct Outer {
        error: Inner,
    }
    #[derive(Deserialize)]
    struct Inner {
        status: String,
        #[serde(default)]
        message: String,
    }
    let (Either::One(Outer { error }) | Either::Listed([Outer { error }])) =
        serde_json::from_slice(body).ok()?;
    UpstreamError::shown(&error.status, &error.message)
}

/// The protocol's name for an error of this HTTP status.
#[must_use]
pub const fn status_name(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        400..=498 => "INVALID_ARGUMENT",
        499 => "CANCELLED",
        502 | 503 | 529 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "INTERNAL",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_it_says_why_it_ends() {
        for (data, want) in [
            (r#"{"candidates":[{"content":{}}]}"#, Kind::Content),
            (r#"{"candidates":[{"content":{},"finishReason":"STOP"}]}"#, Kind::Stop),
            (r#"{"candidates":[{"finishReason":"STOP"},{"content":{}}]}"#, Kind::Content),
            (r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#, Kind::Stop),
            (r#"{"promptFeedback":{}}"#, Kind::Content),
            (r#"{"error":{"code":503}}"#, Kind::Error),
            ("nonsense", Kind::Content),
        ] {
            assert_eq!(kind(data.as_bytes()), want, "{data}");
        }
    }

    #[test]
    fn thoughts_were_written_and_what_was_cached_was_not_read() {
        let data = br#"{"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":3,
            "thoughtsTokenCount":2,"cachedContentTokenCount":4}}"#;
        let mut usage = Usage::default();
        note(&mut usage, data);
        let want = Usage {
            input_tokens: 5,
            output_tokens: 5,
            cache_read_input_tokens: 4,
            ..Usage::default()
        };
        assert_eq!(usage, want);
        note(&mut usage, b"{}");
        assert_eq!(usage, want);
    }

    #[test]
    fn an_error_may_stand_in_a_list() {
        let error = r#"{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"m"}}"#;
        for body in [error.to_owned(), format!("[{error}]")] {
            let error = upstream_error(body.as_bytes()).expect("an error");
            assert_eq!((&*error.kind, &*error.message), ("INVALID_ARGUMENT", "m"));
        }
        assert_eq!(upstream_error(b"[]"), None);
    }
}
