//! Keeping an account's credential out of what others are told of its upstream's words.

use std::borrow::Cow;

use crate::protocol::error::ApiError;

/// What an upstream said, with its credential blotted out if it is in there.
#[must_use]
pub fn hidden<'a>(said: &'a [u8], credential: &[u8]) -> Cow<'a, [u8]> {
    let mut out = Vec::new();
    let mut from = 0;
    if !credential.is_empty() {
        for at in memchr::memmem::find_iter(said, credential) {
            out.extend_from_slice(&said[from..at]);
            out.extend_from_slice(b"***");
            from = at + credential.len();
        }
    }
    if from == 0 {
        return Cow::Borrowed(said);
    }
    out.extend_from_slice(&said[from..]);
    Cow::Owned(out)
}

/// The same for an error that clients are told. It has been read, so that no way of writing the
/// credential in JSON escapes.
#[must_use]
pub fn told(error: ApiError, credential: &[u8]) -> ApiError {
    let clean = |text: Cow<'static, str>| match hidden(text.as_bytes(), credential) {
        Cow::Borrowed(_) => text,
        Cow::Owned(clean) => Cow::Owned(String::from_utf8_lossy(&clean).into_owned()),
    };
    ApiError { kind: clean(error.kind), message: clean(error.message), ..error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_in_an_upstreams_words_is_blotted_out() {
        let hidden = |said: &'static str| hidden(said.as_bytes(), b"sk-1").into_owned();
        assert_eq!(hidden("the key sk-1 is not good, sk-1"), b"the key *** is not good, ***");
        assert_eq!(hidden("nothing"), b"nothing");
        assert_eq!(hidden("sk-1!"), b"***!");
        assert_eq!(super::hidden(b"x", b""), &b"x"[..]);
    }

    #[test]
    fn no_part_of_an_error_tells_a_credential() {
        let error = |kind: &'static str, message: &'static str| ApiError {
            message: Cow::Borrowed(message),
            ..ApiError::new(400, kind, "")
        };
        assert_eq!(told(error("a", "sk-1 is bad"), b"sk-1"), error("a", "*** is bad"));
        assert_eq!(told(error("sk-1", "\u{e4}sk-1"), b"sk-1"), error("***", "\u{e4}***"));
    }
}
