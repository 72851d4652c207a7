//! The same story in the words of Google's Gemini.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asked, Purpose, Said, Story, Tool, ToolChoice};
use crate::protocol::gemini::{Action, Call};

/// A request of that protocol, but for what its path says.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::mock) struct Request {
    #[serde(default)]
    tools: Vec<Functions>,
    tool_config: Option<ToolConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Functions {
    #[serde(default)]
    function_declarations: Vec<Function>,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    #[serde(default, alias = "parametersJsonSchema", alias = "parameters_json_schema")]
    parameters: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolConfig {
    function_calling_config: Option<Calling>,
}

#[derive(Deserialize)]
struct Calling {
    mode: String,
}

impl Request {
    pub(super) fn asked(self, call: Call<'_>) -> Asked {
        let functions = self.tools.into_iter().flat_map(|tools| tools.function_declarations);
        let tools = functions.map(|f| Tool { name: f.name, input_schema: f.parameters }).collect();
        let calling = self.tool_config.and_then(|config| config.function_calling_config);
        let tool_choice = calling
            .map(|calling| ToolChoice { kind: calling.mode.to_ascii_lowercase(), name: None });
        let stream = call.action == Action::Stream;
        let counts = call.action == Action::CountTokens;
        let purpose = if counts { Purpose::Count } else { Purpose::Answer };
        Asked { model: call.model.to_owned(), stream, purpose, wrapped: false, tools, tool_choice }
    }
}

/// A request in Code Assist's envelope.
#[derive(Deserialize)]
pub(in crate::mock) struct Envelope {
    model: String,
    /// Without one there is no answer.
    #[serde(rename = "project")]
    _project: String,
    request: Request,
}

impl Envelope {
    pub(super) fn asked(self, stream: bool) -> Asked {
        let action = if stream { Action::Stream } else { Action::Generate };
        let asked = self.request.asked(Call { model: &self.model, action });
        Asked { wrapped: true, ..asked }
    }
}

impl Story {
    pub(super) fn content(&self) -> Value {
        if self.purpose == Purpose::Count {
            return json!({"totalTokens": self.prompt_tokens()});
        }
        self.enveloped(self.chunk(&self.parts(), true))
    }

    pub(super) fn prompt_tokens(&self) -> u64 {
        let of = |name: &str| self.usage[name].as_u64().unwrap_or_default();
        of("input_tokens") + of("cache_read_input_tokens") + of("cache_creation_input_tokens")
    }

    /// The events, and whether the pace is kept before each.
    pub(super) fn content_events(&self) -> impl Iterator<Item = (Value, bool)> {
        let said: Vec<Value> = match &self.said {
            Said::Text { .. } => self.pieces().map(|piece| json!({"text": piece})).collect(),
            Said::Call { .. } => vec![self.parts()],
        };
        let pieces = said.into_iter().map(|part| (self.chunk(&part, false), true));
        let last = (self.chunk(&json!({"text": ""}), true), false);
        pieces.chain([last]).map(|(chunk, paced)| (self.enveloped(chunk), paced))
    }

    fn enveloped(&self, answer: Value) -> Value {
        if self.wrapped { json!({"response": answer, "traceId": self.id}) } else { answer }
    }

    /// How many there are.
    pub(super) const fn content_events_count(&self) -> usize {
        match &self.said {
            Said::Text { pieces, .. } => *pieces + 1,
            Said::Call { .. } => 2,
        }
    }

    fn parts(&self) -> Value {
        match &self.said {
            Said::Text { .. } => json!({"text": self.pieces().collect::<String>()}),
            Said::Call { tool, input, .. } => {
                json!({"functionCall": {"id": self.call_id(), "name": tool, "args": input}})
            }
        }
    }

    fn chunk(&self, part: &Value, last: bool) -> Value {
        let mut candidate = json!({"content": {"role": "model", "parts": [part]}, "index": 0});
        if last {
            candidate["finishReason"] = "STOP".into();
        }
        let of = |name: &str| self.usage[name].as_u64().unwrap_or_default();
        let (cached, written) = (of("cache_read_input_tokens"), of("output_tokens"));
        let prompt = self.prompt_tokens();
        json!({"candidates": [candidate], "modelVersion": self.model, "responseId": self.id,
               "usageMetadata": {"promptTokenCount": prompt, "cachedContentTokenCount": cached,
               "candidatesTokenCount": written, "totalTokenCount": prompt + written}})
    }
}
