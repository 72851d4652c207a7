//! Any bytes as a request to be translated: it is refused as the client's fault, or becomes JSON that
//! says the same with and without an envelope.

use bytes::Bytes;
use serde_json::Value;
use sluice_runtime_tokio::protocol::error::ApiError;
use sluice_runtime_tokio::translate::{Upstream, request};

/// What a Claude model must never be sent.
const DUMMY: &str = "skip_thought_signature_validator";

/// Runs one input.
///
/// # Panics
/// When a request is translated in a way that it must not be.
pub fn run(data: &[u8]) {
    let ask = |model, project| request(data, &Upstream { model, project });
    let gemini = parsed(ask("gemini-3-flash", None));
    let enveloped = parsed(ask("gemini-3-flash", Some("p")));
    match (&gemini, enveloped) {
        (Some(plain), Some(envelope)) => assert_eq!(envelope["request"], *plain),
        (plain, envelope) => assert!(plain.is_none() && envelope.is_none()),
    }
    let claude = parsed(ask("claude-sonnet-4-5", None));
    assert!(claude.is_none_or(|asked| !holds_dummy(&asked)));
    for content in gemini.iter().flat_map(|asked| asked["contents"].as_array()).flatten() {
        assert!(content["parts"].as_array().is_some_and(|parts| !parts.is_empty()));
    }
}

/// What is asked; `None` if it is refused.
fn parsed(asked: Result<Bytes, ApiError>) -> Option<Value> {
    match asked {
        // What is only passed on may hold what a parser refuses, as half a surrogate pair.
        Ok(asked) => Some(serde_json::from_slice(&asked).unwrap_or_default()),
        Err(error) => {
            assert_eq!((error.status, &*error.kind), (400, "invalid_request_error"));
            None
        }
    }
}

/// Whether a signature is the dummy; texts may speak of it.
fn holds_dummy(asked: &Value) -> bool {
    let parts = asked["contents"].as_array().into_iter().flatten();
    let mut parts = parts.flat_map(|content| content["parts"].as_array()).flatten();
    parts.any(|part| part["thoughtSignature"] == DUMMY)
}
