//! What each signal of each upstream comes to.

use super::*;

/// 2025-01-15, noon in UTC.
const NOW_SECS: u64 = 1_736_942_400;
const NOW: Time = Time(NOW_SECS * 1_000_000);

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let one = |(name, value): &(&'static str, &str)| {
        ((*name).parse().expect("a name"), value.parse().expect("a value"))
    };
    pairs.iter().map(one).collect()
}

fn of(protocol: Protocol, pairs: &[(&'static str, &str)], body: &str) -> (Scope, Option<u64>) {
    let Limited { scope, span } = limited(protocol, &headers(pairs), body.as_bytes(), NOW);
    (scope, span.map(Span::as_ms))
}

#[test]
fn whoever_says_when_to_come_back_is_believed() {
    for (pairs, ms) in [
        (&[("retry-after", "7")][..], Some(7_000)),
        (&[("retry-after", " 7 ")], Some(7_000)),
        (&[("retry-after", "Wed, 15 Jan 2025 12:00:09 GMT")], Some(9_000)),
        (&[("retry-after", "Wed, 15 Jan 2025 11:00:00 GMT")], Some(0)),
        (&[("retry-after-ms", "1500"), ("retry-after", "7")], Some(1_500)),
        (&[("retry-after", "soon")], None),
        (&[("retry-after", "-1")], None),
        (&[], None),
        // No burst lasts so long.
        (&[("retry-after", "99999999999999999")], Some(3_600_000)),
    ] {
        for protocol in [Protocol::Anthropic, Protocol::OpenAi, Protocol::Gemini] {
            assert_eq!(of(protocol, pairs, ""), (Scope::Account, ms), "{pairs:?}");
        }
    }
    assert_eq!(overloaded(&headers(&[("retry-after", "7")]), NOW), Some(Span::from_secs(7)));
    assert_eq!(overloaded(&HeaderMap::new(), NOW), None);
}

#[test]
fn anthropics_windows_and_buckets() {
    let at = |secs: u64| (NOW_SECS + secs).to_string();
    let unified = |name: &'static str| -> [&'static str; 2] {
        match name {
            "5h" => {
                ["anthropic-ratelimit-unified-5h-status", "anthropic-ratelimit-unified-5h-reset"]
            }
            "7d" => {
                ["anthropic-ratelimit-unified-7d-status", "anthropic-ratelimit-unified-7d-reset"]
            }
            _ => [
                "anthropic-ratelimit-unified-7d_opus-status",
                "anthropic-ratelimit-unified-7d_opus-reset",
            ],
        }
    };
    let window = |name, status: &'static str, reset: &str| {
        let [first, second] = unified(name);
        vec![(first, status.to_owned()), (second, reset.to_owned())]
    };
    let of = |pairs: &[(&'static str, String)]| {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (*name, &**value)).collect();
        of(Protocol::Anthropic, &pairs, "")
    };
    let retry = vec![("retry-after", "3".to_owned())];
    let (hour, week) = (window("5h", "rejected", &at(7_200)), window("7d", "allowed", &at(99_999)));
    // What is used up counts, and for longer than a burst; what is not used up does not.
    let spent = [hour.clone(), week, retry.clone()].concat();
    assert_eq!(of(&spent), (Scope::Account, Some(7_200_000)));
    let both = [hour.clone(), window("7d", "rejected", &at(400_000))].concat();
    assert_eq!(of(&both), (Scope::Account, Some(400_000_000)));
    let opus = window("7d_opus", "rejected", &at(500));
    assert_eq!(of(&opus), (Scope::Model, Some(500_000)), "some models only");
    let overall = vec![
        ("anthropic-ratelimit-unified-status", REJECTED.to_owned()),
        ("anthropic-ratelimit-unified-reset", at(500)),
    ];
    assert_eq!(of(&[opus.clone(), overall.clone()].concat()), (Scope::Model, Some(500_000)));
    assert_eq!(of(&[overall, retry.clone()].concat()), (Scope::Account, Some(500_000)), "unnamed");
    let overage = vec![
        ("anthropic-ratelimit-unified-overage-status", REJECTED.to_owned()),
        ("anthropic-ratelimit-unified-overage-reset", at(600_000)),
    ];
    let extra = [hour.clone(), overage.clone()].concat();
    assert_eq!(of(&extra), (Scope::Account, Some(7_200_000)), "more than was bought is no window");
    assert_eq!(of(&[overage, retry.clone()].concat()), (Scope::Account, Some(3_000)));
    let allowed = [window("5h", "allowed_warning", &at(7_200)), retry.clone()].concat();
    assert_eq!(of(&allowed), (Scope::Account, Some(3_000)), "a burst");
    let reset = vec![("anthropic-ratelimit-unified-reset", at(4_000))];
    assert_eq!(of(&reset), (Scope::Account, Some(4_000_000)));
    assert_eq!(of(&[reset, retry].concat()), (Scope::Account, Some(3_000)));
    let soon = vec![("anthropic-ratelimit-unified-reset", "soon".to_owned())];
    assert_eq!(of(&soon), (Scope::Account, None));
    let far = vec![("anthropic-ratelimit-unified-reset", u64::MAX.to_string())];
    assert_eq!(of(&far), (Scope::Account, Some(WINDOW_MAX.as_ms())), "no longer than any window");
    let empty = vec![
        ("anthropic-ratelimit-input-tokens-remaining", "0".to_owned()),
        ("anthropic-ratelimit-input-tokens-reset", "2025-01-15T12:00:20Z".to_owned()),
        ("anthropic-ratelimit-requests-remaining", "9".to_owned()),
        ("anthropic-ratelimit-requests-reset", "2025-01-15T12:00:50Z".to_owned()),
    ];
    assert_eq!(of(&empty), (Scope::Model, Some(20_000)), "buckets are per model");
}

#[test]
fn openais_windows_and_buckets() {
    let of = |pairs: &[(&'static str, &str)]| of(Protocol::OpenAi, pairs, "");
    let buckets = [
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "120ms"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "6m0s"),
    ];
    assert_eq!(of(&buckets), (Scope::Model, Some(360_000)));
    assert_eq!(of(&buckets[..2]), (Scope::Model, Some(120)));
    let left = [("x-ratelimit-remaining-tokens", "5"), ("x-ratelimit-reset-tokens", "6m0s")];
    assert_eq!(of(&left), (Scope::Account, None));
    let codex = |pct| {
        [
            ("x-codex-primary-used-percent", pct),
            ("x-codex-primary-reset-after-seconds", "9000"),
            ("x-codex-primary-window-minutes", "300"),
            ("x-codex-secondary-used-percent", "40"),
            ("x-codex-secondary-reset-after-seconds", "500000"),
            ("retry-after", "5"),
        ]
    };
    assert_eq!(of(&codex("100")), (Scope::Account, Some(9_000_000)), "a window");
    assert_eq!(of(&codex("99")), (Scope::Account, Some(5_000)), "a burst");
}

#[test]
fn googles_delays_and_days() {
    let of = |error: &str| of(Protocol::Gemini, &[], &format!("{{\"error\":{error}}}"));
    let day = Some((20 * 3_600 + 300) * 1_000);
    for (error, want) in [
        (
            r#"{"details":[{"@type":"RetryInfo","retryDelay":"12.3s"}]}"#,
            (Scope::Account, Some(12_300)),
        ),
        (
            r#"{"details":[{"metadata":{"quotaResetDelay":"1m2s","model":"x"}},{"retryDelay":"1s"}]}"#,
            (Scope::Account, Some(62_000)),
        ),
        (r#"{"message":"Quota exceeded. Please retry in 3.5s."}"#, (Scope::Account, Some(3_500))),
        (
            r#"{"message":"Requests PER DAY","details":[{"retryDelay":"1s"}]}"#,
            (Scope::Account, day),
        ),
        (
            r#"{"details":[{"violations":[{"quotaId":"GenerateRequestsPerDayPerProjectPerModel",
               "quotaDimensions":{"model":"gemini"}}]}]}"#,
            (Scope::Model, day),
        ),
        (
            r#"{"details":[{"violations":[{"quotaId":"RequestsPerMinutePerModel"}]},
               {"retryDelay":"9s"}]}"#,
            (Scope::Model, Some(9_000)),
        ),
        (r#"{"message":"later"}"#, (Scope::Account, None)),
        ("7", (Scope::Account, None)),
    ] {
        assert_eq!(of(error), want, "{error}");
    }
    let listed = r#"[{"error":{"details":[{"retryDelay":"4s"}]}}]"#;
    let listed = limited(Protocol::Gemini, &HeaderMap::new(), listed.as_bytes(), NOW);
    assert_eq!(listed.span, Some(Span::from_secs(4)));
}

#[test]
fn a_credential_that_is_good_for_other_things_is_told_from_a_bad_one() {
    let said = r#"{"error":{"message":"Request had insufficient authentication scopes."}}"#;
    assert!(lacks_scope(&HeaderMap::new(), said.as_bytes()));
    assert!(lacks_scope(&HeaderMap::new(), br#"{"reason":"ACCESS_TOKEN_SCOPE_INSUFFICIENT"}"#));
    let challenge = headers(&[("www-authenticate", "Bearer error=\"insufficient_scope\"")]);
    assert!(lacks_scope(&challenge, b""));
    assert!(!lacks_scope(&HeaderMap::new(), br#"{"error":{"message":"Permission denied"}}"#));
    let bad =
        br#"{"error":{"status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#;
    assert!(key_is_bad(Protocol::Gemini, bad));
    assert!(!key_is_bad(Protocol::Anthropic, bad));
    assert!(!key_is_bad(Protocol::Gemini, br#"{"error":{"status":"INVALID_ARGUMENT"}}"#));
}
