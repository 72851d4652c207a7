//! Which beta features a request needs, for upstreams that want them named in a header.

use serde::Deserialize;
use serde::de::IgnoredAny;

/// Features that a request needs by having a tool of a type that begins so.
const BY_TOOL: [(&str, &str); 4] = [
    ("computer_20250124", "computer-use-2025-01-24"),
    ("computer_20251124", "computer-use-2025-11-24"),
    ("code_execution_20250825", "code-execution-2025-08-25"),
    ("web_fetch_20250910", "web-fetch-2025-09-10"),
];
const INTERLEAVED: &str = "interleaved-thinking-2025-05-14";
const MCP: &str = "mcp-client-2025-11-20";
const CONTEXT: &str = "context-management-2025-06-27";

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    tools: Vec<Tool>,
    thinking: Option<Thinking>,
    mcp_servers: Vec<IgnoredAny>,
    context_management: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tool {
    r#type: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Thinking {
    r#type: String,
}

/// The features that a body needs and that have to be named, as the header names them; `None` if there
/// is none, or if the body is none.
#[must_use]
pub fn needed(body: &[u8]) -> Option<String> {
    let body: Body = serde_json::from_slice(body).ok()?;
    let thinks = body.thinking.is_some_and(|thinking| thinking.r#type == "enabled");
    let mut features = Vec::new();
    if thinks && !body.tools.is_empty() {
        features.push(INTERLEAVED);
    }
    let by_tool = BY_TOOL.iter().filter(|(kind, _)| body.tools.iter().any(|t| t.r#type == *kind));
    features.extend(by_tool.map(|(_, feature)| *feature));
    if !body.mcp_servers.is_empty() {
        features.push(MCP);
    }
    if body.context_management.is_some() {
        features.push(CONTEXT);
    }
    (!features.is_empty()).then(|| features.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_request_needs_is_named() {
        for (body, want) in [
            (r#"{"tools":[{"name":"x"}]}"#, None),
            (r#"{"thinking":{"type":"enabled"}}"#, None),
            (r#"{"thinking":{"type":"adaptive"},"tools":[{"name":"x"}]}"#, None),
            (r#"{"thinking":{"type":"enabled"},"tools":[{"name":"x"}]}"#, Some(INTERLEAVED)),
            (r#"{"tools":[{"type":"web_fetch_20250910"}]}"#, Some("web-fetch-2025-09-10")),
            (
                r#"{"mcp_servers":[{}],"context_management":{}}"#,
                Some("mcp-client-2025-11-20,context-management-2025-06-27"),
            ),
            (r#"{"tools":7}"#, None),
            ("nonsense", None),
        ] {
            assert_eq!(needed(body.as_bytes()).as_deref(), want, "{body}");
        }
    }
}
