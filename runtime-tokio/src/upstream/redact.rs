//! Keeping an account's credential out of what others are told of its upstream's words.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::Arc;

use crate::config::Secret;
use crate::protocol::error::ApiError;

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

    /// What an upstream said, with these blotted out where they are in it.
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
    for at in memchr::memmem::find_iter(said, secret) {
        out.extend_from_slice(&said[from..at]);
        out.extend_from_slice(b"***");
        from = at + secret.len();
    }
    if from == 0 {
        return None;
    }
    out.extend_from_slice(&said[from..]);
    Some(out)
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
