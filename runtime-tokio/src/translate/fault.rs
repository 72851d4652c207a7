//! Errors of an upstream, in the words of the Messages API.
//!
//! A client is told what it did wrong in the upstream's words, and that anything else went wrong in
//! ours: those are about the operator's accounts.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use sluice_engine::Span;

use crate::protocol::error::ApiError;
use crate::protocol::{answer, duration};

/// What a document of an answer holds.
#[derive(Debug)]
pub(super) enum Document<'a> {
    Chunk(&'a RawValue),
    Error(ApiError),
}

#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

impl<'a> Document<'a> {
    /// Takes off Code Assist's envelope, if there is one; `None` if this is no object.
    pub(super) fn read(raw: &'a RawValue) -> Option<Self> {
        let Outer { response, error } = serde_json::from_str(raw.get()).ok()?;
        let (raw, error) = match (response, error) {
            (Some(inner), None) => {
                (inner, serde_json::from_str::<Outer<'_>>(inner.get()).ok()?.error)
            }
            (_, error) => (raw, error),
        };
        Some(error.map_or(Self::Chunk(raw), |error| Self::Error(read(error))))
    }
}

/// The error in an upstream's body, if there is one in Google's shape; without an event stream it
/// may stand in an array. Its status is the one to answer with.
#[must_use]
pub fn upstream_error(body: &[u8]) -> Option<ApiError> {
    let raw: &RawValue = serde_json::from_slice(body).ok()?;
    let first =
        serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok().map(|all| all.first().copied());
    match Document::read(first.unwrap_or(Some(raw))?)? {
        Document::Error(error) => Some(error),
        Document::Chunk(_) => None,
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status<'a> {
    code: Option<u16>,
    message: Option<String>,
    status: Option<String>,
    #[serde(borrow)]
    details: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Detail {
    reason: Option<String>,
    retry_delay: Option<String>,
}

fn read(raw: &RawValue) -> ApiError {
    let status: Status<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
    let details: Vec<Detail> = status
        .details
        .iter()
        .flatten()
        .filter_map(|detail| serde_json::from_str(detail.get()).ok())
        .collect();
    let mut name = status.status.as_deref().unwrap_or_else(|| name_of(status.code));
    // A key that is refused comes as if the client's request were wrong.
    if details.iter().any(|detail| detail.reason.as_deref() == Some("API_KEY_INVALID")) {
        name = "UNAUTHENTICATED";
    }
    let message = status.message.unwrap_or_default();
    let delay = details.iter().find_map(|detail| duration::span(detail.retry_delay.as_deref()?));
    ApiError { retry_after: delay.map(Span::as_secs_ceil), ..named(name, &message) }
}

fn named(name: &str, message: &str) -> ApiError {
    let (status, kind, words) = match name {
        "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => {
            return shown(400, "invalid_request_error", message, "Invalid request");
        }
        "NOT_FOUND" => return shown(404, "not_found_error", message, "Resource not found"),
        "RESOURCE_EXHAUSTED" => {
            (429, "rate_limit_error", "Upstream rate limit exceeded, please retry later")
        }
        "UNAUTHENTICATED" => {
            (502, "upstream_error", "Upstream authentication failed, please contact administrator")
        }
        "PERMISSION_DENIED" => {
            (502, "upstream_error", "Upstream access forbidden, please contact administrator")
        }
        "UNAVAILABLE" => {
            (503, "overloaded_error", "Upstream service overloaded, please retry later")
        }
        "DEADLINE_EXCEEDED" => (504, "timeout_error", "The upstream took too long"),
        "INTERNAL" => (502, "upstream_error", "Upstream service temporarily unavailable"),
        _ => (502, "upstream_error", "Upstream request failed"),
    };
    ApiError::new(status, kind, words)
}

/// An error in the upstream's words, as far as they can be shown.
fn shown(status: u16, kind: &'static str, message: &str, otherwise: &'static str) -> ApiError {
    let shown = answer::shown(message);
    let message = if shown.is_empty() { Cow::Borrowed(otherwise) } else { Cow::Owned(shown) };
    ApiError { message, ..ApiError::new(status, kind, "") }
}

/// The name that goes with an HTTP status.
const fn name_of(code: Option<u16>) -> &'static str {
    match code {
        Some(400) => "INVALID_ARGUMENT",
        Some(401) => "UNAUTHENTICATED",
        Some(403) => "PERMISSION_DENIED",
        Some(404) => "NOT_FOUND",
        Some(429) => "RESOURCE_EXHAUSTED",
        Some(500) => "INTERNAL",
        Some(503) => "UNAVAILABLE",
        Some(504) => "DEADLINE_EXCEEDED",
        Some(_) | None => "UNKNOWN",
    }
}

/// An answer that is none.
pub(super) const fn undecodable() -> ApiError {
    ApiError::new(502, "upstream_error", "The upstream's answer could not be read")
}

/// An answer without its end.
#[must_use]
pub const fn broke_off() -> ApiError {
    ApiError::new(502, "upstream_error", "The upstream's answer broke off")
}

/// An answer that is more than is held or counted.
#[must_use]
pub const fn too_large() -> ApiError {
    ApiError::new(502, "upstream_error", "The upstream's answer is too large")
}

/// An answer whose model called a tool in words that are no call.
pub(super) const fn malformed_call() -> ApiError {
    ApiError::new(502, "upstream_error", "The upstream's model made a call that is none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_status_class_and_words_that_are_the_clients_to_know() {
        let table = [
            ("INVALID_ARGUMENT", 400, "invalid_request_error", "why"),
            ("NOT_FOUND", 404, "not_found_error", "why"),
            (
                "RESOURCE_EXHAUSTED",
                429,
                "rate_limit_error",
                "Upstream rate limit exceeded, please retry later",
            ),
            (
                "UNAUTHENTICATED",
                502,
                "upstream_error",
                "Upstream authentication failed, please contact administrator",
            ),
            (
                "PERMISSION_DENIED",
                502,
                "upstream_error",
                "Upstream access forbidden, please contact administrator",
            ),
            (
                "UNAVAILABLE",
                503,
                "overloaded_error",
                "Upstream service overloaded, please retry later",
            ),
            ("INTERNAL", 502, "upstream_error", "Upstream service temporarily unavailable"),
            ("DEADLINE_EXCEEDED", 504, "timeout_error", "The upstream took too long"),
            ("DATA_LOSS", 502, "upstream_error", "Upstream request failed"),
        ];
        for (name, status, kind, message) in table {
            let body = format!(r#"{{"error":{{"status":"{name}","message":"w\u0000hy"}}}}"#);
            for body in [body.clone(), format!("[{body}]"), format!(r#"{{"response":{body}}}"#)] {
                let error = upstream_error(body.as_bytes()).expect("an error");
                assert_eq!((error.status, &*error.kind, &*error.message), (status, kind, message));
            }
        }
    }

    #[test]
    fn an_error_without_a_name_is_known_by_its_code() {
        let error =
            upstream_error(br#"{"error":{"code":429,"details":[{"retryDelay":"33.02s"}]}}"#);
        let error = error.expect("an error");
        assert_eq!((error.status, error.retry_after), (429, Some(34)));
        let error = upstream_error(br#"{"error":"no"}"#).expect("an error");
        assert_eq!((error.status, &*error.message), (502, "Upstream request failed"));
        for none in [&b"<html>"[..], b"[]", b"{}", b"7", br#"{"error":null}"#] {
            assert_eq!(upstream_error(none), None);
        }
    }

    #[test]
    fn a_key_that_is_refused_is_not_the_clients_fault() {
        let body =
            br#"{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"API key not valid.",
            "details":[7,{"@type":"x","reason":"API_KEY_INVALID"}]}}"#;
        let error = upstream_error(body).expect("an error");
        assert_eq!((error.status, error.message.contains("key")), (502, false));
    }
}
