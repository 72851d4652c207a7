//! What is left of an account's quotas, as its upstream says with its answers: windows of hours or days,
//! and buckets of requests and tokens. Kept to be shown; nothing is decided by it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use hyper::HeaderMap;
use serde_json::{Value, json};
use sluice_engine::{Span, Time};

use super::calendar;
use crate::protocol::{Protocol, duration};

/// The most quotas of an account that are kept.
const QUOTAS_MAX: usize = 16;
/// The longest name of one, in bytes.
const NAME_BYTES_MAX: usize = 32;

/// The quotas of an account, as they were told last.
#[derive(Debug, Default)]
pub struct Windows(Mutex<Option<(Time, BTreeMap<String, Window>)>>);

/// What was told of one.
#[derive(Clone, Debug, Default, PartialEq)]
struct Window {
    /// In percent.
    used: Option<f64>,
    limit: Option<f64>,
    remaining: Option<f64>,
    resets_at: Option<Time>,
}

/// What a header tells.
#[derive(Clone, Copy)]
enum Told {
    Limit,
    Remaining,
    /// A share of one,
    Share,
    /// or of a hundred.
    Percent,
    /// A point in time: seconds since the Unix epoch, or RFC 3339.
    ResetsAt,
    /// A span: seconds, or with its unit.
    ResetsIn,
}

impl Windows {
    /// Takes in the headers of an answer. `now` counts from the Unix epoch.
    pub fn note(&self, protocol: Protocol, headers: &HeaderMap, now: Time) {
        let mut found = BTreeMap::new();
        for (name, value) in headers {
            let Some((window, told)) = part(protocol, name.as_str()) else { continue };
            let known = found.len() < QUOTAS_MAX || found.contains_key(window);
            if let (Ok(value), true) = (value.to_str(), known && window.len() <= NAME_BYTES_MAX) {
                found
                    .entry(window.to_owned())
                    .or_insert_with(Window::default)
                    .note(told, value, now);
            }
        }
        if !found.is_empty() {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, found));
        }
    }

    /// For operators, once something was told.
    #[must_use]
    pub fn shown(&self, now: Time) -> Option<Value> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, windows) = told.as_ref()?;
        let windows: Vec<_> = windows.iter().map(|(name, w)| w.shown(name, now)).collect();
        Some(json!({"ms_ago": now.since(*at).as_ms(), "windows": windows}))
    }
}

impl Window {
    fn note(&mut self, told: Told, value: &str, now: Time) {
        let value = value.trim();
        let number = value.parse::<f64>().ok().filter(|number| number.is_finite());
        let secs = value.parse::<u64>().ok();
        match told {
            Told::Limit => self.limit = number,
            Told::Remaining => self.remaining = number,
            Told::Share => self.used = number.map(|share| share * 100.0),
            Told::Percent => self.used = number,
            Told::ResetsAt => {
                let unix = |secs: u64| Time(secs.saturating_mul(1_000_000));
                self.resets_at = secs.map(unix).or_else(|| calendar::rfc3339(value));
            }
            Told::ResetsIn => {
                let span = secs.map(|secs| Span(secs.saturating_mul(1_000_000)));
                let span = span.or_else(|| duration::span(value));
                self.resets_at = span.map(|span| Time(now.0.saturating_add(span.0)));
            }
        }
    }

    fn shown(&self, name: &str, now: Time) -> Value {
        let left = self.limit.zip(self.remaining).filter(|(limit, _)| *limit > 0.0);
        let used = left.map(|(limit, remaining)| (1.0 - remaining / limit) * 100.0).or(self.used);
        json!({
            "name": name, "used_pct": used, "limit": self.limit, "remaining": self.remaining,
            "resets_in_ms": self.resets_at.map(|at| at.since(now).as_ms()),
        })
    }
}

/// Which quota a header is about, and what it tells.
fn part(protocol: Protocol, name: &str) -> Option<(&str, Told)> {
    let ends = |rest: &'static [(&str, Told)]| {
        move |name| {
            rest.iter().find_map(|(end, told)| Some((<str>::strip_suffix(name, end)?, *told)))
        }
    };
    match protocol {
        Protocol::Anthropic => {
            let name = name.strip_prefix("anthropic-ratelimit-")?;
            match name.strip_prefix("unified-") {
                Some(name) => {
                    ends(&[("-utilization", Told::Share), ("-reset", Told::ResetsAt)])(name)
                }
                None => ends(&[
                    ("-limit", Told::Limit),
                    ("-remaining", Told::Remaining),
                    ("-reset", Told::ResetsAt),
                ])(name),
            }
        }
        Protocol::OpenAi => match name.strip_prefix("x-codex-") {
            Some(name) => {
                ends(&[("-used-percent", Told::Percent), ("-reset-after-seconds", Told::ResetsIn)])(
                    name,
                )
            }
            None => {
                let (told, name) = name.strip_prefix("x-ratelimit-")?.split_once('-')?;
                match told {
                    "limit" => Some((name, Told::Limit)),
                    "remaining" => Some((name, Told::Remaining)),
                    "reset" => Some((name, Told::ResetsIn)),
                    _ => None,
                }
            }
        },
        // It tells only when one is used up.
        Protocol::Gemini => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    const NOW: Time = Time(1_736_942_400_000_000); // 2025-01-15T12:00:00Z

    fn shown(protocol: Protocol, pairs: &[(&'static str, &'static str)]) -> Value {
        let windows = Windows::default();
        let header = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        windows.note(protocol, &pairs.iter().map(header).collect(), NOW);
        windows.shown(Time(NOW.0 + 2_000_000)).unwrap_or_default()
    }

    fn window(name: &str, used: f64, left: Option<(f64, f64)>, resets_in_ms: u64) -> Value {
        let (limit, remaining) = left.unzip();
        json!({"name": name, "used_pct": used, "limit": limit, "remaining": remaining,
               "resets_in_ms": resets_in_ms})
    }

    #[test]
    fn what_each_upstream_tells_is_shown_alike() {
        let anthropic = shown(
            Protocol::Anthropic,
            &[
                ("anthropic-ratelimit-unified-status", "allowed"),
                ("anthropic-ratelimit-unified-5h-utilization", "0.25"),
                ("anthropic-ratelimit-unified-5h-reset", "1736942460"),
                ("anthropic-ratelimit-unified-5h-status", "allowed"),
                ("anthropic-ratelimit-tokens-limit", "200"),
                ("anthropic-ratelimit-tokens-remaining", "50"),
                ("anthropic-ratelimit-tokens-reset", "2025-01-15T12:00:30Z"),
            ],
        );
        let windows = json!([
            window("5h", 25.0, None, 58_000),
            window("tokens", 75.0, Some((200.0, 50.0)), 28_000)
        ]);
        assert_eq!(anthropic, json!({"ms_ago": 2_000, "windows": windows}));
        let openai = shown(
            Protocol::OpenAi,
            &[
                ("x-codex-primary-used-percent", "40"),
                ("x-codex-primary-reset-after-seconds", "9"),
                ("x-ratelimit-limit-requests", "10"),
                ("x-ratelimit-remaining-requests", "10"),
                ("x-ratelimit-reset-requests", "6m0s"),
            ],
        );
        let windows = json!([
            window("primary", 40.0, None, 7_000),
            window("requests", 0.0, Some((10.0, 10.0)), 358_000)
        ]);
        assert_eq!(openai["windows"], windows);
    }

    #[test]
    fn what_makes_no_sense_is_not_known_and_no_more_is_kept_than_there_can_be() {
        let none = [("x-request-id", "x"), ("anthropic-ratelimit-unified-status", "allowed")];
        assert_eq!(shown(Protocol::Anthropic, &none), Value::Null);
        let odd = [
            ("anthropic-ratelimit-requests-limit", "0"),
            ("anthropic-ratelimit-requests-remaining", "NaN"),
            ("anthropic-ratelimit-requests-reset", "soon"),
        ];
        let odd = shown(Protocol::Anthropic, &odd)["windows"][0].clone();
        assert_eq!((&odd["used_pct"], &odd["resets_in_ms"]), (&Value::Null, &Value::Null));
        let mut many = HeaderMap::new();
        for n in 0..2 * QUOTAS_MAX {
            let name = format!("anthropic-ratelimit-{n}-limit");
            many.insert(HeaderName::try_from(name).expect("a name"), HeaderValue::from(n));
        }
        let long = format!("anthropic-ratelimit-{}-limit", "x".repeat(NAME_BYTES_MAX + 1));
        many.insert(HeaderName::try_from(long).expect("a name"), HeaderValue::from(1));
        let windows = Windows::default();
        windows.note(Protocol::Anthropic, &many, NOW);
        let shown = windows.shown(NOW).expect("something was told");
        assert_eq!(shown["windows"].as_array().map(Vec::len), Some(QUOTAS_MAX));
    }
}
