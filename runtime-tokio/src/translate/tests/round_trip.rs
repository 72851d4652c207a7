//! What a model said comes back to it as it said it: an answer becomes a message, and the message a
//! turn of the next request.

use proptest::prelude::*;

use super::*;

/// Parts as a model makes them, each with or without a seal.
fn parts() -> impl Strategy<Value = Vec<Value>> {
    let part = (0..3_u8, any::<bool>(), 0..100_u32);
    prop::collection::vec(part, 1..8).prop_map(|parts| {
        let mut made: Vec<Value> = Vec::new();
        for (i, (kind, sealed, n)) in parts.into_iter().enumerate() {
            let mut part = match kind {
                0 => json!({"text": format!("thought {n}"), "thought": true}),
                1 => json!({"text": format!("text {n}")}),
                _ => {
                    let id = format!("call_{i}");
                    json!({"functionCall": {"id": id, "name": "f", "args": {"n": n}}})
                }
            };
            let has = |part: &Value, name: &str| part.get(name).is_some();
            // Unsealed parts of one kind run together, as the pieces of one part do in a stream.
            let runs_on = |last: &Value| {
                let alike = ["text", "thought"].iter().all(|n| has(last, n) == has(&part, n));
                kind < 2 && alike && !has(last, "thoughtSignature")
            };
            if made.last().is_some_and(runs_on) {
                continue;
            }
            // Of calls side by side the first is sealed: the upstream insists on it.
            let follows = made.last().is_some_and(|last| last.get("functionCall").is_some());
            if sealed || (kind == 2 && !follows) {
                part["thoughtSignature"] = format!("seal{n}").into();
            }
            made.push(part);
        }
        made
    })
}

/// The parts of the model's turn when this message is said again.
fn said_again(model: &str, message: &Value) -> Value {
    let body = json!({"messages": [
        {"role": "user", "content": "q"},
        {"role": message["role"], "content": message["content"]},
    ]});
    asked(model, &body).expect("an answer of ours")["contents"][1]["parts"].clone()
}

proptest! {
    #[test]
    fn what_was_said_comes_back_as_it_was_said(parts in parts()) {
        let chunk = |part: &Value| json!({"candidates": [{"content": {"parts": [part]}}]});
        let mut chunks: Vec<Value> = parts.iter().map(chunk).collect();
        chunks.push(json!({"candidates": [{"finishReason": "STOP"}]}));
        let message = message_of(stream_of(&chunks)).expect("an answer");
        prop_assert_eq!(said_again("gemini-3-flash", &message), Value::from(parts));
    }
}

#[test]
fn numbers_and_order_of_arguments_stay() {
    let args = r#"{"z":12345678901234567890123,"a":1.10,"m":{"y":0.1e-7,"b":[1]}}"#;
    let call = format!(r#"{{"functionCall":{{"id":"c","name":"f","args":{args}}}}}"#);
    let answer =
        format!(r#"{{"candidates":[{{"content":{{"parts":[{call}]}},"finishReason":"STOP"}}]}}"#);
    let message = crate::translate::whole(answer.as_bytes(), naming()).expect("an answer");
    let message = std::str::from_utf8(&message).expect("UTF-8");
    assert!(message.contains(args), "{message}");
    let body = format!(r#"{{"messages":[{message}]}}"#);
    let upstream = Upstream { model: "gemini-3-flash", project: None };
    let asked = request(body.as_bytes(), &upstream).expect("an answer of ours");
    let asked = std::str::from_utf8(&asked).expect("UTF-8");
    assert!(asked.contains(args), "{asked}");
}
