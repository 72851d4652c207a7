//! The chunks of a streamed answer put together into a plain one.

use serde_json::{Map, Value};

/// The most candidates of an answer that are kept; upstreams make eight at most.
const CANDIDATES_MAX: usize = 64;

/// An answer on its way.
#[derive(Clone, Debug, Default)]
pub struct Merge(Map<String, Value>);

impl Merge {
    /// Takes in a chunk: the parts of its candidates follow those that there are, and of everything
    /// else the last that was said counts. What is no object is passed over.
    pub fn take(&mut self, chunk: Value) {
        let Value::Object(chunk) = chunk else { return };
        for (name, value) in chunk {
            match (&*name, value) {
                ("candidates", Value::Array(new)) => {
                    let all = self.0.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                    if let Value::Array(all) = all {
                        new.into_iter().for_each(|candidate| add_candidate(all, candidate));
                    }
                }
                (_, value) => drop(self.0.insert(name, value)),
            }
        }
    }

    /// Whether all candidates so far have ended, or there will be none.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let said = |value: &Value| !value.is_null();
        let all =
            |all: &Vec<Value>| !all.is_empty() && all.iter().all(|c| said(&c["finishReason"]));
        let blocked = self.0.get("promptFeedback").is_some_and(|f| said(&f["blockReason"]));
        blocked || self.0.get("candidates").and_then(Value::as_array).is_some_and(all)
    }

    /// The answer so far.
    #[must_use]
    pub fn into_json(self) -> String {
        Value::Object(self.0).to_string()
    }
}

/// Which of several answers it belongs to; without a number it is the only one.
fn index(candidate: &Value) -> u64 {
    candidate["index"].as_u64().unwrap_or_default()
}

fn add_candidate(all: &mut Vec<Value>, candidate: Value) {
    let of = index(&candidate);
    let Some(known) = all.iter_mut().find(|known| index(known) == of) else {
        if all.len() < CANDIDATES_MAX {
            all.push(candidate);
        }
        return;
    };
    let (Value::Object(known), Value::Object(candidate)) = (known, candidate) else { return };
    for (name, value) in candidate {
        match (known.get_mut(&name), value) {
            (Some(Value::Object(content)), Value::Object(more)) if name == "content" => {
                add_content(content, more);
            }
            (_, value) => drop(known.insert(name, value)),
        }
    }
}

fn add_content(content: &mut Map<String, Value>, more: Map<String, Value>) {
    for (name, value) in more {
        match (content.get_mut(&name), value) {
            (Some(Value::Array(parts)), Value::Array(more)) if name == "parts" => {
                more.into_iter().for_each(|part| add_part(parts, part));
            }
            (_, value) => drop(content.insert(name, value)),
        }
    }
}

/// A text that goes on is one text, unless either piece bears a signature, which belongs to it alone.
fn add_part(parts: &mut Vec<Value>, part: Value) {
    let goes_on = |last: &Value| {
        let plain = |part: &Value| part["text"].is_string() && part["thoughtSignature"].is_null();
        let is_thought = |part: &Value| part["thought"] == true;
        plain(last) && plain(&part) && is_thought(last) == is_thought(&part)
    };
    match parts.last_mut().filter(|last| goes_on(last)) {
        Some(last) => {
            if let (Value::String(text), Some(more)) = (&mut last["text"], part["text"].as_str()) {
                text.push_str(more);
            }
        }
        None => parts.push(part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merged(chunks: &[Value]) -> Value {
        let mut merge = Merge::default();
        chunks.iter().cloned().for_each(|chunk| merge.take(chunk));
        serde_json::from_str(&merge.into_json()).expect("JSON")
    }

    fn chunk(parts: &Value) -> Value {
        json!({"candidates": [{"content": {"role": "model", "parts": parts}, "index": 0}]})
    }

    #[test]
    fn all_parts_are_kept_in_their_order() {
        let call = json!({"functionCall": {"name": "f"}});
        let answer = merged(&[
            chunk(&json!([{"text": "hm", "thought": true}])),
            chunk(&json!([{"text": "a"}])),
            chunk(&json!([{"text": "ab"}, call])),
            chunk(&json!([call])),
            chunk(&json!([{"text": "s", "thoughtSignature": "x"}])),
            chunk(&json!([{"text": "t"}])),
        ]);
        let want = json!([{"text": "hm", "thought": true}, {"text": "aab"}, call, call,
                          {"text": "s", "thoughtSignature": "x"}, {"text": "t"}]);
        assert_eq!(answer["candidates"][0]["content"]["parts"], want);
    }

    #[test]
    fn of_everything_else_the_last_counts() {
        let mut last = chunk(&json!([{"text": "b"}]));
        last["candidates"][0]["finishReason"] = "STOP".into();
        last["usageMetadata"] = json!({"candidatesTokenCount": 7});
        let mut first = chunk(&json!([{"text": "a"}]));
        first["usageMetadata"] = json!({"candidatesTokenCount": 1});
        first["responseId"] = "r".into();
        let answer = merged(&[first, json!(7), last]);
        assert_eq!(answer["candidates"][0]["finishReason"], "STOP");
        assert_eq!(answer["usageMetadata"], json!({"candidatesTokenCount": 7}));
        assert_eq!(
            (&answer["responseId"], answer["candidates"].as_array().map(Vec::len)),
            (&json!("r"), Some(1))
        );
    }

    #[test]
    fn several_answers_stay_apart() {
        let other = json!({"candidates": [{"content": {"parts": [{"text": "z"}]}, "index": 1}]});
        let answer = merged(&[chunk(&json!([{"text": "a"}])), other.clone(), other]);
        assert_eq!(answer["candidates"][1]["content"]["parts"], json!([{"text": "zz"}]));
    }

    #[test]
    fn no_more_answers_are_kept_than_an_upstream_makes() {
        let mut merge = Merge::default();
        for n in 0..=CANDIDATES_MAX {
            merge.take(json!({"candidates": [{"index": n}]}));
        }
        assert_eq!(merge.0["candidates"].as_array().map(Vec::len), Some(CANDIDATES_MAX));
    }

    #[test]
    fn an_answer_is_finished_when_all_of_its_candidates_are() {
        let mut merge = Merge::default();
        let mut after = |chunk| {
            merge.take(chunk);
            merge.is_finished()
        };
        let ended = |n: u8| json!({"candidates": [{"index": n, "finishReason": "STOP"}]});
        assert!(!after(json!({"candidates": [{"index": 0}, {"index": 1}]})));
        assert!(!after(ended(1)));
        assert!(after(ended(0)));
        let mut blocked = Merge::default();
        blocked.take(json!({"promptFeedback": {"blockReason": "SAFETY"}}));
        assert!(blocked.is_finished());
    }
}
