//! A request of the Messages API as one of `generateContent`.
//!
//! What the client says is said as it said it; what the upstream has no word for is refused by
//! name, or left out where the answer does not depend on it.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::content;
use super::gemini::{Content, GenerationConfig, Part, Request, Role, ThinkingConfig};
use super::read::{self, Fields, Kind, Locate, Wrong};
use super::tools;
use super::{Family, Upstream};

/// The most stop sequences that the upstream takes.
const STOP_SEQUENCES_MAX: usize = 5;
/// The most tokens that a Gemini model is asked for: beyond it a request is refused, while a
/// client's limit is kept as well by a lower one.
const GEMINI_OUTPUT_TOKENS_MAX: u64 = 65_536;
/// The largest thinking budgets that models take, by a part of their names.
const THINKING_BUDGETS_MAX: [(&str, u64); 2] =
    [("gemini-2.5-flash", 24_576), ("gemini-2.5-pro", 32_768)];

/// Translates a body.
pub(super) fn request<'a>(
    body: &'a RawValue,
    upstream: &Upstream<'_>,
) -> Result<Request<'a>, Wrong> {
    let fields = Fields::read(body)?;
    let tools = tools::tools(&fields)?;
    let tool_config = tools::config(&fields, &tools)?;
    Ok(Request {
        contents: content::contents(&fields, upstream.family())?,
        system_instruction: system(&fields)?,
        tools: tools.into_request(),
        tool_config,
        generation_config: generation_config(&fields, upstream)?,
    })
}

fn system<'a>(fields: &Fields<'a>) -> Result<Option<Content<'a>>, Wrong> {
    let Some(raw) = fields.get("system") else { return Ok(None) };
    let texts = match read::kind(raw) {
        Kind::List => read::list(raw)
            .and_then(|blocks| {
                let text = |(i, raw)| system_text(raw).at(i);
                blocks.into_iter().enumerate().map(text).collect::<Result<Vec<_>, _>>()
            })
            .at("system")?,
        Kind::Text | Kind::Object | Kind::Number | Kind::Word => {
            vec![read::text(raw).at("system")?]
        }
    };
    let parts: Vec<_> =
        texts.into_iter().filter(|text| !read::is_blank(text)).map(Part::text).collect();
    Ok((!parts.is_empty()).then_some(Content { role: Role::User, parts: Some(parts) }))
}

fn system_text(raw: &RawValue) -> Result<Cow<'_, str>, Wrong> {
    let block = Fields::read(raw)?;
    if block.need_text("type")? != "text" {
        return Err(Wrong::new("must be text")).at("type");
    }
    block.need_text("text")
}

fn generation_config<'a>(
    fields: &Fields<'a>,
    upstream: &Upstream<'_>,
) -> Result<Option<GenerationConfig<'a>>, Wrong> {
    let stop_sequences = stop_sequences(fields)?;
    let max_tokens = fields.count("max_tokens")?.map(|max| match upstream.family() {
        Family::Gemini => max.min(GEMINI_OUTPUT_TOKENS_MAX),
        Family::Claude => max,
    });
    let config = GenerationConfig {
        max_output_tokens: max_tokens.filter(|max| *max > 0),
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        top_k: fields.count("top_k")?,
        stop_sequences,
        thinking_config: thinking_config(fields, upstream.model)?,
    };
    let GenerationConfig { max_output_tokens, temperature, top_p, top_k, .. } = &config;
    let says_nothing = max_output_tokens.is_none()
        && temperature.is_none()
        && top_p.is_none()
        && top_k.is_none()
        && config.stop_sequences.is_empty()
        && config.thinking_config.is_none();
    Ok((!says_nothing).then_some(config))
}

fn stop_sequences<'a>(fields: &Fields<'a>) -> Result<Vec<Cow<'a, str>>, Wrong> {
    const NAME: &str = "stop_sequences";
    let list = fields.list(NAME)?.unwrap_or_default();
    if list.len() > STOP_SEQUENCES_MAX {
        return Err(Wrong::new(format!("at most {STOP_SEQUENCES_MAX} can be given"))).at(NAME);
    }
    list.into_iter()
        .enumerate()
        .map(|(i, raw)| read::text(raw).at(i))
        .collect::<Result<_, _>>()
        .at(NAME)
}

/// Thinking that the client has not asked for is not shown to it; whether the model thinks then is
/// its own affair, as some cannot be told not to.
fn thinking_config(fields: &Fields<'_>, model: &str) -> Result<Option<ThinkingConfig>, Wrong> {
    let Some(thinking) = fields.fields("thinking")? else { return Ok(None) };
    let config = |thinking_budget| ThinkingConfig { include_thoughts: true, thinking_budget };
    match &*thinking.need_text("type").at("thinking")? {
        "disabled" => Ok(None),
        "adaptive" => Ok(Some(config(None))),
        "enabled" => {
            let budget = thinking.count("budget_tokens").at("thinking")?;
            let max = THINKING_BUDGETS_MAX.iter().find(|(name, _)| model.contains(name));
            let budget = budget.map(|budget| max.map_or(budget, |(_, max)| budget.min(*max)));
            Ok(Some(config(budget.filter(|budget| *budget > 0))))
        }
        _ => Err(Wrong::new("must be enabled, adaptive or disabled")).at("type").at("thinking"),
    }
}
