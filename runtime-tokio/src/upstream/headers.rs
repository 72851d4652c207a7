//! Which headers pass, in either direction. What is not named here does not pass.

use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use crate::protocol::Protocol;

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const GOOG_REQUEST_ID: HeaderName = HeaderName::from_static("x-goog-request-id");
/// The features that a request needs.
pub(crate) static BETA: HeaderName = HeaderName::from_static("anthropic-beta");
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// Headers of a usual answer, so that the map needs not grow.
const HEADERS_USUAL: usize = 4;

/// The header in which an upstream names a request.
pub(crate) const fn upstream_id(protocol: Protocol) -> HeaderName {
    match protocol {
        Protocol::Anthropic => REQUEST_ID,
        Protocol::OpenAi => X_REQUEST_ID,
        Protocol::Gemini => GOOG_REQUEST_ID,
    }
}

fn goes_up(protocol: Protocol, name: &str) -> bool {
    match name {
        "accept" | "accept-language" | "content-type" | "user-agent" => true,
        "anthropic-beta"
        | "anthropic-dangerous-direct-browser-access"
        | "anthropic-version"
        | "sec-fetch-mode"
        | "x-app" => protocol == Protocol::Anthropic,
        "openai-beta" | "originator" | "session_id" | "session-id" | "x-session-id" => {
            protocol == Protocol::OpenAi
        }
        "x-goog-api-client" => protocol == Protocol::Gemini,
        other => other.starts_with("x-stainless-"),
    }
}

type Pair = (HeaderName, HeaderValue);

/// What an upstream is told if the client does not say otherwise.
fn defaults(protocol: Protocol) -> &'static [Pair] {
    static DEFAULTS: [Pair; 2] = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (VERSION, HeaderValue::from_static("2023-06-01")),
    ];
    match protocol {
        Protocol::Anthropic => &DEFAULTS,
        Protocol::OpenAi | Protocol::Gemini => &DEFAULTS[..1],
    }
}

/// What goes to the upstream of what a client sent. Never a credential: that is the account's.
pub(crate) fn up(
    protocol: Protocol,
    client: &HeaderMap,
) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    let passed = client.iter().filter(move |(name, _)| goes_up(protocol, name.as_str()));
    let unsaid = defaults(protocol).iter().filter(|(name, _)| !client.contains_key(name));
    passed.chain(unsaid.map(|(name, value)| (name, value)))
}

/// The features that a client names, and this one.
pub(crate) fn betas_with(feature: &'static str, client: &HeaderMap) -> HeaderValue {
    let named = client.get_all(&BETA).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<_> = named.collect();
    let there = named.iter().flat_map(|value| value.split(',')).any(|name| name.trim() == feature);
    let all = if there { named.join(",") } else { [&[feature], &*named].concat().join(",") };
    HeaderValue::try_from(all).unwrap_or_else(|_| HeaderValue::from_static(feature))
}

/// What goes to the client of what an upstream answered.
pub(crate) fn down(protocol: Protocol, upstream: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(HEADERS_USUAL);
    // An answer's `x-request-id` is the gateway's own.
    let names = [CONTENT_TYPE, REQUEST_ID];
    let passed = match protocol {
        Protocol::Anthropic => &names[..],
        Protocol::OpenAi | Protocol::Gemini => &names[..1],
    };
    for name in passed {
        if let Some(value) = upstream.get(name) {
            headers.insert(name.clone(), value.clone());
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
        let mut names: Vec<_> =
            up(Protocol::Anthropic, &client).map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["anthropic-beta", "anthropic-version", "content-type", "x-stainless-lang"]
        );
    }

    #[test]
    fn a_feature_is_named_beside_the_clients_and_once() {
        let betas = |values: &[&'static str]| {
            let mut client = HeaderMap::new();
            for value in values {
                client.append(&BETA, HeaderValue::from_static(value));
            }
            betas_with("o", &client)
        };
        for (client, want) in [
            (&[][..], "o"),
            (&["a,b"], "o,a,b"),
            (&["a", "b"], "o,a,b"),
            (&["a, o", "b"], "a, o,b"),
            (&["oo"], "o,oo"),
        ] {
            assert_eq!(betas(client), want);
        }
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
        let down = down(Protocol::Anthropic, &upstream);
        assert_eq!(down.len(), 2);
        assert!(down.contains_key("request-id") && down.contains_key("content-type"));
    }
}
