//! Which headers pass, in either direction. What is not named here does not pass.

use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};

/// The account's credential.
pub(crate) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// The upstream's name of a request.
pub(crate) const UPSTREAM_ID: HeaderName = HeaderName::from_static("request-id");
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// Headers of a usual request, so that the map needs not grow.
const HEADERS_USUAL: usize = 16;

fn goes_up(name: &str) -> bool {
    match name {
        "accept"
        | "accept-language"
        | "anthropic-beta"
        | "anthropic-dangerous-direct-browser-access"
        | "anthropic-version"
        | "content-type"
        | "sec-fetch-mode"
        | "user-agent"
        | "x-app" => true,
        other => other.starts_with("x-stainless-"),
    }
}

/// What an upstream is told if the client does not say otherwise.
static DEFAULTS: [(HeaderName, HeaderValue); 2] = [
    (CONTENT_TYPE, HeaderValue::from_static("application/json")),
    (VERSION, HeaderValue::from_static("2023-06-01")),
];

/// What goes to the upstream of what a client sent. Never a credential: that is the account's.
pub(crate) fn up(client: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    let passed = client.iter().filter(|(name, _)| goes_up(name.as_str()));
    let unsaid = DEFAULTS.iter().filter(|(name, _)| !client.contains_key(name));
    passed.chain(unsaid.map(|(name, value)| (name, value)))
}

/// What goes to the client of what an upstream answered.
pub(crate) fn down(upstream: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(HEADERS_USUAL);
    for name in [CONTENT_TYPE, UPSTREAM_ID] {
        if let Some(value) = upstream.get(&name) {
            headers.insert(name, value.clone());
        }
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
        let mut names: Vec<_> = up(&client).map(|(name, _)| name.as_str()).collect();
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
