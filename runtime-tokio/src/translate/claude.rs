//! What a client of the Messages API is answered: the events of a stream, and the message that they
//! make.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

/// An event of a stream.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Event<'a> {
    MessageStart { message: Message<'a> },
    ContentBlockStart { index: usize, content_block: Block<'a> },
    ContentBlockDelta { index: usize, delta: Delta<'a> },
    ContentBlockStop { index: usize },
    MessageDelta { delta: End, usage: Tokens },
    MessageStop,
    Error { error: Failure<'a> },
}

impl Event<'_> {
    /// Its name.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::MessageStart { .. } => "message_start",
            Self::ContentBlockStart { .. } => "content_block_start",
            Self::ContentBlockDelta { .. } => "content_block_delta",
            Self::ContentBlockStop { .. } => "content_block_stop",
            Self::MessageDelta { .. } => "message_delta",
            Self::MessageStop => "message_stop",
            Self::Error { .. } => "error",
        }
    }
}

/// An answer, or the beginning of one.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename = "message")]
pub(super) struct Message<'a> {
    pub id: Cow<'a, str>,
    pub role: Role,
    pub model: Cow<'a, str>,
    pub content: Vec<Block<'a>>,
    #[serde(flatten)]
    pub end: End,
    pub usage: Tokens,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    Assistant,
}

/// One piece of an answer.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block<'a> {
    Thinking {
        thinking: Cow<'a, str>,
        #[serde(skip_serializing_if = "str::is_empty")]
        signature: Cow<'a, str>,
    },
    Text {
        text: Cow<'a, str>,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: Cow<'a, str>,
        input: Cow<'a, RawValue>,
    },
    ServerToolUse {
        id: Cow<'a, str>,
        name: Cow<'a, str>,
        input: Cow<'a, RawValue>,
    },
    WebSearchToolResult {
        tool_use_id: Cow<'a, str>,
        content: Vec<Page>,
    },
}

/// A page that a web search found.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename = "web_search_result")]
pub(super) struct Page {
    pub url: String,
    pub title: String,
    /// Nothing: what the upstream keeps of a page it keeps to itself.
    pub encrypted_content: &'static str,
    pub page_age: Option<&'static str>,
}

/// What is added to a block.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "type")]
pub(super) enum Delta<'a> {
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "signature_delta")]
    Signature { signature: &'a str },
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: &'a str },
}

/// How an answer ended; nothing yet at its beginning.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct End {
    pub stop_reason: Option<StopReason>,
    /// The upstream does not tell which of them it met.
    pub stop_sequence: Option<&'static str>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StopReason {
    EndTurn,
    MaxTokens,
    ToolUse,
    Refusal,
}

/// Tokens used.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Tokens {
    /// Without those from the cache.
    pub input_tokens: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_read_input_tokens: u64,
    /// With those of thinking.
    pub output_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_tool_use: Option<ServerToolUse>,
}

/// What the upstream's own tools were used for.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct ServerToolUse {
    pub web_search_requests: usize,
}

/// What an error is, and its words.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Failure<'a> {
    #[serde(rename = "type")]
    pub kind: &'a str,
    pub message: &'a str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// An input that says nothing.
pub(super) fn no_input() -> &'static RawValue {
    serde_json::from_str("{}").expect("it is an object")
}
