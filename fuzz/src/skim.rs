//! Any bytes as a request's body: reading it never panics, and of a body that is JSON it says what a
//! parser says.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use sluice_runtime_tokio::protocol::MODEL_BYTES_MAX;
use sluice_runtime_tokio::protocol::anthropic::Skim;
use sluice_runtime_tokio::protocol::json;

/// Runs one input.
///
/// # Panics
/// When the two disagree.
pub fn run(data: &[u8]) {
    let skim = Skim::read(data);
    if let Ok(skim) = &skim {
        // What is handed out is text of the body, wherever it stands.
        assert!(!skim.model.is_empty() && !skim.models.is_empty());
        assert!(skim.models.iter().all(|at| data[at.clone()].starts_with(b"\"")));
    }
    // Whatever a parser refuses may be refused or, deep inside, not noticed.
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    let Some(wanted) = wanted(&value) else {
        assert!(skim.is_err(), "a parser finds no request here");
        return;
    };
    match skim {
        Ok(skim) => {
            assert_eq!(skim.model, wanted.model);
            assert_eq!(skim.stream, wanted.stream);
            assert_eq!(skim.user_id.as_deref(), wanted.user_id);
            assert_eq!(skim.system.map(parsed), wanted.system);
            assert_eq!(skim.first_user.map(parsed), wanted.first_user);
            spliced(data, &skim, &value);
        }
        // Of repeated members every one must be sound, and a parser shows only the last.
        Err(_) => assert!(repeats(data), "a parser finds a request here"),
    }
}

struct Wanted<'a> {
    model: &'a str,
    stream: bool,
    user_id: Option<&'a str>,
    system: Option<Value>,
    first_user: Option<Value>,
}

/// What a body says, if it is a request.
fn wanted(value: &Value) -> Option<Wanted<'_>> {
    let object = value.as_object()?;
    // Names that differ from these in case only are refused.
    let other_case = |key: &String| {
        ["model", "stream"].iter().any(|known| key != known && key.eq_ignore_ascii_case(known))
    };
    if object.keys().any(other_case) {
        return None;
    }
    let model = object.get("model")?.as_str()?;
    if model.is_empty() || model.len() > MODEL_BYTES_MAX {
        return None;
    }
    let messages = value["messages"].as_array();
    let user = |message: &&Value| message["role"] == "user" && message.get("content").is_some();
    let user = messages.and_then(|messages| messages.iter().find(user));
    Some(Wanted {
        model,
        stream: object.get("stream").map_or(Some(false), Value::as_bool)?,
        user_id: value["metadata"]["user_id"].as_str(),
        system: object.get("system").filter(|system| !system.is_null()).cloned(),
        first_user: user.map(|message| message["content"].clone()),
    })
}

fn parsed(raw: &[u8]) -> Value {
    serde_json::from_slice(raw).expect("a part of JSON is JSON")
}

/// Another model changes the model and nothing else.
fn spliced(data: &[u8], skim: &Skim<'_>, value: &Value) {
    const NEW: &str = "new \"model\"";
    let told = json::splice(data, &skim.models, NEW);
    let mut want = value.clone();
    want["model"] = NEW.into();
    assert_eq!(parsed(&told), want);
    let again = Skim::read(&told).expect("as good as before");
    assert_eq!((&*again.model, again.models.len()), (NEW, skim.models.len()));
    let mut rest = &told[..];
    let mut done = 0;
    for at in &skim.models {
        rest = rest.strip_prefix(&data[done..at.start]).expect("the bytes that came");
        rest = rest.strip_prefix(json::quoted(NEW).as_bytes()).expect("the new model");
        done = at.end;
    }
    assert_eq!(rest, &data[done..]);
}

/// Whether the object has members of the same name.
fn repeats(data: &[u8]) -> bool {
    serde_json::from_slice::<Names>(data).is_ok_and(|names| names.repeated)
}

struct Names {
    repeated: bool,
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Names;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
        let (mut names, mut repeated) = (BTreeSet::new(), false);
        while let Some((name, IgnoredAny)) = map.next_entry::<String, _>()? {
            repeated |= !names.insert(name);
        }
        Ok(Names { repeated })
    }
}
