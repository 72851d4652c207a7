//! What a client is told when its request was not served, in its own protocol's shape.
//!
//! The class names the fault's owner: the client, a rule of the operator, the upstream, the store.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use sluice_engine::{Outcome, Span, Verdict};

use super::{Protocol, gemini, sse};

/// An answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status, if it can still be sent.
    pub status: u16,
    /// The error's class, as the protocol names it.
    pub kind: Cow<'static, str>,
    /// For people.
    pub message: Cow<'static, str>,
    /// In seconds.
    pub retry_after: Option<u64>,
}

/// When nothing is known about when it will be better.
const RETRY_UNKNOWN_SECS: u64 = 30;
/// No client is sent away for longer, whatever an upstream said.
const RETRY_SECS_MAX: u64 = 24 * 60 * 60;
/// A line moves on soon.
const RETRY_LINE_SECS: u64 = 2;

#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    error: Body<'a>,
}

#[derive(Clone, Copy, Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'a str>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
}

impl ApiError {
    /// An error that no retry heals.
    #[must_use]
    pub const fn new(status: u16, kind: &'static str, message: &'static str) -> Self {
        let (kind, message) = (Cow::Borrowed(kind), Cow::Borrowed(message));
        Self { status, kind, message, retry_after: None }
    }

    /// The same, to be tried again in so many seconds.
    #[must_use]
    pub const fn retry(mut self, secs: u64) -> Self {
        self.retry_after = Some(secs);
        self
    }

    /// A request that is wrong, in these words.
    #[must_use]
    pub const fn invalid(message: &'static str) -> Self {
        Self::new(400, "invalid_request_error", message)
    }

    /// A key that is missing or wrong, in these words.
    #[must_use]
    pub const fn unauthorized(message: &'static str) -> Self {
        Self::new(401, "authentication_error", message)
    }

    /// A body beyond `limit` bytes.
    #[must_use]
    pub fn too_large(limit: usize) -> Self {
        const MIB: usize = 1024 * 1024;
        let limit = if limit >= MIB { format!("{}MB", limit / MIB) } else { format!("{limit}B") };
        let message = Cow::Owned(format!("Request body too large, limit is {limit}"));
        Self { message, ..Self::new(413, "invalid_request_error", "") }
    }

    /// The protocol's shape.
    #[must_use]
    pub fn to_json(&self, protocol: Protocol) -> String {
        let Self { status, kind, message, .. } = self;
        let body = Body { code: None, r#type: None, message, status: None };
        let classed = Body { r#type: Some(kind), ..body };
        let envelope = match protocol {
            Protocol::Anthropic => Envelope { r#type: Some("error"), error: classed },
            Protocol::OpenAi => Envelope { r#type: None, error: classed },
            Protocol::Gemini => {
                let name = Some(gemini::status_name(*status));
                Envelope { r#type: None, error: Body { code: Some(*status), status: name, ..body } }
            }
        };
        serde_json::to_string(&envelope).expect("an envelope of strings always has a JSON form")
    }

    /// The same, as an event of a stream.
    #[must_use]
    pub fn to_event(&self, protocol: Protocol) -> Bytes {
        match protocol {
            Protocol::Anthropic | Protocol::OpenAi => sse::event("error", &self.to_json(protocol)),
            Protocol::Gemini => sse::unnamed(&self.to_json(protocol)),
        }
    }

    /// What a client is told of this verdict; `None` when it was served. `refusal` is what the
    /// upstream said when it refused the request as wrong.
    #[must_use]
    pub fn of(verdict: Verdict, refusal: Option<Self>) -> Option<Self> {
        let line = |message| Self::new(429, "rate_limit_error", message).retry(RETRY_LINE_SECS);
        let store = |message| Self::new(503, "api_error", message).retry(RETRY_LINE_SECS);
        Some(match verdict {
            Verdict::Upstream { outcome, .. } => return Self::of_outcome(outcome, refusal),
            Verdict::Intercepted { .. } => return None,
            Verdict::UserLineFull | Verdict::AccountLineFull => {
                line("Too many pending requests, please retry later")
            }
            Verdict::UserWaitTimeout => {
                line("Concurrency limit exceeded for user, please retry later")
            }
            Verdict::AccountWaitTimeout => {
                line("Concurrency limit exceeded for account, please retry later")
            }
            Verdict::UserClosed => Self::new(403, "permission_error", "User account is not active"),
            Verdict::BillingDenied(denial) => {
                let error = Self::new(403, "billing_error", "insufficient balance");
                Self { retry_after: denial.retry_after.map(Span::as_secs_ceil), ..error }
            }
            Verdict::NoAccounts => {
                Self::new(503, "api_error", "No available accounts").retry(RETRY_UNKNOWN_SECS)
            }
            Verdict::AllShut { opens_in } => Self::new(503, "api_error", "No available accounts")
                .retry(secs_or(opens_in, RETRY_UNKNOWN_SECS)),
            Verdict::StoreUnavailable => {
                store("The store of slots is not available, please retry later")
            }
            Verdict::SessionLost => {
                store("The gateway lost its session in the store, please retry later")
            }
            Verdict::Overloaded => {
                Self::new(503, "overloaded_error", "Too many requests in the gateway")
                    .retry(RETRY_LINE_SECS)
            }
            Verdict::Abandoned => Self::new(499, "api_error", "The client closed the request"),
        })
    }

    fn of_outcome(outcome: Outcome, refusal: Option<Self>) -> Option<Self> {
        let upstream = |message| Self::new(502, "upstream_error", message);
        Some(match outcome {
            Outcome::Completed => return None,
            // Refused before anything was sent, or by everybody who was asked.
            Outcome::Cancelled | Outcome::Unable { .. } if refusal.is_some() => return refusal,
            Outcome::ClientError { status } => refusal.unwrap_or_else(|| {
                Self::new(status, refusal_kind(status), "The upstream refused the request")
            }),
            Outcome::RateLimited { retry_after, .. } => {
                let message = "Upstream rate limit exceeded, please retry later";
                Self::new(429, "rate_limit_error", message)
                    .retry(secs_or(retry_after, RETRY_UNKNOWN_SECS))
            }
            Outcome::Overloaded { retry_after } => {
                let message = "Upstream service overloaded, please retry later";
                Self::new(503, "overloaded_error", message)
                    .retry(secs_or(retry_after, RETRY_UNKNOWN_SECS))
            }
            Outcome::ServerError { status: 500 | 502..=504 } => {
                upstream("Upstream service temporarily unavailable")
            }
            Outcome::Unauthorized { status: 401 } => {
                upstream("Upstream authentication failed, please contact administrator")
            }
            Outcome::Unauthorized { status: 403 } => {
                upstream("Upstream access forbidden, please contact administrator")
            }
            Outcome::ServerError { .. }
            | Outcome::Unauthorized { .. }
            | Outcome::Unable { .. }
            | Outcome::Unreachable
            | Outcome::Cancelled => upstream("Upstream request failed"),
            Outcome::Truncated => upstream("The upstream's answer broke off"),
        })
    }
}

fn secs_or(span: Option<Span>, otherwise: u64) -> u64 {
    span.map_or(otherwise, |span| span.as_secs_ceil().clamp(1, RETRY_SECS_MAX))
}

/// The class of a client-class status that the upstream did not name itself.
#[must_use]
pub const fn refusal_kind(status: u16) -> &'static str {
    match status {
        404 => "not_found_error",
        413 => "request_too_large",
        _ => "invalid_request_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_engine::store::Scope;
    use sluice_engine::{AccountId, Attempt, Denial};

    fn upstream(outcome: Outcome) -> Verdict {
        Verdict::Upstream { account: AccountId(1), attempt: Attempt(1), outcome }
    }

    #[test]
    fn every_verdict_has_its_status_class_and_retry() {
        let limited = |retry_after| Outcome::RateLimited { scope: Scope::Account, retry_after };
        let s9 = Some(Span::from_ms(8_001));
        let table = [
            (upstream(limited(s9)), 429, "rate_limit_error", Some(9)),
            (upstream(limited(None)), 429, "rate_limit_error", Some(30)),
            (
                upstream(Outcome::Overloaded { retry_after: None }),
                503,
                "overloaded_error",
                Some(30),
            ),
            (upstream(Outcome::ServerError { status: 500 }), 502, "upstream_error", None),
            (upstream(Outcome::Unauthorized { status: 401 }), 502, "upstream_error", None),
            (upstream(Outcome::Unreachable), 502, "upstream_error", None),
            (upstream(Outcome::ClientError { status: 404 }), 404, "not_found_error", None),
            (Verdict::UserLineFull, 429, "rate_limit_error", Some(2)),
            (Verdict::AccountWaitTimeout, 429, "rate_limit_error", Some(2)),
            (Verdict::BillingDenied(Denial { retry_after: s9 }), 403, "billing_error", Some(9)),
            (Verdict::AllShut { opens_in: s9 }, 503, "api_error", Some(9)),
            (Verdict::StoreUnavailable, 503, "api_error", Some(2)),
        ];
        for (verdict, status, kind, retry) in table {
            let error = ApiError::of(verdict, None).expect("not served");
            assert_eq!((error.status, &*error.kind, error.retry_after), (status, kind, retry));
        }
        assert_eq!(ApiError::of(upstream(Outcome::Completed), None), None);
    }

    #[test]
    fn a_message_with_quotes_stays_valid_json() {
        let error = ApiError::invalid("say \"no\"\n");
        let json: serde_json::Value =
            serde_json::from_str(&error.to_json(Protocol::Anthropic)).expect("valid");
        assert_eq!(json["error"]["message"], "say \"no\"\n");
        assert_eq!(json["type"], "error");
        let event = error.to_event(Protocol::Anthropic);
        assert!(event.starts_with(b"event: error\ndata: {"));
        assert_eq!(sse::events(&event).count(), 1);
    }

    #[test]
    fn the_limit_is_named_in_whole_megabytes_or_in_bytes() {
        let message = |n| ApiError::too_large(n).message.into_owned();
        assert_eq!(message(100 << 20), "Request body too large, limit is 100MB");
        assert_eq!(message(4096), "Request body too large, limit is 4096B");
    }
}
