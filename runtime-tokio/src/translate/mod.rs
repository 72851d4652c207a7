//! The Messages API in front of upstreams that speak Gemini's: requests one way, answers the other.
//!
//! One translator for every such upstream; Code Assist differs only in an envelope around requests
//! and answers. An answer is translated chunk by chunk into the events of a stream, and a plain one
//! is put together from the same events.
//!
//! **Architecture Invariant:** pure. Nothing in here knows a socket, a runtime, a clock or entropy.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use self::gemini::Envelope;
use crate::protocol::error::ApiError;

mod answer;
mod claude;
mod content;
mod emit;
mod fault;
mod gemini;
mod media;
mod read;
mod request;
mod schema;
mod seal;
mod stream;
mod tools;

pub use answer::Naming;
pub use fault::{broke_off, too_large, upstream_error};
pub use stream::{Stream, WHOLE_BYTES_MAX, Whole, whole};

/// Who is asked.
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a> {
    /// The model, as the upstream calls it.
    pub model: &'a str,
    /// The project that Code Assist wants in an envelope; without one there is no envelope.
    pub project: Option<&'a str>,
}

/// Whose models these are: they do not take each other's signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Gemini,
    Claude,
}

impl Upstream<'_> {
    fn family(&self) -> Family {
        if self.model.contains("claude") { Family::Claude } else { Family::Gemini }
    }
}

/// The body of `generateContent` or `streamGenerateContent` that asks what this body of the
/// Messages API asks. Members that are not known are left out.
///
/// # Errors A body that is wrong, or that asks for what the upstream has no words for: its message
/// begins with the place of the fault.
pub fn request(body: &[u8], upstream: &Upstream<'_>) -> Result<Bytes, ApiError> {
    let request = request::request(raw(body)?, upstream)?;
    Ok(match upstream.project {
        Some(project) => written(&Envelope { model: upstream.model, project, request: &request }),
        None => written(&request),
    })
}

/// The body of `countTokens` for a request as [`request`] makes it, with all that belongs to it.
///
/// # Errors
/// As for [`request`].
pub fn count_request(body: &[u8], upstream: &Upstream<'_>) -> Result<Bytes, ApiError> {
    let request = request::request(raw(body)?, upstream)?;
    let model = format!("models/{}", upstream.model);
    let generate_content_request = gemini::Counted { model, request };
    Ok(written(&gemini::CountRequest { generate_content_request }))
}

fn raw(body: &[u8]) -> Result<&RawValue, ApiError> {
    let unreadable = || ApiError::new(400, "invalid_request_error", "Failed to parse request body");
    let text = std::str::from_utf8(body).map_err(|_| unreadable())?;
    serde_json::from_str(text).map_err(|_| unreadable())
}

fn written(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("texts and numbers always have a JSON form").into()
}

#[cfg(test)]
mod tests;
