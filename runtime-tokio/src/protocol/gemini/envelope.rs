//! The envelope in which Code Assist's upstreams are asked and answer.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::protocol::error::ApiError;
use crate::protocol::skim::BAD;
use crate::protocol::sse::{self, Event};

#[derive(Serialize)]
struct Outer<'a> {
    model: &'a str,
    project: &'a str,
    request: &'a RawValue,
}

/// A body in its envelope, byte for byte.
///
/// # Errors
/// It is not one JSON value: then it could say something outside the place that it is put in.
pub fn wrapped(body: &[u8], model: &str, project: &str) -> Result<Bytes, ApiError> {
    let request: &RawValue = serde_json::from_slice(body).map_err(|_| BAD)?;
    let outer = Outer { model, project, request };
    Ok(serde_json::to_vec(&outer).expect("texts and JSON always have a JSON form").into())
}

/// What is in the envelope of an answer or a chunk; what has none is taken as it is.
#[must_use]
pub fn unwrapped(data: &[u8]) -> &[u8] {
    #[derive(Deserialize)]
    struct Inner<'a> {
        #[serde(borrow)]
        response: &'a RawValue,
    }
    serde_json::from_slice::<Inner<'_>>(data).map_or(data, |inner| inner.response.get().as_bytes())
}

/// An event without its envelope.
#[must_use]
pub fn unwrapped_event(event: &Event<'_>) -> Bytes {
    let data = String::from_utf8_lossy(unwrapped(&event.data));
    // White space between tokens: within a string they are escaped.
    sse::unnamed(&data.replace(['\r', '\n'], " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_put_in_as_it_is() {
        let wrapped = |body: &str| wrapped(body.as_bytes(), "m\"", "p").map(|b| b.to_vec());
        let want = br#"{"model":"m\"","project":"p","request":{ "n":9007199254740993}}"#;
        assert_eq!(wrapped(r#"{ "n":9007199254740993}"#).as_deref(), Ok(&want[..]));
        for bad in ["", "{", "{},\"project\":\"other\"", "{}}", "nonsense"] {
            assert_eq!(wrapped(bad), Err(BAD), "{bad}");
        }
    }

    #[test]
    fn an_answer_is_taken_out() {
        assert_eq!(unwrapped(br#"{"traceId":"t","response":{"a":[1]}}"#), br#"{"a":[1]}"#);
        for bare in [&br#"{"error":{"code":500}}"#[..], b"nonsense", b""] {
            assert_eq!(unwrapped(bare), bare);
        }
        let event = "data: {\"response\":\ndata: {\"a\":\ndata: 1}}\n\n";
        let event = sse::events(event.as_bytes()).next().expect("an event");
        assert_eq!(unwrapped_event(&event), Bytes::from("data: {\"a\": 1}\n\n"));
    }
}
