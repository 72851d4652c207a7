//! Finding one value in a JSON text and putting another in its place, byte for byte otherwise.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Where the value stands that `path` leads to through objects; the last of repeated keys counts.
/// `None` if the text is no JSON or has no such value.
#[must_use]
pub fn find(text: &str, path: &[&str]) -> Option<Range<usize>> {
    let mut at = 0..text.len();
    for key in path {
        let inner = &text[at.clone()];
        let mut parser = serde_json::Deserializer::from_str(inner);
        let found = Member(key).deserialize(&mut parser).ok()?;
        parser.end().ok()?;
        let value = found?.get();
        // `value` is a part of `inner`: the parser borrows.
        let start = at.start + (value.as_ptr() as usize - inner.as_ptr() as usize);
        at = start..start + value.len();
    }
    Some(at)
}

/// The text of the string at `path`.
#[must_use]
pub fn string<'a>(text: &'a str, path: &[&str]) -> Option<Cow<'a, str>> {
    let at = find(text, path)?;
    let value = &text[at];
    let plain = value.strip_prefix('"')?.strip_suffix('"')?;
    if plain.contains('\\') {
        return serde_json::from_str::<String>(value).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(plain))
}

/// `text` with the string at `path` replaced, if there is a string.
#[must_use]
pub fn replace_string(text: &str, path: &[&str], new: &str) -> Option<String> {
    let at = find(text, path)?;
    if !text[at.clone()].starts_with('"') {
        return None;
    }
    let mut out = String::with_capacity(text.len() + new.len() + 2);
    out.push_str(&text[..at.start]);
    out.push_str(&quoted(new));
    out.push_str(&text[at.end..]);
    Some(out)
}

/// A JSON string with this content.
#[must_use]
pub fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string always has a JSON form")
}

/// The raw value of one key of an object.
struct Member<'k>(&'k str);

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == self.0 {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_replaced_and_every_other_byte_stays() {
        let text = r#" { "a":[1, {"model":"no"}], "model" : "x\"y" , "n":12345678901234567890} "#;
        let new = replace_string(text, &["model"], "q\"z");
        let want = r#" { "a":[1, {"model":"no"}], "model" : "q\"z" , "n":12345678901234567890} "#;
        assert_eq!(new.as_deref(), Some(want));
        assert_eq!(string(text, &["model"]).as_deref(), Some("x\"y"));
    }

    #[test]
    fn a_path_leads_through_objects() {
        let text = r#"{"message":{"id":"m","model":"x"}}"#;
        assert_eq!(find(text, &["message", "model"]).map(|at| &text[at]), Some("\"x\""));
        assert_eq!(find(text, &["model"]), None);
        assert_eq!(find(text, &["message", "id", "deeper"]), None);
    }

    #[test]
    fn an_escaped_key_is_the_key() {
        assert_eq!(string(r#"{"mod\u0065l":"x"}"#, &["model"]).as_deref(), Some("x"));
    }

    #[test]
    fn what_is_no_string_or_no_json_is_left_alone() {
        assert_eq!(replace_string(r#"{"model":7}"#, &["model"], "x"), None);
        assert_eq!(replace_string(r#"{"model":"x""#, &["model"], "x"), None);
        assert_eq!(replace_string("[]", &["model"], "x"), None);
    }
}
