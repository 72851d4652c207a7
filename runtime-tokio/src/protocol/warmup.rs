//! Warm-up requests: knowing one, and the answer that the gateway gives in an account's name.

use memchr::memmem;
use serde::Deserialize;
use serde_json::json;

use super::sse;

const TITLE: &str = "Please write a 5-10 word title for the following conversation:";
const TOPIC: &str = "nalyze if this message indicates a new conversation topic. \
                     If it does, extract a 2-3 word title";
const ID: &str = "msg_mock_warmup";

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    messages: Vec<Message>,
    #[serde(default)]
    system: Vec<Block>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Vec<Block>,
}

#[derive(Deserialize)]
struct Block {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    text: String,
}

/// Whether a request's body is a warm-up. Only bodies that carry all their text in blocks are.
#[must_use]
pub fn is_warmup(body: &[u8]) -> bool {
    // Most bodies are long and no warm-ups. None of the three texts has a character that JSON must
    // escape; a client that escapes others is answered by an upstream.
    let mentions = |text: &str| memmem::find(body, text.as_bytes()).is_some();
    if !mentions("\"Warmup\"") && !mentions(TITLE) && !mentions(TOPIC) {
        return false;
    }
    let Ok(body) = serde_json::from_slice::<Body>(body) else { return false };
    let text = |block: &&Block| block.r#type == "text";
    let asks = |block: &Block| block.text == "Warmup" || block.text.contains(TITLE);
    body.messages.iter().flat_map(|message| &message.content).filter(text).any(asks)
        || body.system.iter().any(|block| block.text.contains(TOPIC))
}

/// The plain answer.
#[must_use]
pub fn answer(model: &str) -> String {
    json!({
        "id": ID, "type": "message", "role": "assistant", "model": model,
        "content": [{"type": "text", "text": "New Conversation"}],
        "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 10, "output_tokens": 2},
    })
    .to_string()
}

/// The answer as a stream.
#[must_use]
pub fn stream(model: &str) -> Vec<u8> {
    let delta = |text| {
        json!({"type": "content_block_delta", "index": 0,
               "delta": {"type": "text_delta", "text": text}})
    };
    let events = [
        json!({"type": "message_start", "message": {
            "id": ID, "type": "message", "role": "assistant", "model": model, "content": [],
            "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": 10, "output_tokens": 0}}}),
        json!({"type": "content_block_start", "index": 0,
               "content_block": {"type": "text", "text": ""}}),
        delta("New"),
        delta(" Conversation"),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
               "usage": {"input_tokens": 10, "output_tokens": 2}}),
        json!({"type": "message_stop"}),
    ];
    let bytes = |data: &serde_json::Value| {
        sse::event(data["type"].as_str().unwrap_or_default(), &data.to_string())
    };
    events.iter().flat_map(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_known_questions_in_blocks_are_warm_ups() {
        let yes = [
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"Warmup"}]}]}"#
                .to_owned(),
            format!(r#"{{"messages":[{{"content":[{{"type":"text","text":"{TITLE} x"}}]}}]}}"#),
            format!(r#"{{"system":[{{"type":"text","text":"A{TOPIC}"}}],"messages":[]}}"#),
        ];
        for body in yes {
            assert!(is_warmup(body.as_bytes()), "{body}");
        }
        let no = [
            r#"{"messages":[{"role":"user","content":"Warmup"}]}"#,
            r#"{"messages":[{"content":[{"type":"text","text":"Warmup now"}]}]}"#,
            r#"{"system":"s","messages":[{"content":[{"type":"text","text":"Warmup"}]}]}"#,
            r#"{"messages":[{"content":[{"type":"image","text":"Warmup"}]}]}"#,
        ];
        for body in no {
            assert!(!is_warmup(body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn a_model_name_with_quotes_stays_valid_json() {
        let model = "a\"b\n";
        let plain: serde_json::Value = serde_json::from_str(&answer(model)).expect("valid");
        assert_eq!(plain["model"], model);
        let stream = stream(model);
        let events: Vec<_> = sse::events(&stream).collect();
        assert_eq!(events.len(), 7);
        let start: serde_json::Value = serde_json::from_slice(&events[0].data).expect("valid");
        assert_eq!(start["message"]["model"], model);
        assert_eq!(events[6].name, b"message_stop");
    }
}
