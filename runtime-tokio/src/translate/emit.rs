//! The grammar of an answer: a start; blocks one after the other, each opened, added to and closed;
//! an end. Whoever emits, nothing leaves that is not in this order.
//!
//! Where events go is a [`Sink`]: onto the wire, or into one message.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::claude::{Block, Delta, End, Event, Failure, Message, StopReason, Tokens, no_input};
use crate::protocol::error::ApiError;

/// Where events go.
pub(super) trait Sink {
    fn take(&mut self, event: Event<'_>);
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Before,
    Between,
    Within(Kind),
    After,
}

/// What may be added to a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Thinking,
    Text,
    Input,
    /// Nothing: it opens as all that it is.
    Whole,
}

/// Hands events out in their order; asking for another is a bug, and a panic.
#[derive(Debug)]
pub(super) struct Emitter<S> {
    sink: S,
    phase: Phase,
    /// The place of the block that is open or comes next.
    index: usize,
}

impl<S: Sink> Emitter<S> {
    pub(super) const fn new(sink: S) -> Self {
        Self { sink, phase: Phase::Before, index: 0 }
    }

    /// The kind of the block that is open.
    pub(super) const fn open_kind(&self) -> Option<Kind> {
        match self.phase {
            Phase::Within(kind) => Some(kind),
            Phase::Before | Phase::Between | Phase::After => None,
        }
    }

    pub(super) fn is_before(&self) -> bool {
        self.phase == Phase::Before
    }

    pub(super) fn is_after(&self) -> bool {
        self.phase == Phase::After
    }

    pub(super) fn start(&mut self, message: Message<'_>) {
        assert_eq!(self.phase, Phase::Before, "an answer starts once");
        self.phase = Phase::Between;
        self.sink.take(Event::MessageStart { message });
    }

    pub(super) fn open(&mut self, content_block: Block<'_>) {
        assert_eq!(self.phase, Phase::Between, "a block opens behind another's end");
        self.phase = Phase::Within(match content_block {
            Block::Thinking { .. } => Kind::Thinking,
            Block::Text { .. } => Kind::Text,
            Block::ToolUse { .. } | Block::ServerToolUse { .. } => Kind::Input,
            Block::WebSearchToolResult { .. } => Kind::Whole,
        });
        self.sink.take(Event::ContentBlockStart { index: self.index, content_block });
    }

    pub(super) fn add(&mut self, delta: Delta<'_>) {
        let kind = match delta {
            Delta::Thinking { .. } | Delta::Signature { .. } => Kind::Thinking,
            Delta::Text { .. } => Kind::Text,
            Delta::InputJson { .. } => Kind::Input,
        };
        assert_eq!(self.phase, Phase::Within(kind), "a block is added what is of its kind");
        self.sink.take(Event::ContentBlockDelta { index: self.index, delta });
    }

    pub(super) fn close(&mut self) {
        assert!(self.open_kind().is_some(), "only what is open closes");
        self.phase = Phase::Between;
        self.sink.take(Event::ContentBlockStop { index: self.index });
        self.index += 1;
    }

    pub(super) fn end(&mut self, stop_reason: StopReason, usage: Tokens) {
        assert_eq!(self.phase, Phase::Between, "an answer ends behind a block's end");
        self.phase = Phase::After;
        let delta = End { stop_reason: Some(stop_reason), stop_sequence: None };
        self.sink.take(Event::MessageDelta { delta, usage });
        self.sink.take(Event::MessageStop);
    }

    /// The end at any place before it.
    pub(super) fn fail(&mut self, error: &ApiError) {
        assert_ne!(self.phase, Phase::After, "an answer ends once");
        self.phase = Phase::After;
        let error = Failure { kind: &error.kind, message: &error.message };
        self.sink.take(Event::Error { error });
    }

    pub(super) const fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }

    pub(super) fn into_sink(self) -> S {
        self.sink
    }
}

/// Events as the bytes of a stream.
#[derive(Debug, Default)]
pub(super) struct Wire(pub(super) Vec<u8>);

impl Sink for Wire {
    fn take(&mut self, event: Event<'_>) {
        let out = &mut self.0;
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(event.name().as_bytes());
        out.extend_from_slice(b"\ndata: ");
        serde_json::to_writer(&mut *out, &event).expect("an event always has a JSON form");
        out.extend_from_slice(b"\n\n");
    }
}

/// Events as the message that they make. That of a failed answer is never asked for.
#[derive(Debug, Default)]
pub(super) struct Built {
    message: Option<Message<'static>>,
    /// The input of the tool's block that is open.
    input: String,
}

impl Built {
    pub(super) fn into_message(self) -> Message<'static> {
        self.message.expect("an answer that ended has started")
    }

    fn content(&mut self) -> &mut Vec<Block<'static>> {
        &mut self.message.as_mut().expect("an answer starts before its blocks").content
    }

    fn add(&mut self, delta: Delta<'_>) {
        if let Delta::InputJson { partial_json } = delta {
            self.input.push_str(partial_json);
            return;
        }
        match (self.content().last_mut(), delta) {
            (Some(Block::Text { text }), Delta::Text { text: more }) => {
                text.to_mut().push_str(more);
            }
            (Some(Block::Thinking { thinking, .. }), Delta::Thinking { thinking: more }) => {
                thinking.to_mut().push_str(more);
            }
            (Some(Block::Thinking { signature, .. }), Delta::Signature { signature: s }) => {
                signature.to_mut().push_str(s);
            }
            (block, delta) => unreachable!("{delta:?} belongs to no {block:?}"),
        }
    }

    fn close(&mut self) {
        let told = std::mem::take(&mut self.input);
        let Ok(told) = RawValue::from_string(told) else { return };
        if let Some(Block::ToolUse { input, .. } | Block::ServerToolUse { input, .. }) =
            self.content().last_mut()
        {
            *input = Cow::Owned(told);
        }
    }
}

impl Sink for Built {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::MessageStart { message } => self.message = Some(message.into_owned()),
            Event::ContentBlockStart { content_block, .. } => {
                self.content().push(content_block.into_owned());
            }
            Event::ContentBlockDelta { delta, .. } => self.add(delta),
            Event::ContentBlockStop { .. } => self.close(),
            Event::MessageDelta { delta, usage } => {
                let message = self.message.as_mut().expect("an answer starts before it ends");
                (message.end, message.usage) = (delta, usage);
            }
            Event::MessageStop | Event::Error { .. } => {}
        }
    }
}

impl Message<'_> {
    fn into_owned(self) -> Message<'static> {
        let Message { id, role, model, content, end, usage } = self;
        let content = content.into_iter().map(Block::into_owned).collect();
        Message { id: owned(id), role, model: owned(model), content, end, usage }
    }
}

impl Block<'_> {
    /// The block as it opens: inputs come as deltas.
    fn into_owned(self) -> Block<'static> {
        let input = Cow::Borrowed(no_input());
        match self {
            Self::Thinking { thinking, signature } => {
                Block::Thinking { thinking: owned(thinking), signature: owned(signature) }
            }
            Self::Text { text } => Block::Text { text: owned(text) },
            Self::ToolUse { id, name, .. } => {
                Block::ToolUse { id: owned(id), name: owned(name), input }
            }
            Self::ServerToolUse { id, name, .. } => {
                Block::ServerToolUse { id: owned(id), name: owned(name), input }
            }
            Self::WebSearchToolResult { tool_use_id, content } => {
                Block::WebSearchToolResult { tool_use_id: owned(tool_use_id), content }
            }
        }
    }
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}
