//! Finding values in a JSON text and putting others in their place, byte for byte otherwise.
//!
//! [`Walk`] reads only what is asked for; see there what it notices of JSON that is broken.

mod masks;
mod skip;
mod walk;

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

pub use walk::{Broken, Walk};

/// Where the value stands that `path` leads to through objects; the last of repeated names counts.
/// `None` if there is no such value.
#[must_use]
pub fn find(text: &[u8], path: &[&str]) -> Option<Range<usize>> {
    let mut at = 0..text.len();
    for key in path {
        let mut walk = Walk::new(&text[at.clone()]);
        if !walk.enter(b'{') {
            return None;
        }
        let mut found = None;
        while let Some(name) = walk.member().ok()? {
            let value = walk.value().ok()?;
            if *name == *key.as_bytes() {
                found = Some(value);
            }
        }
        walk.end().ok()?;
        let found = found?;
        at = at.start + found.start..at.start + found.end;
    }
    Some(at)
}

/// The text of a raw string, unescaped; `None` if it is none.
#[must_use]
pub fn text(raw: &[u8]) -> Option<Cow<'_, str>> {
    match memchr::memchr(b'\\', raw) {
        None => serde_json::from_slice(raw).ok().map(Cow::Borrowed),
        Some(_) => serde_json::from_slice(raw).ok().map(Cow::Owned),
    }
}

/// `text` with the string at `path` replaced, if there is a string.
#[must_use]
pub fn replace_string(text: &str, path: &[&str], new: &str) -> Option<String> {
    let at = find(text.as_bytes(), path)?;
    if !text[at.clone()].starts_with('"') {
        return None;
    }
    Some([&text[..at.start], &quoted(new), &text[at.end..]].concat())
}

/// `body` with a string in the place of each of these values, which are given in order.
#[must_use]
pub fn splice(body: &[u8], values: &[Range<usize>], new: &str) -> Bytes {
    let new = quoted(new);
    let mut out = BytesMut::with_capacity(body.len() + values.len() * new.len());
    let mut done = 0;
    for value in values {
        out.extend_from_slice(&body[done..value.start]);
        out.extend_from_slice(new.as_bytes());
        done = value.end;
    }
    out.extend_from_slice(&body[done..]);
    out.freeze()
}

/// A JSON string with this content.
#[must_use]
pub fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string always has a JSON form")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(json: &str, path: &[&str]) -> Option<String> {
        text(json[find(json.as_bytes(), path)?].as_bytes()).map(Cow::into_owned)
    }

    #[test]
    fn a_string_is_replaced_and_every_other_byte_stays() {
        let text = r#" { "a":[1, {"model":"no"}], "model" : "x\"y" , "n":12345678901234567890} "#;
        let new = replace_string(text, &["model"], "q\"z");
        let want = r#" { "a":[1, {"model":"no"}], "model" : "q\"z" , "n":12345678901234567890} "#;
        assert_eq!(new.as_deref(), Some(want));
        assert_eq!(string(text, &["model"]).as_deref(), Some("x\"y"));
    }

    #[test]
    fn values_are_replaced_where_they_stand() {
        let body = br#"{"a":"x","b":2,"c":null}"#;
        let new = splice(body, &[5..8, 19..23], "\"");
        assert_eq!(&new[..], br#"{"a":"\"","b":2,"c":"\""}"#);
        assert_eq!(&splice(body, &[], "z")[..], body);
    }

    #[test]
    fn a_path_leads_through_objects() {
        let text = br#"{"message":{"id":"m","model":"x"}}"#;
        assert_eq!(find(text, &["message", "model"]).map(|at| &text[at]), Some(&b"\"x\""[..]));
        assert_eq!(find(text, &["model"]), None);
        assert_eq!(find(text, &["message", "id", "deeper"]), None);
    }

    #[test]
    fn an_escaped_name_is_the_name() {
        assert_eq!(string(r#"{"mod\u0065l":"x"}"#, &["model"]).as_deref(), Some("x"));
    }

    #[test]
    fn what_is_no_string_or_no_json_is_left_alone() {
        assert_eq!(replace_string(r#"{"model":7}"#, &["model"], "x"), None);
        assert_eq!(replace_string(r#"{"model":"x""#, &["model"], "x"), None);
        assert_eq!(replace_string("[]", &["model"], "x"), None);
        for bad in [&b"7"[..], b"\"", b"x", b"\"\xff\"", b"\"\n\"", br#""\ud800""#, br#""\x""#] {
            assert_eq!(text(bad), None, "{bad:?}");
        }
    }
}
