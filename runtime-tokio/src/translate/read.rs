//! Reading a request's JSON: members by name, and errors that say where the fault is.
//!
//! Values are looked at one level at a time and stay the text that came until something is asked of
//! them, so that what is only passed on keeps its numbers and its order.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::protocol::error::ApiError;
use crate::protocol::json;

/// The most characters of a fault's place that a client is shown.
const PLACE_CHARS_MAX: usize = 500;

/// What is wrong with a request, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The names and places on the way to it, joined by dots; empty for the whole.
    place: String,
    what: Cow<'static, str>,
}

impl Wrong {
    pub(super) fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Self { place: String::new(), what: what.into() }
    }
}

impl From<Wrong> for ApiError {
    fn from(wrong: Wrong) -> Self {
        let Wrong { place, what } = wrong;
        let colon = if place.is_empty() { "" } else { ": " };
        // A place is made of the client's names, which may be anything.
        let place = place.chars().filter(|c| !c.is_control()).take(PLACE_CHARS_MAX);
        let message = place.chain(colon.chars()).chain(what.chars()).collect();
        Self { message: Cow::Owned(message), ..Self::new(400, "invalid_request_error", "") }
    }
}

/// Says where a fault was found, from the inside out: nothing is paid for a place without a fault.
pub(super) trait Locate {
    /// The same, found in a member of this name or an element at this place.
    #[must_use]
    fn at(self, place: impl fmt::Display) -> Self;
}

impl Locate for Wrong {
    fn at(mut self, place: impl fmt::Display) -> Self {
        let dot = if self.place.is_empty() { "" } else { "." };
        self.place = format!("{place}{dot}{}", self.place);
        self
    }
}

impl<T> Locate for Result<T, Wrong> {
    fn at(self, place: impl fmt::Display) -> Self {
        self.map_err(|wrong| wrong.at(place))
    }
}

/// The members of an object, in their order.
#[derive(Debug)]
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// Reads a value that must be an object.
    pub(super) fn read(raw: &'a RawValue) -> Result<Self, Wrong> {
        serde_json::from_str(raw.get()).map_err(|_| Wrong::new("must be an object"))
    }

    /// All members; of repeated names, all.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (&**name, *value))
    }

    /// All members, with names of their own.
    pub(super) fn members(self) -> impl Iterator<Item = (Cow<'a, str>, &'a RawValue)> {
        self.0.into_iter()
    }

    /// The member of this name, of repeated ones the last; `null` is as good as none.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let found = self.0.iter().rev().find(|(key, _)| key == name)?.1;
        (found.get() != "null").then_some(found)
    }

    pub(super) fn need(&self, name: &str) -> Result<&'a RawValue, Wrong> {
        self.get(name).ok_or_else(|| Wrong::new("is required")).at(name)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, Wrong> {
        self.get(name).map(text).transpose().at(name)
    }

    pub(super) fn need_text(&self, name: &str) -> Result<Cow<'a, str>, Wrong> {
        self.need(name).and_then(|raw| text(raw).at(name))
    }

    pub(super) fn list(&self, name: &str) -> Result<Option<Vec<&'a RawValue>>, Wrong> {
        self.get(name).map(list).transpose().at(name)
    }

    pub(super) fn fields(&self, name: &str) -> Result<Option<Self>, Wrong> {
        self.get(name).map(Self::read).transpose().at(name)
    }

    /// A number, as it was written.
    pub(super) fn number(&self, name: &str) -> Result<Option<&'a RawValue>, Wrong> {
        let number = |raw| match kind(raw) {
            Kind::Number => Ok(raw),
            Kind::Object | Kind::List | Kind::Text | Kind::Word => {
                Err(Wrong::new("must be a number"))
            }
        };
        self.get(name).map(number).transpose().at(name)
    }

    /// A whole number that is not negative.
    pub(super) fn count(&self, name: &str) -> Result<Option<u64>, Wrong> {
        let count = |raw: &RawValue| {
            raw.get().parse().map_err(|_| Wrong::new("must be a whole number, not negative"))
        };
        self.get(name).map(count).transpose().at(name)
    }

    pub(super) fn is_true(&self, name: &str) -> Result<bool, Wrong> {
        match self.get(name).map(RawValue::get) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Wrong::new("must be true or false")).at(name),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some((Name(name), value)) = map.next_entry()? {
            members.push((name, value));
        }
        Ok(Fields(members))
    }
}

/// A name that is borrowed where nothing in it is escaped.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// What a value is, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    List,
    Text,
    Number,
    /// `true`, `false` or `null`.
    Word,
}

/// What a value is.
pub(super) fn kind(raw: &RawValue) -> Kind {
    match raw.get().as_bytes()[0] {
        b'{' => Kind::Object,
        b'[' => Kind::List,
        b'"' => Kind::Text,
        b't' | b'f' | b'n' => Kind::Word,
        _ => Kind::Number,
    }
}

/// The elements of a value that must be an array.
pub(super) fn list(raw: &RawValue) -> Result<Vec<&RawValue>, Wrong> {
    serde_json::from_str(raw.get()).map_err(|_| Wrong::new("must be an array"))
}

/// The text of a value that must be a string.
pub(super) fn text(raw: &RawValue) -> Result<Cow<'_, str>, Wrong> {
    json::text(raw.get().as_bytes()).ok_or_else(|| Wrong::new("must be a string"))
}

/// Text that says something.
pub(super) fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).expect("JSON")
    }

    #[test]
    fn members_are_found_by_name_and_keep_their_text() {
        let fields =
            Fields::read(raw(r#"{"a":1,"n":null,"a\u0062": 12345678901234567890.0 ,"a":2}"#));
        let fields = fields.expect("an object");
        assert_eq!(fields.get("a").map(RawValue::get), Some("2"));
        assert_eq!(fields.get("ab").map(RawValue::get), Some("12345678901234567890.0"));
        assert!(fields.get("n").is_none() && fields.get("b").is_none());
        assert_eq!(fields.iter().count(), 4);
    }

    #[test]
    fn a_fault_is_named_by_its_place() {
        let fields = Fields::read(raw(r#"{"a":-1,"b":[{}],"c":"\ud800"}"#)).expect("an object");
        let message = |wrong: Wrong| ApiError::from(wrong).message.into_owned();
        let count = fields.count("a").expect_err("negative");
        assert_eq!(
            message(count.at(3).at("list")),
            "list.3.a: must be a whole number, not negative"
        );
        assert_eq!(message(fields.need("d").expect_err("none")), "d: is required");
        assert_eq!(message(fields.text("c").expect_err("half a pair")), "c: must be a string");
        assert_eq!(message(fields.text("b").expect_err("a list")), "b: must be a string");
        assert_eq!(message(list(raw("{}")).expect_err("an object")), "must be an array");
        assert_eq!(message(Fields::read(raw("[]")).expect_err("a list")), "must be an object");
    }
}
