//! The same story in the words of OpenAI's Responses.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asked, Purpose, Said, Story, Tool, ToolChoice};

/// A request of that protocol.
#[derive(Deserialize)]
pub(in crate::mock) struct Request {
    model: String,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    tools: Vec<Function>,
    tool_choice: Option<Choice>,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    parameters: Value,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Choice {
    Mode(String),
    Named { name: String },
}

impl From<Request> for Asked {
    fn from(request: Request) -> Self {
        let Request { model, stream, tools, tool_choice } = request;
        let tools =
            tools.into_iter().map(|f| Tool { name: f.name, input_schema: f.parameters }).collect();
        let tool_choice = tool_choice.map(|choice| match choice {
            Choice::Mode(mode) if mode == "required" => {
                ToolChoice { kind: "any".into(), name: None }
            }
            Choice::Mode(kind) => ToolChoice { kind, name: None },
            Choice::Named { name } => ToolChoice { kind: "tool".into(), name: Some(name) },
        });
        Self { model, stream, purpose: Purpose::Answer, wrapped: false, tools, tool_choice }
    }
}

impl Story {
    pub(super) fn response(&self) -> Value {
        self.response_of("completed", json!([self.item("completed")]), self.tokens())
    }

    fn response_of(&self, status: &str, output: Value, usage: Value) -> Value {
        json!({"id": format!("resp_{}", self.id), "object": "response", "created_at": 1_700_000_000,
               "status": status, "model": self.model, "output": output, "usage": usage,
               "error": null, "incomplete_details": null, "instructions": null, "metadata": {},
               "parallel_tool_calls": true, "temperature": 1.0, "tool_choice": "auto", "tools": [],
               "top_p": 1.0})
    }

    /// What was read counts with what was read from the cache.
    fn tokens(&self) -> Value {
        let of = |name: &str| self.usage[name].as_u64().unwrap_or_default();
        let cached = of("cache_read_input_tokens");
        let input = of("input_tokens") + cached + of("cache_creation_input_tokens");
        json!({"input_tokens": input, "input_tokens_details": {"cached_tokens": cached},
               "output_tokens": of("output_tokens"), "total_tokens": input + of("output_tokens"),
               "output_tokens_details": {"reasoning_tokens": 0}})
    }

    fn item(&self, status: &str) -> Value {
        let whole = status == "completed";
        match &self.said {
            Said::Text { .. } => {
                let content = if whole { json!([part(&self.text())]) } else { json!([]) };
                json!({"type": "message", "id": self.id, "status": status, "role": "assistant",
                       "content": content})
            }
            Said::Call { tool, input, .. } => {
                let arguments = if whole { input.to_string() } else { String::new() };
                json!({"type": "function_call", "id": format!("fc_{}", self.id), "status": status,
                       "call_id": self.call_id(), "name": tool, "arguments": arguments})
            }
        }
    }

    fn text(&self) -> String {
        self.pieces().collect()
    }

    /// How many events of a stream are none of its pieces.
    pub(super) const fn events_around(&self) -> usize {
        match self.said {
            Said::Text { .. } => 8,
            Said::Call { .. } => 6,
        }
    }

    /// The events, and whether the pace is kept before each.
    pub(super) fn response_events(&self) -> impl Iterator<Item = (Value, bool)> {
        let id = self.item("completed")["id"].clone();
        let deltas = self.pieces().map(move |delta| {
            let event = json!({"type": format!("{}.delta", self.content_name()), "item_id": id,
                "output_index": 0, "content_index": 0, "delta": delta, "logprobs": []});
            (event, true)
        });
        let at_once = |event| (event, false);
        let opening = self.opening().into_iter().map(at_once);
        let all = opening.chain(deltas).chain(self.closing().into_iter().map(at_once));
        all.enumerate().map(|(n, (mut event, paced))| {
            event["sequence_number"] = n.into();
            (event, paced)
        })
    }

    const fn content_name(&self) -> &'static str {
        match self.said {
            Said::Text { .. } => "response.output_text",
            Said::Call { .. } => "response.function_call_arguments",
        }
    }

    fn opening(&self) -> Vec<Value> {
        let begun = self.response_of("in_progress", json!([]), Value::Null);
        let item = self.item("in_progress");
        let part = self.part_event("added", "");
        let mut events = vec![
            json!({"type": "response.created", "response": begun}),
            json!({"type": "response.in_progress", "response": begun}),
            json!({"type": "response.output_item.added", "output_index": 0, "item": item}),
        ];
        events.extend(part);
        events
    }

    fn closing(&self) -> Vec<Value> {
        let item = self.item("completed");
        let (field, text) = match &self.said {
            Said::Text { .. } => ("text", self.text()),
            Said::Call { input, .. } => ("arguments", input.to_string()),
        };
        let mut events = vec![json!({"type": format!("{}.done", self.content_name()),
            "item_id": item["id"], "output_index": 0, "content_index": 0, field: text,
            "logprobs": []})];
        events.extend(self.part_event("done", &text));
        events.extend([
            json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
            json!({"type": "response.completed", "response": self.response()}),
        ]);
        events
    }

    /// Text is a part of its item; a call has none.
    fn part_event(&self, what: &str, text: &str) -> Option<Value> {
        matches!(self.said, Said::Text { .. }).then(|| {
            json!({"type": format!("response.content_part.{what}"), "item_id": self.id,
                   "output_index": 0, "content_index": 0, "part": part(text)})
        })
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": []})
}
