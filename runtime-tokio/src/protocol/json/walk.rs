//! A walk over a JSON text: the parts that are asked for one by one, everything else skipped.
//!
//! What the walk itself steps on must be JSON: colons, commas, the kinds of brackets, names, plain
//! values. Of an object or array that is skipped only strings and the count of brackets are looked
//! at, so that JSON which is broken in there goes unnoticed.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::IgnoredAny;

use super::skip::{nest_end, string_end};
use super::text;

/// Where the walk stepped the text is no JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// A place in a JSON text.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Just behind an opening bracket: no comma is due.
    first: bool,
}

impl<'a> Walk<'a> {
    /// At the beginning of a text.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, first: false }
    }

    /// Steps into the value if it begins with this bracket.
    pub fn enter(&mut self, open: u8) -> bool {
        let entered = self.peek() == Some(open);
        if entered {
            self.at += 1;
            self.first = true;
        }
        entered
    }

    /// Steps to the next member's value and returns the member's name, unescaped; or, behind the
    /// last one, out of the object.
    ///
    /// # Errors
    /// No member here.
    pub fn member(&mut self) -> Result<Option<Cow<'a, [u8]>>, Broken> {
        if !self.element(b'}')? {
            return Ok(None);
        }
        if self.peek() != Some(b'"') {
            return Err(Broken);
        }
        let start = self.at;
        let (end, escaped) = string_end(self.bytes, start + 1).ok_or(Broken)?;
        self.at = end;
        let name = if escaped {
            let text = text(&self.bytes[start..end]).ok_or(Broken)?;
            Cow::Owned(text.into_owned().into_bytes())
        } else {
            Cow::Borrowed(&self.bytes[start + 1..end - 1])
        };
        self.step(b':')?;
        Ok(Some(name))
    }

    /// Steps to the next element of an array, which `close` ends; `false`, and out of the array,
    /// behind the last one.
    ///
    /// # Errors
    /// Neither a comma nor the end.
    pub fn element(&mut self, close: u8) -> Result<bool, Broken> {
        let first = std::mem::take(&mut self.first);
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(false);
        }
        if !first {
            self.step(b',')?;
        }
        Ok(true)
    }

    /// Steps over a value and returns where it stands.
    ///
    /// # Errors
    /// No value here, or one without end.
    pub fn value(&mut self) -> Result<Range<usize>, Broken> {
        let begin = self.peek().ok_or(Broken)?;
        let start = self.at;
        match begin {
            b'"' => (self.at, _) = string_end(self.bytes, start + 1).ok_or(Broken)?,
            b'{' => self.leave_from(start + 1, b'}')?,
            b'[' => self.leave_from(start + 1, b']')?,
            _ => self.plain()?,
        }
        Ok(start..self.at)
    }

    /// Steps over a value and returns its bytes.
    ///
    /// # Errors
    /// As [`Walk::value`].
    pub fn raw(&mut self) -> Result<&'a [u8], Broken> {
        self.value().map(|at| &self.bytes[at])
    }

    /// Steps out of the object or array, over all that is left of it. `close` is its end.
    ///
    /// # Errors
    /// It has no end, or another.
    pub fn leave(&mut self, close: u8) -> Result<(), Broken> {
        self.first = false;
        self.leave_from(self.at, close)
    }

    /// Nothing but white space is left.
    ///
    /// # Errors
    /// Something is left.
    pub fn end(&mut self) -> Result<(), Broken> {
        if self.peek().is_some() { Err(Broken) } else { Ok(()) }
    }

    fn leave_from(&mut self, from: usize, close: u8) -> Result<(), Broken> {
        self.at = nest_end(self.bytes, from).ok_or(Broken)?;
        if self.bytes[self.at - 1] == close { Ok(()) } else { Err(Broken) }
    }

    /// A number, `true`, `false` or `null`.
    fn plain(&mut self) -> Result<(), Broken> {
        let start = self.at;
        let belongs = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        self.at += self.bytes[start..].iter().take_while(belongs).count();
        let value = &self.bytes[start..self.at];
        serde_json::from_slice::<IgnoredAny>(value).map(drop).map_err(|_| Broken)
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.bytes[self.at..];
        let space = rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')).count();
        self.at += space;
        rest.get(space).copied()
    }

    fn step(&mut self, over: u8) -> Result<(), Broken> {
        if self.peek() != Some(over) {
            return Err(Broken);
        }
        self.at += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    type Members = Vec<(Vec<u8>, Range<usize>)>;

    fn members(bytes: &[u8]) -> Result<Members, Broken> {
        let mut walk = Walk::new(bytes);
        if !walk.enter(b'{') {
            return Err(Broken);
        }
        let mut members = Vec::new();
        while let Some(name) = walk.member()? {
            members.push((name.into_owned(), walk.value()?));
        }
        walk.end()?;
        Ok(members)
    }

    fn elements(bytes: &[u8]) -> Result<Vec<Range<usize>>, Broken> {
        let mut walk = Walk::new(bytes);
        if !walk.enter(b'[') {
            return Err(Broken);
        }
        let mut elements = Vec::new();
        while walk.element(b']')? {
            elements.push(walk.value()?);
        }
        walk.end()?;
        Ok(elements)
    }

    #[test]
    fn members_are_found_between_all_the_white_space_there_may_be() {
        let text = b" { \"a\" : [1,{}] ,\n\"\\u0062\":\"x\\\"}\",\"\": -1.5e+3\t} ";
        let found = members(text).expect("an object");
        let found: Vec<_> = found.iter().map(|(name, at)| (&**name, &text[at.clone()])).collect();
        let want: [(&[u8], &[u8]); 3] =
            [(b"a", b"[1,{}]"), (b"b", b"\"x\\\"}\""), (b"", b"-1.5e+3")];
        assert_eq!(found, want);
        assert_eq!(members(b"{}"), Ok(vec![]));
        assert_eq!(elements(b" [ ] "), Ok(vec![]));
    }

    #[test]
    fn what_is_stepped_on_must_be_json() {
        for bad in [
            "",
            " ",
            "[]",
            "{",
            "{]",
            "{}}",
            "{} x",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\" 1}",
            "{,}",
            "{\"a\":1,}",
            "{\"a\":1 \"b\":2}",
            "{\"a\":1;\"b\":2}",
            "{a:1}",
            "{\"a\":01}",
            "{\"a\":nul}",
            "{\"a\":truefalse}",
            "{\"a\":[}}",
            "{\"a\":{]}",
            "{\"a\":\"x}",
            "{\"a\":\"\\\"}",
            "{\"\\x\":1}",
            "{\"a\":[1}",
            "{\"a\":[1],",
            "\u{feff}{}",
        ] {
            assert_eq!(members(bad.as_bytes()), Err(Broken), "{bad}");
        }
        for bad in ["[", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[1}", "[1] 2"] {
            assert_eq!(elements(bad.as_bytes()), Err(Broken), "{bad}");
        }
    }

    #[test]
    fn what_is_skipped_need_not_be() {
        for odd in ["{\"a\":[1 2,,]}", "{\"a\":{\"b\":[}}}", "{\"a\":{x}}", "{\"a\":\"\n\\x\"}"] {
            assert!(members(odd.as_bytes()).is_ok(), "{odd}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            "[a-c\"\\\\{}\\[\\],:\u{e9}\n ]{0,12}",
            (0usize..90).prop_map(|n| "\\\"".repeat(n)),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((text.clone(), inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn written(value: &Value, pretty: bool) -> Vec<u8> {
        let write = if pretty { serde_json::to_vec_pretty } else { serde_json::to_vec };
        write(value).expect("a value has a JSON form")
    }

    proptest! {
        #[test]
        fn the_extents_are_those_that_a_parser_finds(value in json(), pretty: bool) {
            let bytes = written(&value, pretty);
            let read = |at: &Range<usize>| serde_json::from_slice::<Value>(&bytes[at.clone()]);
            if let Some(array) = value.as_array() {
                let found = elements(&bytes).expect("an array");
                let read: Result<Vec<_>, _> = found.iter().map(read).collect();
                prop_assert_eq!(&read.expect("elements"), array);
            } else if let Some(object) = value.as_object() {
                let found = members(&bytes).expect("an object");
                prop_assert_eq!(found.len(), object.len());
                for (name, at) in &found {
                    let name = std::str::from_utf8(name).expect("valid");
                    prop_assert_eq!(Some(&read(at).expect("a value")), object.get(name));
                }
            } else {
                prop_assert_eq!(Walk::new(&bytes).value(), Ok(0..bytes.len()));
            }
        }

        /// Damaged JSON is refused or walked over, and what is handed out lies within the text.
        #[test]
        fn no_bytes_lead_the_walk_astray(
            value in json(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = written(&value, false);
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
                // As text, too: names with escapes are read.
                let valid = serde_json::from_slice::<Value>(bytes).is_ok();
                let (members, elements) = (members(bytes), elements(bytes));
                if valid {
                    prop_assert_eq!(members.is_ok(), bytes.trim_ascii().starts_with(b"{"));
                    prop_assert_eq!(elements.is_ok(), bytes.trim_ascii().starts_with(b"["));
                }
                let members = members.unwrap_or_default().into_iter().map(|(_, at)| at);
                for at in members.chain(elements.unwrap_or_default()) {
                    prop_assert!(at.start < at.end && at.end < bytes.len());
                }
            }
        }
    }
}
