//! What an upstream's refusal says of its account: for how long it takes no more, and for what.
//!
//! Pure. A *window* is a quota that is used up until it is renewed, in hours or days; a *burst* is more
//! than is taken at once, for seconds or minutes. An upstream that tells of a window is believed for
//! days, any other for an hour at most: so that a slip of it does not cost an account.

use std::time::UNIX_EPOCH;

use hyper::HeaderMap;
use hyper::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use sluice_engine::store::Scope;
use sluice_engine::{Span, Time};

use crate::protocol::Protocol;
use crate::protocol::duration;

mod calendar;
mod google;
mod windows;

pub use windows::Windows;

/// The longest that a burst is believed to last.
const BURST_MAX: Span = Span::from_secs(3_600);
/// The longest that a window is.
const WINDOW_MAX: Span = Span::from_secs(8 * 24 * 3_600);
/// The share of a window that is all of it, in percent.
const ALL_PCT: u64 = 100;

const UNIFIED: &str = "anthropic-ratelimit-unified";
const REJECTED: &str = "rejected";

/// What a refusal for too many requests says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    /// What it is about.
    pub scope: Scope,
    /// For how long, if that was said.
    pub span: Option<Span>,
}

/// What a 429 says. `now` counts from the Unix epoch.
#[must_use]
pub fn limited(protocol: Protocol, headers: &HeaderMap, body: &[u8], now: Time) -> Limited {
    let quota = match protocol {
        Protocol::Anthropic => Quota::anthropic(headers, now),
        Protocol::OpenAi => Quota::openai(headers),
        Protocol::Gemini => google::quota(body, now),
    };
    let span = match quota.window {
        Some(window) => Some(window.min(WINDOW_MAX)),
        None => wait(headers, now).or(quota.burst).map(|burst| burst.min(BURST_MAX)),
    };
    Limited { scope: quota.scope, span }
}

/// How long an upstream that has too much to do is to be left alone, if it said.
#[must_use]
pub fn overloaded(headers: &HeaderMap, now: Time) -> Option<Span> {
    wait(headers, now)
}

/// Whether a 401 or 403 says that the credential is good, but not for this operation: that is no fault
/// of the account.
#[must_use]
pub fn lacks_scope(headers: &HeaderMap, body: &[u8]) -> bool {
    const SAID: [&str; 2] =
        ["insufficient authentication scopes", "access_token_scope_insufficient"];
    let challenges = headers.get_all(WWW_AUTHENTICATE).iter();
    let mut challenges = challenges.filter_map(|challenge| challenge.to_str().ok());
    let body = String::from_utf8_lossy(body).to_ascii_lowercase();
    challenges.any(|challenge| challenge.contains("insufficient_scope"))
        || SAID.iter().any(|said| body.contains(said))
}

/// Whether an upstream calls a request wrong of which the credential is.
#[must_use]
pub fn key_is_bad(protocol: Protocol, body: &[u8]) -> bool {
    protocol == Protocol::Gemini && google::key_is_bad(body)
}

/// What an upstream says of its own quotas.
struct Quota {
    scope: Scope,
    /// Until the latest of the windows that are used up is renewed.
    window: Option<Span>,
    /// Until the latest of the buckets that are empty is full.
    burst: Option<Span>,
}

impl Quota {
    /// The unified windows, and the buckets of the API, which are per model.
    fn anthropic(headers: &HeaderMap, now: Time) -> Self {
        let until = |name: &str| number(headers, name).map(|secs| from(secs, now));
        let rejected = named(headers, UNIFIED, "-status", |status| status == REJECTED);
        let (windows, others): (Vec<_>, Vec<_>) = rejected.partition(|window| is_window(window));
        let windows: Vec<_> = windows
            .into_iter()
            .filter_map(|window| Some((window, until(&format!("{UNIFIED}{window}-reset"))?)))
            .collect();
        let span = windows.iter().map(|(_, span)| *span).max();
        // Such as `-7d_opus`: a window of some models only.
        let narrow = |(window, _): &(&str, Span)| window.contains('_');
        if let Some(window) = span {
            let narrow = windows.iter().filter(|of| of.1 == window).all(narrow);
            let scope = if narrow { Scope::Model } else { Scope::Account };
            return Self { scope, window: Some(window), burst: None };
        }
        let reset = format!("{UNIFIED}-reset");
        // The whole of them, without a name.
        let used_up = others.contains(&"");
        if (used_up || headers.get(RETRY_AFTER).is_none())
            && let Some(window) = until(&reset)
        {
            return Self { scope: Scope::Account, window: Some(window), burst: None };
        }
        let empty = named(headers, "anthropic-ratelimit", "-remaining", |left| left == "0");
        let resets = empty.filter_map(|bucket| {
            let reset = text(headers, &format!("anthropic-ratelimit{bucket}-reset"))?;
            calendar::rfc3339(reset).map(|at| at.since(now))
        });
        Self::of_buckets(resets)
    }

    /// The windows of the Codex back end, and the buckets of the API, which are per model.
    fn openai(headers: &HeaderMap) -> Self {
        let full = |pct: &str| pct.parse::<u64>().is_ok_and(|pct| pct >= ALL_PCT);
        let used = named(headers, "x-codex", "-used-percent", full);
        let resets = used.filter_map(|window| {
            number(headers, &format!("x-codex{window}-reset-after-seconds")).map(Span::from_secs)
        });
        if let Some(window) = resets.max() {
            return Self { scope: Scope::Account, window: Some(window), burst: None };
        }
        let empty = named(headers, "x-ratelimit-remaining", "", |left| left == "0");
        let resets = empty.filter_map(|bucket| {
            duration::span(text(headers, &format!("x-ratelimit-reset{bucket}"))?)
        });
        Self::of_buckets(resets)
    }

    fn of_buckets(resets: impl Iterator<Item = Span>) -> Self {
        let burst = resets.max();
        let scope = if burst.is_some() { Scope::Model } else { Scope::Account };
        Self { scope, window: None, burst }
    }
}

/// Whether it names a window by its length, such as `-5h`. There is also `-overage`, by which more than
/// was bought is refused.
fn is_window(name: &str) -> bool {
    name.strip_prefix('-').is_some_and(|name| name.starts_with(|c: char| c.is_ascii_digit()))
}

/// What stands between `begin` and `end` in the names of headers with such a value.
fn named<'h>(
    headers: &'h HeaderMap,
    begin: &'h str,
    end: &'h str,
    wanted: impl Fn(&str) -> bool,
) -> impl Iterator<Item = &'h str> {
    headers.iter().filter_map(move |(name, value)| {
        let middle = name.as_str().strip_prefix(begin)?.strip_suffix(end)?;
        wanted(value.to_str().ok()?.trim()).then_some(middle)
    })
}

/// `retry-after-ms`, or `retry-after`: seconds, or a date (RFC 9110, 10.2.3).
fn wait(headers: &HeaderMap, now: Time) -> Option<Span> {
    if let Some(ms) = number(headers, "retry-after-ms") {
        return Some(Span(ms.saturating_mul(1_000)));
    }
    let said = text(headers, RETRY_AFTER.as_str())?;
    if let Ok(secs) = said.parse::<u64>() {
        return Some(Span(secs.saturating_mul(1_000_000)));
    }
    let date = httpdate::parse_http_date(said).ok()?;
    let secs = date.duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(from(secs, now))
}

/// From now to so many seconds after the Unix epoch.
fn from(secs: u64, now: Time) -> Span {
    Time(secs.saturating_mul(1_000_000)).since(now)
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

#[cfg(test)]
mod tests;
