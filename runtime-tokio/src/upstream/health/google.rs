//! What Google's errors say in their bodies.

use serde::Deserialize;
use sluice_engine::store::Scope;
use sluice_engine::{Span, Time};

use super::{Quota, calendar};
use crate::protocol::duration;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    message: String,
    details: Vec<Detail>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Detail {
    reason: String,
    retry_delay: String,
    metadata: Metadata,
    violations: Vec<Violation>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    quota_reset_delay: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Violation {
    quota_id: String,
    quota_dimensions: Dimensions,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Dimensions {
    model: Option<String>,
}

/// The error in a body, which may stand in a list of its own.
fn status(body: &[u8]) -> Option<Status> {
    #[derive(Deserialize)]
    struct Outer {
        error: Status,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        // First, because a list of one could also pass for an object of one member.
        Listed([Outer; 1]),
        One(Outer),
    }
    let (Either::Listed([Outer { error }]) | Either::One(Outer { error })) =
        serde_json::from_slice(body).ok()?;
    Some(error)
}

pub(super) fn key_is_bad(body: &[u8]) -> bool {
    let details = status(body).unwrap_or_default().details;
    details.iter().any(|detail| detail.reason == "API_KEY_INVALID")
}

/// A quota for a day counts as a window, whatever delay is named beside it: that one is for those who
/// were only too fast.
pub(super) fn quota(body: &[u8], now: Time) -> Quota {
    let Status { message, details } = status(body).unwrap_or_default();
    let violations = || details.iter().flat_map(|detail| &detail.violations);
    let per_model =
        violations().any(|v| v.quota_dimensions.model.is_some() || v.quota_id.contains("PerModel"));
    let per_day = message.to_ascii_lowercase().contains("per day")
        || violations().any(|violation| violation.quota_id.contains("PerDay"));
    let named = |read: fn(&Detail) -> &str| details.iter().find_map(|d| duration::span(read(d)));
    let delay = named(|detail| &detail.metadata.quota_reset_delay)
        .or_else(|| named(|detail| &detail.retry_delay))
        .or_else(|| in_words(&message));
    Quota {
        scope: if per_model { Scope::Model } else { Scope::Account },
        window: per_day.then(|| calendar::next_pacific_day(now).since(now)),
        burst: delay,
    }
}

fn in_words(message: &str) -> Option<Span> {
    let (_, after) = message.split_once("Please retry in ")?;
    let end = after.find(char::is_whitespace).unwrap_or(after.len());
    duration::span(after[..end].trim_end_matches('.'))
}
