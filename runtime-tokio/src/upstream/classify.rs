//! What an upstream's refusal means: for the account, for failover, and for the client.

use std::borrow::Cow;

use hyper::HeaderMap;
use serde_json::Value;
use sluice_engine::store::Scope;
use sluice_engine::{Outcome, Time};

use super::health::{self, Limited};
use crate::protocol::Protocol;
use crate::protocol::answer::UpstreamError;
use crate::protocol::error::{ApiError, refusal_kind};

/// What an answer with a status other than 2xx means, and what the client is told if the upstream
/// refused the request as wrong. `now` counts from the Unix epoch.
#[must_use]
pub fn classify(
    protocol: Protocol,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
    now: Time,
) -> (Outcome, Option<ApiError>) {
    let outcome = match status {
        429 => {
            let Limited { scope, span } = health::limited(protocol, headers, body, now);
            Outcome::RateLimited { scope, retry_after: span }
        }
        529 => Outcome::Overloaded { retry_after: health::overloaded(headers, now) },
        401 | 403 if health::lacks_scope(headers, body) => Outcome::Unable { status },
        401..=403 => Outcome::Unauthorized { status },
        400 if health::key_is_bad(protocol, body) => Outcome::Unauthorized { status: 401 },
        400..=499 => {
            let refusal = protocol.upstream_error(body).map(|error| refusal(status, error));
            return (Outcome::ClientError { status }, refusal);
        }
        500..=599 => Outcome::ServerError { status },
        // Neither an answer nor an error: nothing that a client could use.
        _ => Outcome::ServerError { status: 502 },
    };
    (outcome, None)
}

/// Whether a 400 may be the account's doing and not the request's: it is about features that not every
/// account has, or about signatures that another one made.
#[must_use]
pub fn may_be_the_accounts(body: &[u8]) -> bool {
    const SIGNS: [&str; 9] = [
        "anthropic-beta",
        "beta feature",
        "requires beta",
        "thinking",
        "thought_signature",
        "signature",
        "tool_use",
        "tool_result",
        "tools",
    ];
    let message = |json: &Value| {
        let said = json["error"]["message"].as_str().or_else(|| json["message"].as_str());
        said.map(str::to_ascii_lowercase)
    };
    let outer = serde_json::from_slice(body).ok().and_then(|json| message(&json));
    let Some(outer) = outer else { return false };
    // Some put one error into another.
    let inner = serde_json::from_str(&outer).ok().and_then(|json| message(&json));
    let said = inner.unwrap_or(outer);
    SIGNS.iter().any(|sign| said.contains(sign))
}

/// What an `error` event before the first semantic byte means, and what the client is told if the
/// upstream calls the request wrong by it.
#[must_use]
pub fn classify_event(protocol: Protocol, data: &[u8]) -> (Outcome, Option<ApiError>) {
    let error = protocol.upstream_error(data);
    let status = match error.as_ref().map(|error| &*error.kind) {
        Some("overloaded_error" | "slow_down" | "UNAVAILABLE") => {
            return (Outcome::Overloaded { retry_after: None }, None);
        }
        Some("rate_limit_error" | "rate_limit_exceeded" | "RESOURCE_EXHAUSTED") => {
            let scope = Scope::Account;
            return (Outcome::RateLimited { scope, retry_after: None }, None);
        }
        Some(
            "invalid_request_error"
            | "invalid_prompt"
            | "context_length_exceeded"
            | "INVALID_ARGUMENT"
            | "FAILED_PRECONDITION"
            | "OUT_OF_RANGE",
        ) => 400,
        Some("not_found_error" | "NOT_FOUND") => 404,
        Some("request_too_large") => 413,
        Some(_) | None => return (Outcome::ServerError { status: 500 }, None),
    };
    (Outcome::ClientError { status }, error.map(|error| refusal(status, error)))
}

fn refusal(status: u16, error: UpstreamError) -> ApiError {
    let kind = Cow::Owned(error.kind);
    ApiError {
        kind,
        message: Cow::Owned(error.message),
        ..ApiError::new(status, refusal_kind(status), "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_engine::Span;

    #[test]
    fn a_key_that_is_called_a_wrong_request_is_the_accounts_fault() {
        let body =
            br#"{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"API key not valid.",
            "details":[{"reason":"API_KEY_INVALID"}]}}"#;
        let told = classify(Protocol::Gemini, 400, &HeaderMap::new(), body, Time(0));
        assert_eq!(told, (Outcome::Unauthorized { status: 401 }, None));
    }

    #[test]
    fn a_400_that_is_about_features_or_signatures_may_be_the_accounts_doing() {
        for (body, want) in [
            (r#"{"error":{"message":"messages.1: `tool_use` ids without `tool_result`"}}"#, true),
            (r#"{"error":{"message":"prompt is too long"}}"#, false),
            (
                r#"{"error":{"message":"{\"error\":{\"message\":\"Invalid signature in thinking block\"}}"}}"#,
                true,
            ),
            (r#"{"message":"anthropic-beta header required"}"#, true),
            (r#"{"error":{}}"#, false),
            ("thinking", false),
        ] {
            assert_eq!(may_be_the_accounts(body.as_bytes()), want, "{body}");
        }
    }

    fn outcome(status: u16, header: Option<(&'static str, &'static str)>) -> Outcome {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, value.parse().expect("a header"));
        }
        classify(Protocol::Anthropic, status, &headers, b"", Time(1_000_000)).0
    }

    #[test]
    fn a_status_is_an_outcome() {
        let limited = |secs: Option<u64>| Outcome::RateLimited {
            scope: Scope::Account,
            retry_after: secs.map(Span::from_secs),
        };
        assert_eq!(outcome(429, None), limited(None));
        assert_eq!(outcome(429, Some(("retry-after", "7"))), limited(Some(7)));
        let scope = Some(("www-authenticate", "Bearer error=insufficient_scope"));
        assert_eq!(outcome(403, scope), Outcome::Unable { status: 403 });
        assert_eq!(outcome(529, None), Outcome::Overloaded { retry_after: None });
        for status in [401, 402, 403] {
            assert_eq!(outcome(status, None), Outcome::Unauthorized { status });
        }
        for status in [400, 404, 413, 422] {
            assert_eq!(outcome(status, None), Outcome::ClientError { status });
        }
        for status in [500, 502, 503, 504] {
            assert_eq!(outcome(status, None), Outcome::ServerError { status });
        }
        assert_eq!(outcome(302, None), Outcome::ServerError { status: 502 });
    }

    #[test]
    fn a_refusal_keeps_the_upstreams_class_and_words() {
        let body = br#"{"type":"error","error":{"type":"not_found_error","message":"model: x"}}"#;
        let (_, refusal) = classify(Protocol::Anthropic, 404, &HeaderMap::new(), body, Time(0));
        let refusal = refusal.expect("a refusal");
        assert_eq!((refusal.status, &*refusal.kind), (404, "not_found_error"));
        assert_eq!(refusal.message, "model: x");
        assert_eq!(
            classify(Protocol::Anthropic, 404, &HeaderMap::new(), b"<html>", Time(0)).1,
            None
        );
        assert_eq!(classify(Protocol::Anthropic, 401, &HeaderMap::new(), body, Time(0)).1, None);
    }

    #[test]
    fn an_error_event_is_an_outcome() {
        let told = |kind: &str| {
            let data = format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"m"}}}}"#);
            classify_event(Protocol::Anthropic, data.as_bytes())
        };
        let of = |kind: &str| told(kind).0;
        assert_eq!(of("overloaded_error"), Outcome::Overloaded { retry_after: None });
        assert!(matches!(of("rate_limit_error"), Outcome::RateLimited { .. }));
        assert_eq!(of("api_error"), Outcome::ServerError { status: 500 });
        let none = (Outcome::ServerError { status: 500 }, None);
        assert_eq!(classify_event(Protocol::Anthropic, b"x"), none);
        for (kind, status) in
            [("invalid_request_error", 400), ("not_found_error", 404), ("request_too_large", 413)]
        {
            let (outcome, refusal) = told(kind);
            assert_eq!(outcome, Outcome::ClientError { status });
            let refusal = refusal.expect("a refusal");
            assert_eq!((refusal.status, &*refusal.kind, &*refusal.message), (status, kind, "m"));
        }
    }
}
