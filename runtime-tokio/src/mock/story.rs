//! What an answer says: one content block, whole or as the events of a stream.

mod gemini;
mod responses;

use std::iter;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::behaviour::Behaviour;
use crate::protocol::Protocol;
use crate::protocol::gemini::Call;

/// A protocol, with what a request's path says in it.
#[derive(Clone, Copy)]
pub(super) enum Spoken<'a> {
    Messages,
    /// Messages, of which only the tokens are asked for.
    Count,
    /// Which models there are.
    Models(Protocol),
    /// Gemini in an envelope.
    CodeAssist {
        stream: bool,
    },
    Responses,
    Gemini(Call<'a>),
}

impl Spoken<'_> {
    pub(super) const fn protocol(self) -> Protocol {
        match self {
            Self::Messages | Self::Count => Protocol::Anthropic,
            Self::Responses => Protocol::OpenAi,
            Self::Gemini(_) | Self::CodeAssist { .. } => Protocol::Gemini,
            Self::Models(protocol) => protocol,
        }
    }
}

/// What of a request matters for its answer.
#[derive(Deserialize)]
pub(super) struct Asked {
    model: String,
    #[serde(default)]
    pub(super) stream: bool,
    #[serde(skip)]
    purpose: Purpose,
    /// The answer is to be in an envelope.
    #[serde(skip)]
    wrapped: bool,
    #[serde(default)]
    tools: Vec<Tool>,
    tool_choice: Option<ToolChoice>,
}

/// What is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Purpose {
    #[default]
    Answer,
    /// Only how many tokens the request has.
    Count,
    /// Which models there are.
    Models,
}

#[derive(Clone, Deserialize)]
struct Tool {
    name: String,
    #[serde(default)]
    input_schema: Value,
}

#[derive(Deserialize)]
struct ToolChoice {
    #[serde(rename = "type")]
    kind: String,
    name: Option<String>,
}

impl Asked {
    /// Reads a request.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(spoken: Spoken<'_>, body: &[u8]) -> serde_json::Result<Self> {
        match spoken {
            Spoken::Messages => serde_json::from_slice(body),
            Spoken::Count => {
                let asked = serde_json::from_slice::<Self>(body)?;
                Ok(Self { purpose: Purpose::Count, stream: false, ..asked })
            }
            Spoken::Models(_) => Ok(Self {
                model: String::new(),
                stream: false,
                purpose: Purpose::Models,
                wrapped: false,
                tools: Vec::new(),
                tool_choice: None,
            }),
            Spoken::Responses => serde_json::from_slice::<responses::Request>(body).map(Self::from),
            Spoken::CodeAssist { stream } => serde_json::from_slice::<gemini::Envelope>(body)
                .map(|envelope| envelope.asked(stream)),
            Spoken::Gemini(call) => {
                serde_json::from_slice::<gemini::Request>(body).map(|request| request.asked(call))
            }
        }
    }

    /// The tool that is to be called, if one is.
    ///
    /// # Errors
    /// A tool is demanded that is not offered.
    fn tool(&self, unforced: bool) -> Result<Option<&Tool>, String> {
        let first = self.tools.first();
        let (kind, name) = self
            .tool_choice
            .as_ref()
            .map_or(("auto", None), |choice| (&*choice.kind, choice.name.as_deref()));
        match kind {
            "tool" => {
                let name = name.unwrap_or_default();
                let found = self.tools.iter().find(|tool| tool.name == name);
                found.map(Some).ok_or_else(|| {
                    format!("tool_choice.name: \"{name}\" is none of the tools; name one of them")
                })
            }
            "any" if first.is_none() => {
                Err("tool_choice.type: \"any\" without tools; offer one".to_owned())
            }
            "any" => Ok(first),
            "auto" => Ok(first.filter(|_| unforced)),
            "none" => Ok(None),
            other => Err(format!(
                "tool_choice.type: \"{other}\" must be \"auto\", \"any\", \"tool\" or \"none\""
            )),
        }
    }
}

/// One answer.
pub(super) struct Story {
    protocol: Protocol,
    model: String,
    id: String,
    purpose: Purpose,
    wrapped: bool,
    said: Said,
    usage: Value,
}

enum Said {
    /// A greeting and words after it, this many pieces.
    Text { greeting: String, pieces: usize },
    /// A call of a tool; its input in pieces.
    Call { tool: String, input: Value, pieces: Vec<String> },
}

/// Bytes of a request for one token of it, roughly.
const TOKEN_BYTES: usize = 4;
/// Characters of a tool's input in one event.
const PIECE_CHARS: usize = 8;

impl Story {
    /// The answer to the `n`-th request of a key.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub(super) fn new(
        protocol: Protocol,
        asked: &Asked,
        body: &[u8],
        behaviour: &Behaviour,
        n: u64,
    ) -> Result<Self, String> {
        let said = match asked.tool(behaviour.tool)? {
            Some(tool) => {
                let input = sample(&tool.input_schema, SAMPLE_DEPTH_MAX);
                let pieces = pieces(&input.to_string());
                Said::Call { tool: tool.name.clone(), input, pieces }
            }
            None => {
                Said::Text { greeting: behaviour.greeting.clone(), pieces: behaviour.words.max(1) }
            }
        };
        let id = format!("msg_mock_{n}");
        let usage = usage(body, said.pieces(), n);
        let (model, purpose) = (asked.model.clone(), asked.purpose);
        let wrapped = asked.wrapped;
        Ok(Self { protocol, model, id, purpose, wrapped, said, usage })
    }

    /// The answer as a whole.
    pub(super) fn plain(&self) -> Value {
        match (self.purpose, self.protocol) {
            (Purpose::Models, _) => return self.models(),
            (Purpose::Count, Protocol::Anthropic) => {
                return json!({"input_tokens": self.prompt_tokens()});
            }
            (Purpose::Count | Purpose::Answer, _) => {}
        }
        match self.protocol {
            Protocol::Anthropic => self.whole_message(),
            Protocol::OpenAi => self.response(),
            Protocol::Gemini => self.content(),
        }
    }

    /// What there is, in two sizes.
    fn models(&self) -> Value {
        let list = |family: &str, entry: fn(String) -> Value| -> Vec<Value> {
            ["large", "small"].map(|size| entry(format!("{family}-mock-{size}"))).into()
        };
        match self.protocol {
            Protocol::Anthropic => {
                let data = list("claude", |id| {
                    json!({"type": "model", "id": id, "display_name": id,
                           "created_at": "2025-01-01T00:00:00Z"})
                });
                json!({"data": data, "has_more": false})
            }
            Protocol::OpenAi => {
                let data = list(
                    "gpt",
                    |id| json!({"id": id, "object": "model", "created": 1, "owned_by": "mock"}),
                );
                json!({"object": "list", "data": data})
            }
            Protocol::Gemini => {
                let models = list("gemini", |id| {
                    json!({"name": format!("models/{id}"), "inputTokenLimit": 9,
                           "supportedGenerationMethods": ["generateContent"]})
                });
                json!({"models": models})
            }
        }
    }

    /// The answer's events, and whether the pace is kept before each.
    pub(super) fn events(&self) -> Box<dyn Iterator<Item = (Value, bool)> + '_> {
        match self.protocol {
            Protocol::Anthropic => Box::new(self.message_events()),
            Protocol::OpenAi => Box::new(self.response_events()),
            Protocol::Gemini => Box::new(self.content_events()),
        }
    }

    fn whole_message(&self) -> Value {
        let content = match &self.said {
            Said::Text { .. } => json!({"type": "text", "text": self.pieces().collect::<String>()}),
            Said::Call { tool, input, .. } => {
                json!({"type": "tool_use", "id": self.call_id(), "name": tool, "input": input})
            }
        };
        let mut message = self.message();
        message["content"] = json!([content]);
        message["stop_reason"] = self.said.stop_reason().into();
        message["usage"] = self.usage.clone();
        message
    }

    fn message_events(&self) -> impl Iterator<Item = (Value, bool)> {
        let block = match &self.said {
            Said::Text { .. } => json!({"type": "text", "text": ""}),
            Said::Call { tool, .. } => {
                json!({"type": "tool_use", "id": self.call_id(), "name": tool, "input": {}})
            }
        };
        let mut start = self.message();
        start["usage"] = self.usage.clone();
        start["usage"]["output_tokens"] = 1.into();
        let opening = [
            json!({"type": "message_start", "message": start}),
            json!({"type": "ping"}),
            json!({"type": "content_block_start", "index": 0, "content_block": block}),
        ];
        let delta = |piece| match self.said {
            Said::Text { .. } => json!({"type": "text_delta", "text": piece}),
            Said::Call { .. } => json!({"type": "input_json_delta", "partial_json": piece}),
        };
        let deltas = self.pieces().map(
            move |piece| json!({"type": "content_block_delta", "index": 0, "delta": delta(piece)}),
        );
        let stop = json!({"stop_reason": self.said.stop_reason(), "stop_sequence": null});
        let closing = [
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "message_delta", "delta": stop, "usage": self.usage}),
            json!({"type": "message_stop"}),
        ];
        let at_once = |event| (event, false);
        let paced = deltas.map(|event| (event, true));
        opening.into_iter().map(at_once).chain(paced).chain(closing.into_iter().map(at_once))
    }

    pub(super) const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// How many events there are before the last.
    pub(super) fn last(&self) -> usize {
        let around = match self.protocol {
            Protocol::Anthropic => EVENTS_BEFORE + EVENTS_AFTER,
            Protocol::OpenAi => self.events_around(),
            Protocol::Gemini => return self.content_events_count() - 1,
        };
        around + self.said.pieces() - 1
    }

    /// How many events there are before the middle of the content.
    pub(super) fn middle(&self) -> usize {
        let before = match self.protocol {
            Protocol::Anthropic | Protocol::OpenAi => EVENTS_BEFORE,
            Protocol::Gemini => 0,
        };
        before + self.said.pieces() / 2
    }

    /// How many events there are before the one that begins the content.
    pub(super) const fn before_content(&self) -> usize {
        match self.protocol {
            Protocol::Anthropic | Protocol::OpenAi => EVENTS_BEFORE - 1,
            Protocol::Gemini => 0,
        }
    }

    fn message(&self) -> Value {
        json!({"id": self.id, "type": "message", "role": "assistant", "model": self.model,
               "content": [], "stop_reason": null, "stop_sequence": null})
    }

    fn call_id(&self) -> String {
        format!("toolu_{}", self.id)
    }

    fn pieces(&self) -> Box<dyn Iterator<Item = String> + '_> {
        match &self.said {
            Said::Text { greeting, pieces } => {
                let words = WORDS.into_iter().cycle().map(|word| format!(" {word}"));
                Box::new(iter::once(greeting.clone()).chain(words).take(*pieces))
            }
            Said::Call { pieces, .. } => Box::new(pieces.iter().cloned()),
        }
    }
}

const WORDS: [&str; 7] = ["the", "river", "runs", "through", "every", "open", "gate"];
/// Events of a stream before its first piece of content,
const EVENTS_BEFORE: usize = 3;
/// and after its last.
const EVENTS_AFTER: usize = 3;

impl Said {
    const fn stop_reason(&self) -> &'static str {
        match self {
            Self::Text { .. } => "end_turn",
            Self::Call { .. } => "tool_use",
        }
    }

    const fn pieces(&self) -> usize {
        match self {
            Self::Text { pieces, .. } => *pieces,
            Self::Call { pieces, .. } => pieces.len(),
        }
    }
}

/// A word is a token. Of a request that asks for caching, three quarters are written to the cache
/// the first time, and read from it from then on.
fn usage(body: &[u8], output: usize, n: u64) -> Value {
    let input = body.len().div_ceil(TOKEN_BYTES);
    let caches = body.windows(CACHES.len()).any(|part| part == CACHES);
    let cached = if caches { input * 3 / 4 } else { 0 };
    let (written, read) = if n == 1 { (cached, 0) } else { (0, cached) };
    json!({"input_tokens": input - cached, "cache_creation_input_tokens": written,
           "cache_read_input_tokens": read, "output_tokens": output})
}

const CACHES: &[u8] = b"\"cache_control\"";

/// At least two, so that a reader has something to put together.
fn pieces(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    iter::once(String::new()).chain(chars.chunks(PIECE_CHARS).map(|p| p.iter().collect())).collect()
}

/// Schemas deeper than this are filled with null.
const SAMPLE_DEPTH_MAX: u32 = 16;

/// A value that fits a JSON schema, as far as simple ones go.
fn sample(schema: &Value, depth: u32) -> Value {
    if depth == 0 {
        return Value::Null;
    }
    if let Some(value) = schema.get("const").or_else(|| schema["enum"].get(0)) {
        return value.clone();
    }
    let kind = &schema["type"];
    // Of several, the first.
    let kind = kind.as_str().or_else(|| kind[0].as_str()).map(str::to_ascii_lowercase);
    match kind.as_deref() {
        Some("string") => WORDS[1].into(),
        Some("integer" | "number") => 1.into(),
        Some("boolean") => true.into(),
        Some("array") => json!([sample(&schema["items"], depth - 1)]),
        Some("null") => Value::Null,
        // A tool's input is an object also if its schema does not say so.
        _ => {
            let properties = schema["properties"].as_object().into_iter().flatten();
            let one = |(name, schema): (&String, &Value)| (name.clone(), sample(schema, depth - 1));
            properties.map(one).collect::<Map<_, _>>().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story(request: &Value, behaviour: &Behaviour, n: u64) -> Result<Story, String> {
        let body = request.to_string();
        let asked: Asked = serde_json::from_str(&body).expect("a good request");
        Story::new(Protocol::Anthropic, &asked, body.as_bytes(), behaviour, n)
    }

    fn weather(choice: &Value) -> Value {
        json!({"model": "m", "tool_choice": choice, "tools": [
            {"name": "time", "input_schema": {"type": "object"}},
            {"name": "weather", "input_schema": {"type": "object", "properties": {
                "city": {"type": "string"}, "days": {"type": "integer"},
                "unit": {"enum": ["c", "f"]}, "more": {"type": ["array", "null"],
                "items": {"type": "boolean"}}}}}]})
    }

    #[test]
    fn a_tool_that_is_demanded_is_called_alike_plain_and_streaming() {
        let choice = json!({"type": "tool", "name": "weather"});
        let story = story(&weather(&choice), &Behaviour::default(), 1).expect("a good request");
        let plain = story.plain();
        let input = json!({"city": "river", "days": 1, "unit": "c", "more": [true]});
        assert_eq!(plain["stop_reason"], "tool_use");
        assert_eq!(plain["content"][0]["name"], "weather");
        assert_eq!(plain["content"][0]["input"], input);
        let events: Vec<Value> = story.events().map(|(event, _)| event).collect();
        assert_eq!(events.len(), story.last() + 1);
        let parts = events.iter().filter_map(|event| event["delta"]["partial_json"].as_str());
        let text: String = parts.collect();
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), input);
        assert_eq!(events[2]["content_block"]["type"], "tool_use");
    }

    #[test]
    fn whether_a_tool_is_called_is_the_requests_choice_or_else_the_behaviours() {
        let willing = Behaviour { tool: true, ..Behaviour::default() };
        let called = |choice: &Value, behaviour: &Behaviour| {
            let story = story(&weather(choice), behaviour, 1).expect("a good request");
            story.plain()["content"][0]["name"].as_str().map(str::to_owned)
        };
        let first = Some("time".to_owned());
        assert_eq!(called(&Value::Null, &Behaviour::default()), None);
        assert_eq!(called(&Value::Null, &willing), first);
        assert_eq!(called(&json!({"type": "any"}), &Behaviour::default()), first);
        assert_eq!(called(&json!({"type": "none"}), &willing), None);
        let wrong = json!({"type": "tool", "name": "x"});
        let told = story(&weather(&wrong), &willing, 1).err().expect("wrong");
        assert!(told.contains("tool_choice.name: \"x\""), "{told}");
    }

    #[test]
    fn a_cache_is_written_once_and_then_read() {
        let request = json!({"model": "m", "system": [{"cache_control": {"type": "ephemeral"}}]});
        let usage = |n| {
            let story = story(&request, &Behaviour::default(), n).expect("a good request");
            let usage = story.plain()["usage"].clone();
            let of = |name: &str| usage[name].as_u64().expect("a number");
            let cached = (of("cache_creation_input_tokens"), of("cache_read_input_tokens"));
            (cached.0 > 0, cached.1 > 0, of("input_tokens") > 0, of("output_tokens"))
        };
        assert_eq!(usage(1), (true, false, true, 5));
        assert_eq!(usage(2), (false, true, true, 5));
    }

    #[test]
    fn a_story_is_the_same_in_the_words_of_responses() {
        for (choice, name) in
            [("none", "response.output_text"), ("required", "response.function_call_arguments")]
        {
            let request = json!({"model": "m", "stream": true, "tool_choice": choice, "tools": [
                {"type": "function", "name": "time", "parameters": {"type": "object",
                 "properties": {"zone": {"type": "string"}}}}]});
            let body = request.to_string();
            let asked = Asked::read(Spoken::Responses, body.as_bytes()).expect("a good request");
            let behaviour = Behaviour::default();
            let story = Story::new(Protocol::OpenAi, &asked, body.as_bytes(), &behaviour, 1);
            let story = story.expect("a good request");
            let events: Vec<Value> = story.events().map(|(event, _)| event).collect();
            assert_eq!(events.len(), story.last() + 1);
            assert_eq!(events[story.last()]["response"], story.plain());
            let delta = format!("{name}.delta");
            let said = events.iter().filter(|event| event["type"] == *delta);
            let said: String = said.filter_map(|event| event["delta"].as_str()).collect();
            let item = &story.plain()["output"][0];
            let whole =
                if choice == "none" { &item["content"][0]["text"] } else { &item["arguments"] };
            assert_eq!(*whole, said);
        }
    }
}
