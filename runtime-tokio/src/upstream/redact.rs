//! Keeping an account's credential out of what others are told of its upstream's words.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::Arc;

use crate::config::Secret;
use crate::protocol::error::ApiError;

/// Bytes of a character's code in JSON, after the backslash: `u002d`.
const CODE_BYTES: usize = 5;

/// What nobody is to be told. Copies share it.
#[derive(Clone, Debug, Default)]
pub struct Secrets(Arc<[Secret]>);

impl Secrets {
    /// These.
    #[must_use]
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        let mut secrets: Vec<_> = secrets.into_iter().collect();
        // One that is a part of another must not leave the rest of that.
        secrets.sort_by_key(|secret| Reverse(secret.expose().len()));
        Self(secrets.into())
    }

    /// What an upstream said, with these blotted out where they are in it, also with the escapes of JSON.
    #[must_use]
    pub fn hidden<'a>(&self, said: &'a [u8]) -> Cow<'a, [u8]> {
        self.0.iter().fold(Cow::Borrowed(said), |said, secret| {
            let clean = hidden(&said, secret.expose().as_bytes());
            clean.map_or(said, Cow::Owned)
        })
    }

    /// Whether one of these is a part of what was said.
    pub(super) fn are_in(&self, said: &str) -> bool {
        matches!(self.hidden(said.as_bytes()), Cow::Owned(_))
    }

    /// The same for an error that clients are told. It has been read, so that no way of writing a
    /// credential in JSON escapes.
    #[must_use]
    pub fn told(&self, error: ApiError) -> ApiError {
        let clean = |text: Cow<'static, str>| match self.hidden(text.as_bytes()) {
            Cow::Borrowed(_) => text,
            Cow::Owned(clean) => Cow::Owned(String::from_utf8_lossy(&clean).into_owned()),
        };
        ApiError { kind: clean(error.kind), message: clean(error.message), ..error }
    }
}

/// What was said, without the secret; `None` if it is not in there.
fn hidden(said: &[u8], secret: &[u8]) -> Option<Vec<u8>> {
    if secret.is_empty() {
        return None;
    }
    let (mut out, mut from) = (Vec::new(), 0);
    let escaped = memchr::memchr(b'\\', said).is_some();
    while let Some((start, end)) = find(said, from, secret, escaped) {
        out.extend_from_slice(&said[from..start]);
        out.extend_from_slice(b"***");
        from = end;
    }
    if from == 0 {
        return None;
    }
    out.extend_from_slice(&said[from..]);
    Some(out)
}

/// Where the secret begins and ends the next time. It may stand there as JSON writes it, also in a text
/// within a text: whoever says it may write any of its characters with an escape.
fn find(said: &[u8], from: usize, secret: &[u8], escaped: bool) -> Option<(usize, usize)> {
    if !escaped {
        let start = from + memchr::memmem::find(&said[from..], secret)?;
        return Some((start, start + secret.len()));
    }
    (from..said.len()).find_map(|start| {
        let rest = &said[start..];
        if rest.starts_with(secret) {
            return Some((start, start + secret.len()));
        }
        // Of several backslashes the first is enough to begin at; all would take time squared.
        let within = start > from && said[start - 1] == b'\\' && said[start] == b'\\';
        let length = if within { None } else { length_escaped(rest, secret) };
        Some((start, start + length?))
    })
}

/// How long the secret is here, if this begins with it. Backslashes are passed over on both sides: how
/// many there are depends on how deep the text is.
fn length_escaped(said: &[u8], secret: &[u8]) -> Option<usize> {
    let mut rest = said;
    for &byte in secret.iter().filter(|byte| **byte != b'\\') {
        let slashes = slashes(rest);
        let bare = &rest[slashes..];
        let is_code = |code: &[u8]| code.eq_ignore_ascii_case(format!("u{byte:04x}").as_bytes());
        let coded = slashes > 0 && bare.get(..CODE_BYTES).is_some_and(is_code);
        rest = if coded { &bare[CODE_BYTES..] } else { bare.strip_prefix(&[byte])? };
    }
    let length = said.len() - rest.len();
    (length > 0).then_some(length)
}

/// Bytes of the backslashes that this begins with; the first may escape the code of another.
fn slashes(said: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let rest = &said[at..];
        let coded = at > 0
            && rest.get(..CODE_BYTES).is_some_and(|code| code.eq_ignore_ascii_case(b"u005c"));
        match rest.first() {
            Some(b'\\') => at += 1,
            Some(_) if coded => at += CODE_BYTES,
            Some(_) | None => return at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(texts: &[&str]) -> Secrets {
        Secrets::new(texts.iter().map(|text| Secret::new((*text).to_owned())))
    }

    #[test]
    fn a_credential_in_an_upstreams_words_is_blotted_out() {
        let secrets = |texts, said: &'static str| secrets(texts).hidden(said.as_bytes());
        let hidden = |said| secrets(&["sk-1"], said);
        assert_eq!(*hidden("the key sk-1 is not good, sk-1"), *b"the key *** is not good, ***");
        assert_eq!(*hidden("nothing"), *b"nothing");
        assert_eq!(*hidden("sk-1!"), *b"***!");
        assert_eq!(*secrets(&[""], "x"), *b"x");
        assert_eq!(*secrets(&["sk-1", "", "sk-1-more"], "sk-1-more, sk-1"), *b"***, ***");
    }

    #[test]
    fn also_in_the_ways_that_json_can_write_it() {
        let hidden = |secret, said: &'static str| {
            let hidden = secrets(&[secret]).hidden(said.as_bytes()).into_owned();
            String::from_utf8(hidden).expect("text")
        };
        for (secret, said, want) in [
            ("sk-1/x", r#"{"m":"sk-1\/x, sk\u002d1/x"}"#, r#"{"m":"***, ***"}"#),
            ("sk-1/x", r#""\u0073\u006B\u002D\u0031\u002F\u0078!""#, r#""***!""#),
            // Within JSON within JSON.
            ("sk-1/x", r#""\\\"sk-1\\\/x\\\" sk\\u002d1/x""#, r#""\\\"***\\\" ***""#),
            (r"a\b", r#""a\u005cb a\u005C\\b""#, r#""*** ***""#),
            ("sk-1", r#""sk\u005cu002d1""#, r#""***""#),
            (r#"a"\b"#, r#""a\"\\b a"\b""#, r#""*** ***""#),
            ("n-1", r#""\nn-1\n""#, r#""\n***\n""#),
            ("sk-1", r#""sk\u002e1 sk\-2 sk\u002d" \"#, r#""sk\u002e1 sk\-2 sk\u002d" \"#),
            (r"\", r"\u0041", "***u0041"),
        ] {
            assert_eq!(hidden(secret, said), want, "{said}");
        }
        let long = "\\".repeat(64 * 1024);
        assert_eq!(*secrets(&["sk-1"]).hidden(long.as_bytes()), *long.as_bytes());
    }

    #[test]
    fn no_part_of_an_error_tells_a_credential() {
        let error = |kind: &'static str, message: &'static str| ApiError {
            message: Cow::Borrowed(message),
            ..ApiError::new(400, kind, "")
        };
        let told = |error| secrets(&["sk-1"]).told(error);
        assert_eq!(told(error("a", "sk-1 is bad")), error("a", "*** is bad"));
        assert_eq!(told(error("sk-1", "\u{e4}sk-1")), error("***", "\u{e4}***"));
    }
}
