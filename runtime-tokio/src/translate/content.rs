//! What client and model have said so far.
//!
//! Turns of the same side that follow each other are one; a turn that says nothing is none.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::Family;
use super::gemini::{Content, FunctionCall, FunctionResponse, Outcome, Part, Role};
use super::media;
use super::read::{self, Fields, Kind, Locate, Wrong};
use super::seal::{self, Seal};

/// What some clients send in the place of an empty text.
const PLACEHOLDER: &str = "(no content)";
/// What the model is told of a tool that failed and said nothing.
const FAILED_SILENTLY: &str = "Tool execution failed with no output.";

/// Reads `messages`.
pub(super) fn contents<'a>(fields: &Fields<'a>, family: Family) -> Result<Vec<Content<'a>>, Wrong> {
    const NAME: &str = "messages";
    let raw = fields.need(NAME)?;
    let messages = read::list(raw).map_err(|_| Wrong::new("messages must be an array"))?;
    let mut told = Told { family, names: BTreeMap::new(), contents: Vec::new() };
    for (i, raw) in messages.into_iter().enumerate() {
        told.message(raw).at(i).at(NAME)?;
    }
    if told.contents.is_empty() {
        return Err(Wrong::new("at least one must say something")).at(NAME);
    }
    Ok(told.contents)
}

struct Told<'a> {
    family: Family,
    /// The tools that were called, by the ids of the calls.
    names: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    contents: Vec<Content<'a>>,
}

impl<'a> Told<'a> {
    fn message(&mut self, raw: &'a RawValue) -> Result<(), Wrong> {
        let message = Fields::read(raw)?;
        let role = match &*message.need_text("role")? {
            "assistant" => Role::Model,
            _ => Role::User,
        };
        let mut turn = Turn { told: self, parts: Vec::new(), aside: Vec::new(), seal: None };
        turn.read(&message).at("content")?;
        let parts = turn.into_parts();
        match self.contents.last_mut() {
            _ if parts.is_empty() => {}
            Some(Content { role: last, parts: Some(before) }) if *last == role => {
                before.extend(parts);
            }
            _ => self.contents.push(Content { role, parts: Some(parts) }),
        }
        Ok(())
    }
}

/// A message on its way to parts.
struct Turn<'a, 't> {
    told: &'t mut Told<'a>,
    parts: Vec<Part<'a>>,
    /// What tools showed besides words: behind the run of their results, of which the upstream
    /// wants as many as there were calls, side by side.
    aside: Vec<Part<'a>>,
    /// Of the call that follows.
    seal: Option<Cow<'a, str>>,
}

impl<'a> Turn<'a, '_> {
    fn read(&mut self, message: &Fields<'a>) -> Result<(), Wrong> {
        let Some(raw) = message.get("content") else { return Ok(()) };
        if read::kind(raw) == Kind::Text {
            self.say(read::text(raw)?);
            return Ok(());
        }
        let blocks = read::list(raw).map_err(|_| Wrong::new("must be a string or an array"))?;
        for (i, raw) in blocks.into_iter().enumerate() {
            self.block(raw).at(i)?;
        }
        Ok(())
    }

    fn into_parts(mut self) -> Vec<Part<'a>> {
        self.parts.append(&mut self.aside);
        self.parts
    }

    fn block(&mut self, raw: &'a RawValue) -> Result<(), Wrong> {
        let block = Fields::read(raw)?;
        let kind = block.need_text("type")?;
        if kind != "tool_result" {
            self.parts.append(&mut self.aside);
        }
        match &*kind {
            "text" => self.say(block.need_text("text")?),
            "thinking" => self.thinking(&block)?,
            "image" | "document" => media::read(&block, &kind, &mut self.parts)?,
            "tool_use" => self.call(&block)?,
            "tool_result" => self.result(&block)?,
            // Sealed by another upstream, or of tools that another upstream ran; what came of them
            // is in the text.
            "redacted_thinking"
            | "server_tool_use"
            | "web_search_tool_result"
            | "web_fetch_tool_result" => {}
            _ => return Err(untranslatable(&kind)),
        }
        Ok(())
    }

    fn say(&mut self, text: Cow<'a, str>) {
        if !read::is_blank(&text) && text != PLACEHOLDER {
            self.parts.push(Part::text(text));
        }
    }

    fn thinking(&mut self, block: &Fields<'a>) -> Result<(), Wrong> {
        let thinking = block.text("thinking")?.filter(|text| !text.is_empty());
        let seal = Seal::read(&block.text("signature")?.unwrap_or_default());
        let mut thought = Part { thought: Some(true), text: thinking, ..Part::default() };
        match (seal, self.told.family) {
            (Some(Seal::Thought(seal)), _) => thought.thought_signature = Some(seal),
            // A Claude model takes no thinking but its own, which is sealed and all that it seals.
            (_, Family::Claude) => return Ok(()),
            (Some(Seal::Call(seal)), Family::Gemini) => self.seal = Some(seal),
            (Some(Seal::Text(seal)), Family::Gemini) => self.seal_text(seal),
            (None, Family::Gemini) => {}
        }
        if thought.text.is_some() || thought.thought_signature.is_some() {
            self.parts.push(thought);
        }
        Ok(())
    }

    /// The seal goes where it was: onto the text before, or onto an empty one.
    fn seal_text(&mut self, seal: Cow<'a, str>) {
        match self.parts.last_mut() {
            Some(Part {
                text: Some(_), thought: None, thought_signature: place @ None, ..
            }) => {
                *place = Some(seal);
            }
            _ => {
                self.parts.push(Part { thought_signature: Some(seal), ..Part::text("") });
            }
        }
    }

    fn call(&mut self, block: &Fields<'a>) -> Result<(), Wrong> {
        let (id, name) = (block.need_text("id")?, block.need_text("name")?);
        let args = block.get("input");
        if args.is_some_and(|args| read::kind(args) != Kind::Object) {
            return Err(Wrong::new("must be an object")).at("input");
        }
        self.told.names.insert(id.clone(), name.clone());
        // Of the calls that stand side by side the first is sealed.
        let follows = self.parts.last().is_some_and(|last| last.function_call.is_some());
        let unknown = (self.told.family == Family::Gemini && !follows)
            .then_some(Cow::Borrowed(seal::UNKNOWN));
        let thought_signature = self.seal.take().or(unknown);
        let call = FunctionCall { id: Some(id), name, args };
        self.parts.push(Part { thought_signature, ..Part::call(call) });
        Ok(())
    }

    fn result(&mut self, block: &Fields<'a>) -> Result<(), Wrong> {
        let id = block.need_text("tool_use_id")?;
        let name = self.told.names.get(&id).unwrap_or(&id).clone();
        let said = self.said(block).at("content")?;
        let response = match (block.is_true("is_error")?, read::is_blank(&said)) {
            (true, true) => Outcome::Error(Cow::Borrowed(FAILED_SILENTLY)),
            (true, false) => Outcome::Error(said),
            (false, _) => Outcome::Result(said),
        };
        self.parts.push(Part::response(FunctionResponse { id, name, response }));
        Ok(())
    }

    /// What a tool said; what it showed goes aside.
    fn said(&mut self, block: &Fields<'a>) -> Result<Cow<'a, str>, Wrong> {
        let Some(raw) = block.get("content") else { return Ok(Cow::Borrowed("")) };
        if read::kind(raw) == Kind::Text {
            return read::text(raw);
        }
        let mut said = Vec::new();
        let blocks = read::list(raw).map_err(|_| Wrong::new("must be a string or an array"))?;
        for (i, raw) in blocks.into_iter().enumerate() {
            let block = Fields::read(raw).at(i)?;
            let kind = block.need_text("type").at(i)?;
            match &*kind {
                "text" => said.push(block.need_text("text").at(i)?),
                "image" | "document" => media::read(&block, &kind, &mut self.aside).at(i)?,
                _ => return Err(untranslatable(&kind)).at(i),
            }
        }
        Ok(if said.len() > 1 { said.join("\n").into() } else { said.pop().unwrap_or_default() })
    }
}

fn untranslatable(kind: &str) -> Wrong {
    Wrong::new(format!("'{}' cannot be translated", kind.escape_debug())).at("type")
}
