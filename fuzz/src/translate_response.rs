//! Any bytes as a plain answer, or as an upstream's error: it becomes a message with all that belongs
//! to one, or an error.

use serde_json::Value;
use sluice_runtime_tokio::translate::{Naming, upstream_error, whole};

/// Runs one input.
///
/// # Panics
/// When what comes out is no message.
pub fn run(data: &[u8]) {
    let error = upstream_error(data);
    assert!(error.is_none_or(|error| (400..600).contains(&error.status)));
    let Ok(message) = whole(data, Naming { model: "mine".into(), nonce: 1 }) else { return };
    // What is only passed on may hold what a parser refuses, as half a surrogate pair.
    let Ok(message) = serde_json::from_slice::<Value>(&message) else { return };
    assert_eq!((&message["type"], &message["model"]), (&"message".into(), &"mine".into()));
    assert!(message["stop_reason"].is_string() && message["usage"]["output_tokens"].is_u64());
    let mut ids = Vec::new();
    for block in message["content"].as_array().expect("a message has content") {
        assert!(block["type"].is_string());
        ids.extend(block["id"].as_str());
    }
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "every call has an id of its own");
}
