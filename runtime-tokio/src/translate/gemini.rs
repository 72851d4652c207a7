//! What the Gemini API is asked and what it answers, as far as a translation needs it.
//!
//! The same parts stand in requests and in answers, so that what an answer said can be said again.

use std::borrow::Cow;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

/// The body of `generateContent`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request<'a> {
    pub contents: Vec<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_instruction: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_config: Option<ToolConfig<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation_config: Option<GenerationConfig<'a>>,
}

/// The body of `countTokens`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CountRequest<'a> {
    pub generate_content_request: Counted<'a>,
}

/// A request whose tokens are counted.
#[derive(Debug, Serialize)]
pub(super) struct Counted<'a> {
    pub model: String,
    #[serde(flatten)]
    pub request: Request<'a>,
}

/// The body of Code Assist's `generateContent`: the same in an envelope.
#[derive(Debug, Serialize)]
pub(super) struct Envelope<'a> {
    pub model: &'a str,
    pub project: &'a str,
    pub request: &'a Request<'a>,
}

/// What one side said.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Content<'a> {
    #[serde(skip_deserializing)]
    pub role: Role,
    #[serde(borrow, default)]
    pub parts: Option<Vec<Part<'a>>>,
}

/// Who said it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    User,
    #[default]
    Model,
}

/// One piece of what was said. Kinds that are not known have none of these fields.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Cow<'a, str>>,
    /// The text is the model's thinking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thought: Option<bool>,
    /// The model's own seal on this part, which must come back with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thought_signature: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline_data: Option<Blob<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_data: Option<FileData<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub function_call: Option<FunctionCall<'a>>,
    #[serde(default, skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub function_response: Option<FunctionResponse<'a>>,
}

impl<'a> Part<'a> {
    pub(super) fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }

    pub(super) fn inline(mime_type: impl Into<Cow<'a, str>>, data: Cow<'a, str>) -> Self {
        let blob = Blob { mime_type: mime_type.into(), data };
        Self { inline_data: Some(blob), ..Self::default() }
    }

    pub(super) fn file(file_uri: Cow<'a, str>, mime_type: Option<&'static str>) -> Self {
        let file = FileData { mime_type: mime_type.map(Cow::Borrowed), file_uri };
        Self { file_data: Some(file), ..Self::default() }
    }

    pub(super) fn call(call: FunctionCall<'a>) -> Self {
        Self { function_call: Some(call), ..Self::default() }
    }

    pub(super) fn response(response: FunctionResponse<'a>) -> Self {
        Self { function_response: Some(response), ..Self::default() }
    }
}

/// Bytes, in base64.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Blob<'a> {
    pub mime_type: Cow<'a, str>,
    pub data: Cow<'a, str>,
}

/// Bytes that stand elsewhere.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileData<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<Cow<'a, str>>,
    pub file_uri: Cow<'a, str>,
}

/// What the model wants of a tool.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct FunctionCall<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Cow<'a, str>>,
    #[serde(default)]
    pub name: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub args: Option<&'a RawValue>,
}

/// What a tool said.
#[derive(Debug, Serialize)]
pub(super) struct FunctionResponse<'a> {
    pub id: Cow<'a, str>,
    pub name: Cow<'a, str>,
    pub response: Outcome<'a>,
}

/// How a tool's call ended.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome<'a> {
    Result(Cow<'a, str>),
    Error(Cow<'a, str>),
}

/// What the model may use.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Tool<'a> {
    FunctionDeclarations(Vec<Declaration<'a>>),
    GoogleSearch {},
}

/// A tool that the client has.
#[derive(Debug, Serialize)]
pub(super) struct Declaration<'a> {
    pub name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Cow<'a, str>>,
    pub parameters: Schema<'a>,
}

/// Which tools the model may or must use.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolConfig<'a> {
    pub function_calling_config: CallingConfig<'a>,
}

/// See [`ToolConfig`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CallingConfig<'a> {
    pub mode: Mode,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_function_names: Vec<Cow<'a, str>>,
}

/// See [`ToolConfig`].
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Mode {
    Auto,
    Any,
    None,
}

/// How the answer is made.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GenerationConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop_sequences: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking_config: Option<ThinkingConfig>,
}

/// How much the model thinks before it speaks.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ThinkingConfig {
    pub include_thoughts: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking_budget: Option<u64>,
}

/// The types that a schema can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Type {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

/// What a value may be, in the keywords that every upstream of this protocol takes.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Schema<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Type>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<&'static str>,
    #[serde(skip_serializing_if = "is_false")]
    pub nullable: bool,
    #[serde(rename = "enum", skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub properties: Option<Properties<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Box<Self>>,
    /// Where this is set, nothing else may be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub any_of: Vec<Self>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// An object's properties, in the order in which they were declared.
#[derive(Clone, Debug, Default)]
pub(super) struct Properties<'a>(pub Vec<(Cow<'a, str>, Schema<'a>)>);

impl Serialize for Properties<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, schema)| (name, schema)))
    }
}

/// One chunk of an answer, or a whole one.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Chunk<'a> {
    #[serde(default)]
    pub response_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub candidates: Option<Vec<Candidate<'a>>>,
    #[serde(default)]
    pub prompt_feedback: Option<PromptFeedback>,
    #[serde(default)]
    pub usage_metadata: Option<UsageMetadata>,
}

/// One of the answers that were asked for; we ask for one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate<'a> {
    #[serde(borrow, default)]
    pub content: Option<Content<'a>>,
    #[serde(default)]
    pub finish_reason: Option<String>,
    #[serde(default)]
    pub grounding_metadata: Option<GroundingMetadata>,
}

/// Why a prompt was not answered.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PromptFeedback {
    #[serde(default)]
    pub block_reason: Option<String>,
}

/// Tokens used so far.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct UsageMetadata {
    /// Those from the cache among them.
    pub prompt_token_count: Option<u64>,
    pub cached_content_token_count: Option<u64>,
    /// What tools of the upstream added to the prompt.
    pub tool_use_prompt_token_count: Option<u64>,
    /// Without thoughts.
    pub candidates_token_count: Option<u64>,
    pub thoughts_token_count: Option<u64>,
}

/// What the upstream's own web search found.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct GroundingMetadata {
    pub web_search_queries: Option<Vec<String>>,
    pub grounding_chunks: Option<Vec<GroundingChunk>>,
}

/// See [`GroundingMetadata`].
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct GroundingChunk {
    pub web: Option<Web>,
}

/// A page that was found.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Web {
    pub uri: Option<String>,
    pub title: Option<String>,
}
