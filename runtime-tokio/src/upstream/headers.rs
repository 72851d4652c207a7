//! Which headers pass, in either direction. What is not named here does not pass.

use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};

const UP: [&str; 9] = [
    "accept",
    "accept-language",
    "anthropic-beta",
    "anthropic-dangerous-direct-browser-access",
    "anthropic-version",
    "content-type",
    "sec-fetch-mode",
    "user-agent",
    "x-app",
];

const UP_PREFIX: &str = "x-stainless-";

const DOWN: [&str; 2] = ["content-type", "request-id"];

/// What goes to the upstream of what a client sent. Never a credential: that is the account's.
pub(crate) fn up(client: &HeaderMap) -> HeaderMap {
    let passes =
        |name: &HeaderName| UP.contains(&name.as_str()) || name.as_str().starts_with(UP_PREFIX);
    let mut headers = only(client, passes);
    let default = |headers: &mut HeaderMap, name: HeaderName, value| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    default(&mut headers, CONTENT_TYPE, "application/json");
    default(&mut headers, HeaderName::from_static("anthropic-version"), "2023-06-01");
    headers
}

/// What goes to the client of what an upstream answered.
pub(crate) fn down(upstream: &HeaderMap) -> HeaderMap {
    only(upstream, |name| DOWN.contains(&name.as_str()))
}

fn only(from: &HeaderMap, passes: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in from.iter().filter(|(name, _)| passes(name)) {
        headers.append(name.clone(), value.clone());
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_credential_and_unknown_headers_do_not_pass() {
        let mut client = HeaderMap::new();
        for name in [
            "authorization",
            "x-api-key",
            "x-goog-api-key",
            "cookie",
            "accept-encoding",
            "host",
            "x-forwarded-for",
            "anthropic-beta",
            "x-stainless-lang",
        ] {
            client.insert(name, HeaderValue::from_static("v"));
        }
        let up = up(&client);
        let mut names: Vec<_> = up.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["anthropic-beta", "anthropic-version", "content-type", "x-stainless-lang"]
        );
    }

    #[test]
    fn an_operators_quota_and_cookies_do_not_pass() {
        let mut upstream = HeaderMap::new();
        for name in [
            "set-cookie",
            "anthropic-organization-id",
            "request-id",
            "content-length",
            "anthropic-ratelimit-requests-remaining",
            "content-type",
        ] {
            upstream.insert(name, HeaderValue::from_static("v"));
        }
        let down = down(&upstream);
        assert_eq!(down.len(), 2);
        assert!(down.contains_key("request-id") && down.contains_key("content-type"));
    }
}
