//! Lists of models: reading an upstream's, and writing one for a client.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Protocol;

/// The most models of one list.
pub const MODELS_MAX: usize = 10_000;
/// What names begin with in the Gemini protocol.
const PREFIX: &str = "models/";

/// A model, as a list has it.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its name, without what the protocol puts before it.
    pub id: String,
    /// The whole entry of an upstream that speaks the client's protocol.
    entry: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct List {
    #[serde(alias = "models")]
    data: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(alias = "name")]
    id: String,
}

/// The models that are listed when no upstream can be asked for its list.
#[must_use]
pub const fn known(protocol: Protocol) -> &'static [&'static str] {
    match protocol {
        Protocol::Anthropic => {
            &["claude-opus-4-5-20251101", "claude-sonnet-4-5-20250929", "claude-haiku-4-5-20251001"]
        }
        Protocol::OpenAi => &[
            "gpt-5.2",
            "gpt-5.2-codex",
            "gpt-5.1-codex-max",
            "gpt-5.1-codex",
            "gpt-5.1",
            "gpt-5.1-codex-mini",
            "gpt-5",
        ],
        Protocol::Gemini => &[
            "gemini-3-pro-preview",
            "gemini-3-flash-preview",
            "gemini-2.5-pro",
            "gemini-2.5-flash",
            "gemini-2.0-flash",
            "gemini-1.5-pro",
            "gemini-1.5-flash",
            "gemini-1.5-flash-8b",
        ],
    }
}

impl Model {
    /// A model of which nothing but its name is known.
    #[must_use]
    pub fn named(id: impl Into<String>) -> Self {
        Self { id: id.into(), entry: None }
    }

    /// The models of an upstream's list; `None` if it is none. What is no entry is left out.
    #[must_use]
    pub fn list_of(body: &[u8]) -> Option<Vec<Self>> {
        let list: List = serde_json::from_slice(body).ok()?;
        let one = |entry: Box<RawValue>| {
            let Named { id } = serde_json::from_str(entry.get()).ok()?;
            let id = id.strip_prefix(PREFIX).unwrap_or(&id).to_owned();
            Some(Self { id, entry: Some(entry) })
        };
        Some(list.data.into_iter().take(MODELS_MAX).filter_map(one).collect())
    }

    /// Its entry in a list.
    #[must_use]
    pub fn entry(&self, protocol: Protocol) -> String {
        if let Some(entry) = &self.entry {
            return entry.get().to_owned();
        }
        let id = &self.id;
        let entry: Value = match protocol {
            // So are models dated of which it is not known since when there are.
            Protocol::Anthropic => json!({"type": "model", "id": id, "display_name": id,
                                          "created_at": "1970-01-01T00:00:00Z"}),
            Protocol::OpenAi => {
                json!({"id": id, "object": "model", "created": 0, "owned_by": "openai"})
            }
            Protocol::Gemini => {
                json!({"name": format!("{PREFIX}{id}"), "supportedGenerationMethods":
                       ["generateContent", "streamGenerateContent"]})
            }
        };
        entry.to_string()
    }
}

/// A list, all on one page.
#[must_use]
pub fn list(protocol: Protocol, models: &[Model]) -> String {
    let entries: Vec<_> = models.iter().map(|model| model.entry(protocol)).collect();
    let entries = entries.join(",");
    let id = |model: Option<&Model>| json!(model.map(|model| &model.id));
    match protocol {
        Protocol::Anthropic => format!(
            "{{\"data\":[{entries}],\"has_more\":false,\"first_id\":{},\"last_id\":{}}}",
            id(models.first()),
            id(models.last()),
        ),
        Protocol::OpenAi => format!("{{\"object\":\"list\",\"data\":[{entries}]}}"),
        Protocol::Gemini => format!("{{\"models\":[{entries}]}}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstreams_entries_are_kept_and_others_made() {
        let body = br#"{"data":[{"id":"a","x":[1]},{"no":"id"},7],"has_more":true}"#;
        let mut models = Model::list_of(body).expect("a list");
        models.push(Model::named("b\""));
        let list = list(Protocol::OpenAi, &models);
        let parsed: Value = serde_json::from_str(&list).expect("JSON");
        assert_eq!(parsed["data"][0], json!({"id": "a", "x": [1]}));
        assert_eq!(parsed["data"][1]["id"], "b\"");
        assert_eq!(parsed["data"].as_array().map(Vec::len), Some(2));
        assert!(Model::list_of(b"{}").is_none());
    }

    #[test]
    fn a_list_has_the_shape_of_its_protocol() {
        let of = |protocol| {
            let models: Vec<_> = known(protocol).iter().copied().map(Model::named).collect();
            serde_json::from_str::<Value>(&list(protocol, &models)).expect("JSON")
        };
        let claude = of(Protocol::Anthropic);
        assert_eq!(claude["first_id"], claude["data"][0]["id"]);
        assert_eq!(claude["last_id"], "claude-haiku-4-5-20251001");
        assert_eq!(of(Protocol::OpenAi)["object"], "list");
        let gemini = of(Protocol::Gemini);
        assert_eq!(gemini["models"][2]["name"], "models/gemini-2.5-pro");
        let read = Model::list_of(gemini.to_string().as_bytes()).expect("a list");
        assert_eq!(read[2].id, "gemini-2.5-pro");
    }
}
