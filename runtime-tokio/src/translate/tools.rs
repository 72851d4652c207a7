//! The tools that a client offers, and which of them the model may or must use.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::gemini::{CallingConfig, Declaration, Mode, Tool, ToolConfig};
use super::read::{Fields, Locate, Wrong};
use super::schema::{self, Budget};

/// The client's own tools, and the upstream's.
#[derive(Debug, Default)]
pub(super) struct Tools<'a> {
    declarations: Vec<Declaration<'a>>,
    web_search: bool,
}

impl<'a> Tools<'a> {
    pub(super) fn into_request(self) -> Vec<Tool<'a>> {
        let own = (!self.declarations.is_empty())
            .then_some(Tool::FunctionDeclarations(self.declarations));
        let search = self.web_search.then_some(Tool::GoogleSearch {});
        own.into_iter().chain(search).collect()
    }
}

/// Reads `tools`.
pub(super) fn tools<'a>(fields: &Fields<'a>) -> Result<Tools<'a>, Wrong> {
    let mut tools = Tools::default();
    let mut budget = Budget::default();
    for (i, raw) in fields.list("tools")?.unwrap_or_default().into_iter().enumerate() {
        take(&mut tools, raw, &mut budget).at(i).at("tools")?;
    }
    Ok(tools)
}

fn take<'a>(tools: &mut Tools<'a>, raw: &'a RawValue, budget: &mut Budget) -> Result<(), Wrong> {
    let fields = Fields::read(raw)?;
    match &*fields.text("type")?.unwrap_or(Cow::Borrowed("custom")) {
        "custom" => tools.declarations.push(declaration(&fields, budget)?),
        // By its type: a client may call a tool of its own `web_search`.
        kind if kind.starts_with("web_search_") => tools.web_search = true,
        kind => {
            let what = format!("'{}' cannot be translated", kind.escape_debug());
            return Err(Wrong::new(what)).at("type");
        }
    }
    Ok(())
}

/// A tool is described at its top level, or in a member `custom`.
fn declaration<'a>(fields: &Fields<'a>, budget: &mut Budget) -> Result<Declaration<'a>, Wrong> {
    let name = fields.need_text("name")?;
    if name.trim().is_empty() {
        return Err(Wrong::new("must not be blank")).at("name");
    }
    let custom = fields.fields("custom")?;
    let nested = |name| custom.as_ref().and_then(|custom| custom.get(name));
    let description = match fields.text("description")? {
        None => {
            custom.as_ref().map(|custom| custom.text("description")).transpose().at("custom")?
        }
        some => Some(some),
    };
    let parameters = match fields.get("input_schema") {
        None => schema::parameters(nested("input_schema"), budget).at("input_schema").at("custom"),
        some => schema::parameters(some, budget).at("input_schema"),
    }?;
    Ok(Declaration { name, description: description.flatten(), parameters })
}

/// Reads `tool_choice`. It concerns the client's own tools: whether to search the web is the
/// upstream's to decide.
pub(super) fn config<'a>(
    fields: &Fields<'a>,
    tools: &Tools<'a>,
) -> Result<Option<ToolConfig<'a>>, Wrong> {
    const NAME: &str = "tool_choice";
    let Some(choice) = fields.fields(NAME)? else { return Ok(None) };
    let (mode, only) = match &*choice.need_text("type").at(NAME)? {
        "auto" => (Mode::Auto, None),
        "any" => (Mode::Any, None),
        "none" => (Mode::None, None),
        "tool" => (Mode::Any, Some(choice.need_text("name").at(NAME)?)),
        _ => return Err(Wrong::new("must be auto, any, tool or none")).at("type").at(NAME),
    };
    if tools.declarations.is_empty() {
        return Ok(None);
    }
    let known = |name: &Cow<'_, str>| tools.declarations.iter().any(|tool| tool.name == *name);
    if only.as_ref().is_some_and(|name| !known(name)) {
        return Err(Wrong::new("must name one of the tools")).at("name").at(NAME);
    }
    let allowed_function_names = only.into_iter().collect();
    let function_calling_config = CallingConfig { mode, allowed_function_names };
    Ok(Some(ToolConfig { function_calling_config }))
}
