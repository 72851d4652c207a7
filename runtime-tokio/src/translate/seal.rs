//! Signatures: the model's seals on what it said, which must come back where they were.
//!
//! Gemini seals any part, the Messages API only thinking. A seal on a call or on text therefore
//! goes to the client as that of a thinking block beside it, with a word in front that says where
//! it belongs; clients keep signatures as they are. The alternative, a member of the tool's block
//! that the API does not know, is lost by clients that keep what they know.

use std::borrow::Cow;

/// What the upstream takes in the place of a signature that is not known, as for a call that
/// another model made. Only Gemini models do.
pub(super) const UNKNOWN: &str = "skip_thought_signature_validator";

/// In front of the seal on the call that follows.
const CALL: &str = "call:";
/// In front of the seal on the text before.
const TEXT: &str = "text:";

/// A signature as a client keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seal<'a> {
    /// Of the thinking that it stands at.
    Thought(Cow<'a, str>),
    /// Of the call that follows.
    Call(Cow<'a, str>),
    /// Of the text before.
    Text(Cow<'a, str>),
}

impl<'a> Seal<'a> {
    /// Reads what a client kept; `None` if that seals nothing.
    pub(super) fn read(signature: &Cow<'a, str>) -> Option<Self> {
        let rest = |from: usize| match signature {
            Cow::Borrowed(text) => Cow::Borrowed(&text[from..]),
            Cow::Owned(text) => Cow::Owned(text[from..].to_owned()),
        };
        let (seal, text): (fn(Cow<'a, str>) -> Self, _) = if signature.starts_with(CALL) {
            (Self::Call, rest(CALL.len()))
        } else if signature.starts_with(TEXT) {
            (Self::Text, rest(TEXT.len()))
        } else {
            (Self::Thought, rest(0))
        };
        (!text.trim().is_empty() && text != UNKNOWN).then(|| seal(text))
    }

    /// What the client is to keep.
    pub(super) fn kept(&self) -> String {
        match self {
            Self::Thought(text) => text.clone().into_owned(),
            Self::Call(text) => format!("{CALL}{text}"),
            Self::Text(text) => format!("{TEXT}{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_read_as_it_was_kept() {
        for seal in
            [Seal::Thought("YQ==".into()), Seal::Call("YQ==".into()), Seal::Text("Y".into())]
        {
            assert_eq!(Seal::read(&seal.kept().into()), Some(seal));
        }
        for nothing in
            ["", "  ", "call:", "text: ", UNKNOWN, "call:skip_thought_signature_validator"]
        {
            assert_eq!(Seal::read(&nothing.into()), None, "{nothing}");
        }
    }
}
