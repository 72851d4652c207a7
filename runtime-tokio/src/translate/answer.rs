//! An answer of Gemini's, chunk by chunk, as events of the Messages API.
//!
//! Chunks add to each other and are never compared with what came before: text that repeats itself
//! is text. The end is told when the upstream is done, as a reason to stop may come with every
//! chunk and the tokens used after it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::claude::{
    Block, Delta, End, Message, Page, Role, ServerToolUse, StopReason, Tokens, no_input,
};
use super::emit::{Emitter, Kind, Sink};
use super::fault;
use super::gemini::{
    Blob, Candidate, Chunk, FunctionCall, GroundingMetadata, Part, UsageMetadata, Web,
};
use super::seal::Seal;
use crate::protocol::error::ApiError;

/// The most calls of one answer.
const CALLS_MAX: usize = 1_024;
/// The longest id that is taken over, in bytes.
const ID_BYTES_MAX: usize = 128;

/// What an answer is called.
#[derive(Clone, Debug)]
pub struct Naming {
    /// The model, as the client calls it.
    pub model: String,
    /// What no other answer has: ids are made of it where the upstream gives none.
    pub nonce: u128,
}

/// An answer on its way.
#[derive(Debug)]
pub(super) struct Answer<S> {
    emit: Emitter<S>,
    naming: Naming,
    /// The ids of calls that have been handed out.
    ids: BTreeSet<String>,
    /// Of the thinking that is open, told when it closes.
    seal: Option<String>,
    usage: UsageMetadata,
    found: GroundingMetadata,
    finish: Option<Finish>,
}

/// How the model ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finish {
    Whole,
    Cut,
    Refused,
    MalformedCall,
}

impl Finish {
    /// Reasons that are not known end an answer as if it were whole: that it ended is all they say.
    fn of(reason: &str) -> Self {
        match reason {
            "MAX_TOKENS" => Self::Cut,
            "SAFETY"
            | "RECITATION"
            | "LANGUAGE"
            | "BLOCKLIST"
            | "PROHIBITED_CONTENT"
            | "SPII"
            | "IMAGE_SAFETY"
            | "IMAGE_PROHIBITED_CONTENT"
            | "IMAGE_RECITATION" => Self::Refused,
            "MALFORMED_FUNCTION_CALL"
            | "UNEXPECTED_TOOL_CALL"
            | "TOO_MANY_TOOL_CALLS"
            | "MALFORMED_RESPONSE" => Self::MalformedCall,
            _ => Self::Whole,
        }
    }
}

impl<S: Sink> Answer<S> {
    pub(super) fn new(naming: Naming, sink: S) -> Self {
        Self {
            emit: Emitter::new(sink),
            naming,
            ids: BTreeSet::new(),
            seal: None,
            usage: UsageMetadata::default(),
            found: GroundingMetadata::default(),
            finish: None,
        }
    }

    /// Whether nothing will follow.
    pub(super) fn is_over(&self) -> bool {
        self.emit.is_after()
    }

    /// Whether the model has said why it ends.
    pub(super) const fn is_finishing(&self) -> bool {
        self.finish.is_some()
    }

    pub(super) const fn sink_mut(&mut self) -> &mut S {
        self.emit.sink_mut()
    }

    pub(super) fn into_sink(self) -> S {
        self.emit.into_sink()
    }

    /// Takes in a chunk.
    pub(super) fn take(&mut self, chunk: Chunk<'_>) -> Result<(), ApiError> {
        self.usage.update(chunk.usage_metadata.unwrap_or_default());
        if self.emit.is_before() {
            self.start(chunk.response_id);
        }
        if chunk.prompt_feedback.is_some_and(|feedback| feedback.block_reason.is_some()) {
            self.finish = Some(Finish::Refused);
        }
        // One answer is asked for.
        let Some(candidate) = chunk.candidates.unwrap_or_default().into_iter().next() else {
            return Ok(());
        };
        let Candidate { content, finish_reason, grounding_metadata } = candidate;
        for part in content.and_then(|content| content.parts).unwrap_or_default() {
            self.part(part)?;
        }
        self.found.update(grounding_metadata.unwrap_or_default());
        if let Some(reason) = finish_reason.filter(|reason| !reason.is_empty()) {
            self.finish = Some(Finish::of(&reason));
        }
        Ok(())
    }

    /// The upstream is done.
    pub(super) fn end(&mut self) -> Result<(), ApiError> {
        let finish = self.finish.ok_or_else(fault::broke_off)?;
        let stop_reason = match finish {
            Finish::MalformedCall => return Err(fault::malformed_call()),
            Finish::Cut => StopReason::MaxTokens,
            Finish::Refused => StopReason::Refusal,
            Finish::Whole if self.ids.is_empty() => StopReason::EndTurn,
            Finish::Whole => StopReason::ToolUse,
        };
        let tokens = self.tokens();
        self.close();
        self.tell_found();
        self.emit.end(stop_reason, tokens);
        Ok(())
    }

    /// The upstream gave up, or we did.
    pub(super) fn fail(&mut self, error: &ApiError) {
        self.emit.fail(error);
    }

    fn start(&mut self, id: Option<Cow<'_, str>>) {
        let usage = self.tokens();
        let made = || Cow::Owned(format!("msg_{:032x}", self.naming.nonce));
        let message = Message {
            id: id.filter(|id| is_id(id)).unwrap_or_else(made),
            role: Role::Assistant,
            model: Cow::Borrowed(&self.naming.model),
            content: Vec::new(),
            end: End::default(),
            usage,
        };
        self.emit.start(message);
    }

    fn part(&mut self, part: Part<'_>) -> Result<(), ApiError> {
        let seal = part.thought_signature.as_deref().filter(|seal| !seal.is_empty());
        if let Some(call) = part.function_call {
            return self.call(call, seal);
        }
        if let Some(Blob { mime_type, data }) = part.inline_data {
            // The Messages API has no images in answers.
            self.text(&format!("![image](data:{mime_type};base64,{data})"));
        }
        let text = part.text.as_deref().unwrap_or_default();
        if part.thought == Some(true) {
            self.thinking(text, seal);
        } else {
            if !text.is_empty() {
                self.text(text);
            }
            if let Some(seal) = seal {
                self.seal_text(seal);
            }
        }
        Ok(())
    }

    fn thinking(&mut self, text: &str, seal: Option<&str>) {
        // What is sealed is whole.
        if self.seal.is_some() {
            self.close();
        }
        if text.is_empty() && seal.is_none() {
            return;
        }
        self.open(Kind::Thinking);
        if !text.is_empty() {
            self.emit.add(Delta::Thinking { thinking: text });
        }
        self.seal = seal.map(|seal| Seal::Thought(seal.into()).kept());
    }

    /// A seal on text, which may be empty. Behind thinking that has none it is the thinking's: so it
    /// comes from upstreams that tell it when the thinking has ended.
    fn seal_text(&mut self, seal: &str) {
        if self.emit.open_kind() == Some(Kind::Thinking) && self.seal.is_none() {
            self.seal = Some(Seal::Thought(seal.into()).kept());
        } else {
            self.close();
            self.sealed_thinking(&Seal::Text(seal.into()));
        }
        self.close();
    }

    fn text(&mut self, text: &str) {
        self.open(Kind::Text);
        self.emit.add(Delta::Text { text });
    }

    fn call(&mut self, call: FunctionCall<'_>, seal: Option<&str>) -> Result<(), ApiError> {
        if let Some(seal) = seal {
            self.sealed_thinking(&Seal::Call(seal.into()));
        }
        self.close();
        if self.ids.len() == CALLS_MAX {
            return Err(fault::too_large());
        }
        let id = self.call_id(call.id);
        let input = Cow::Borrowed(no_input());
        self.emit.open(Block::ToolUse { id: Cow::Borrowed(&id), name: call.name, input });
        if let Some(args) = call.args {
            self.emit.add(Delta::InputJson { partial_json: args.get() });
        }
        self.emit.close();
        self.ids.insert(id);
        Ok(())
    }

    /// The upstream's id, if it is one and none before had it.
    fn call_id(&self, given: Option<Cow<'_, str>>) -> String {
        let given = given.filter(|id| is_id(id) && !self.ids.contains(&**id));
        let mut at = self.ids.len();
        given.map_or_else(
            || loop {
                let id = format!("toolu_{:032x}{at:04x}", self.naming.nonce);
                if !self.ids.contains(&id) {
                    break id;
                }
                at += 1;
            },
            Cow::into_owned,
        )
    }

    /// Puts a seal on the thinking that is open, if it has none, or on empty thinking of its own.
    fn sealed_thinking(&mut self, seal: &Seal<'_>) {
        if self.seal.is_some() {
            self.close();
        }
        self.open(Kind::Thinking);
        self.seal = Some(seal.kept());
    }

    /// Makes sure that a block of this kind is open.
    fn open(&mut self, kind: Kind) {
        if self.emit.open_kind() == Some(kind) {
            return;
        }
        self.close();
        let nothing = Cow::Borrowed("");
        self.emit.open(match kind {
            Kind::Thinking => Block::Thinking { thinking: nothing.clone(), signature: nothing },
            Kind::Text | Kind::Input | Kind::Whole => Block::Text { text: nothing },
        });
    }

    /// Closes the block that is open, if one is.
    fn close(&mut self) {
        if let Some(signature) = self.seal.take() {
            self.emit.add(Delta::Signature { signature: &signature });
        }
        if self.emit.open_kind().is_some() {
            self.emit.close();
        }
    }

    /// What the upstream's web search was asked and found, as that tool's own blocks.
    fn tell_found(&mut self) {
        let GroundingMetadata { web_search_queries, grounding_chunks } =
            std::mem::take(&mut self.found);
        let (queries, chunks) = (web_search_queries.unwrap_or_default(), grounding_chunks);
        if queries.is_empty() {
            return;
        }
        let page = |Web { uri, title }| {
            let (url, title) = (uri.unwrap_or_default(), title.unwrap_or_default());
            Page { url, title, encrypted_content: "", page_age: None }
        };
        let pages = chunks.into_iter().flatten().filter_map(|chunk| chunk.web).map(page).collect();
        let id = format!("srvtoolu_{:032x}", self.naming.nonce);
        let input = Cow::Borrowed(no_input());
        let (tool_use_id, name) = (Cow::Borrowed(&*id), Cow::Borrowed("web_search"));
        self.emit.open(Block::ServerToolUse { id: tool_use_id.clone(), name, input });
        let asked = serde_json::json!({ "query": queries.join("; ") }).to_string();
        self.emit.add(Delta::InputJson { partial_json: &asked });
        self.emit.close();
        self.emit.open(Block::WebSearchToolResult { tool_use_id, content: pages });
        self.emit.close();
    }

    fn tokens(&self) -> Tokens {
        let UsageMetadata {
            prompt_token_count: prompt,
            cached_content_token_count: cached,
            tool_use_prompt_token_count: tools,
            candidates_token_count: said,
            thoughts_token_count: thought,
        } = self.usage;
        let sum = |a: Option<u64>, b: Option<u64>| {
            a.unwrap_or_default().saturating_add(b.unwrap_or_default())
        };
        let cached = cached.unwrap_or_default();
        let searches = self.found.web_search_queries.as_ref().map_or(0, Vec::len);
        Tokens {
            input_tokens: sum(prompt, tools).saturating_sub(cached),
            cache_read_input_tokens: cached,
            output_tokens: sum(said, thought),
            server_tool_use: (searches > 0)
                .then_some(ServerToolUse { web_search_requests: searches }),
        }
    }
}

/// What clients take for an id.
fn is_id(id: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

impl UsageMetadata {
    /// Each count as last named.
    fn update(&mut self, said: Self) {
        *self = Self {
            prompt_token_count: said.prompt_token_count.or(self.prompt_token_count),
            cached_content_token_count: said
                .cached_content_token_count
                .or(self.cached_content_token_count),
            tool_use_prompt_token_count: said
                .tool_use_prompt_token_count
                .or(self.tool_use_prompt_token_count),
            candidates_token_count: said.candidates_token_count.or(self.candidates_token_count),
            thoughts_token_count: said.thoughts_token_count.or(self.thoughts_token_count),
        };
    }
}

impl GroundingMetadata {
    /// Each list as last told.
    fn update(&mut self, said: Self) {
        let Self { web_search_queries: queries, grounding_chunks: chunks } = said;
        self.web_search_queries = queries.or_else(|| self.web_search_queries.take());
        self.grounding_chunks = chunks.or_else(|| self.grounding_chunks.take());
    }
}
