//! Translations as a whole: golden files, the vectors of known behaviour, and properties.

mod golden;
mod grammar;
mod properties;
mod round_trip;
mod vectors;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Naming, Stream, Upstream, Whole, request};
use crate::protocol::error::ApiError;
use crate::protocol::sse;

/// Any nonce.
const NONCE: u128 = 0xabc;

fn naming() -> Naming {
    Naming { model: "claude-mine".into(), nonce: NONCE }
}

/// What is asked of an upstream with this model, without an envelope.
fn asked(model: &str, body: &Value) -> Result<Value, ApiError> {
    let request = request(body.to_string().as_bytes(), &Upstream { model, project: None })?;
    Ok(serde_json::from_slice(&request).expect("JSON"))
}

/// A stream of these chunks.
fn stream_of(chunks: &[Value]) -> Bytes {
    chunks.iter().map(|chunk| format!("data: {chunk}\r\n\r\n")).collect::<String>().into()
}

/// The bytes of the stream that is made of a stream cut into these pieces.
fn streamed(pieces: impl IntoIterator<Item = Bytes>) -> Bytes {
    let mut stream = Stream::new(naming());
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(&stream.push(piece));
    }
    out.extend_from_slice(&stream.end());
    out.into()
}

/// The events of a stream; each has its own name as its type.
fn events_of(bytes: &[u8]) -> Vec<Value> {
    let event = |event: sse::Event<'_>| {
        let data: Value = serde_json::from_slice(&event.data).expect("JSON");
        assert_eq!(data["type"].as_str().map(str::as_bytes), Some(event.name));
        data
    };
    sse::events(bytes).map(event).collect()
}

/// The message that is made of a stream.
fn message_of(stream: Bytes) -> Result<Value, ApiError> {
    let mut whole = Whole::new(naming());
    whole.push(stream)?;
    Ok(serde_json::from_slice(&whole.end()?).expect("JSON"))
}

/// The message that a client makes of events, or what failed.
fn put_together(events: &[Value]) -> Result<Value, Value> {
    let mut message = Value::Null;
    let mut input = String::new();
    for event in events {
        let at = event["index"].as_u64().unwrap_or_default() as usize;
        match event["type"].as_str().expect("a type") {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                let blocks = message["content"].as_array_mut().expect("an array");
                blocks.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                input.push_str(event["delta"]["partial_json"].as_str().unwrap_or_default());
                add(&mut message["content"][at], &event["delta"]);
            }
            "content_block_stop" if !input.is_empty() => {
                message["content"][at]["input"] = serde_json::from_str(&input).expect("JSON");
                input.clear();
            }
            "message_delta" => {
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                message["usage"] = event["usage"].clone();
            }
            "error" => return Err(event["error"].clone()),
            _ => {}
        }
    }
    Ok(message)
}

fn add(block: &mut Value, delta: &Value) {
    for name in ["text", "thinking", "signature"] {
        if let Some(more) = delta[name].as_str() {
            let text = block[name].as_str().unwrap_or_default();
            block[name] = json!([text, more].concat());
        }
    }
}
