//! What matters in an answer on its way to the client, whatever its protocol.

use serde::{Deserialize, Serialize};

/// What an event of an answer's stream means for the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The answer is announced: says nothing yet but names the model, and perhaps the tokens read.
    Start,
    /// Says nothing.
    Ping,
    /// Content: from here on the answer belongs to the client. So is any event that is not known.
    Content,
    /// Content, and the tokens used so far.
    Delta,
    /// The answer is whole.
    Stop,
    /// The answer ends without being whole, in a way that its protocol has words for.
    Failed,
    /// The upstream gives up.
    Error,
}

/// Tokens used, as the upstream counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Read, without those from or into the prompt cache.
    pub input_tokens: u64,
    /// Written.
    pub output_tokens: u64,
    /// Written to the prompt cache.
    pub cache_creation_input_tokens: u64,
    /// Read from the prompt cache.
    pub cache_read_input_tokens: u64,
}

/// Class and words of an error that an upstream sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamError {
    /// The class, as its protocol names it.
    pub kind: String,
    /// For people.
    pub message: String,
}

/// The longest name of a class, in bytes.
const KIND_BYTES_MAX: usize = 64;
/// The most characters of an upstream's message that a client is shown.
const MESSAGE_CHARS_MAX: usize = 1_000;

impl UpstreamError {
    /// What of it a client can be shown; `None` if its class is no name of one.
    #[must_use]
    pub fn shown(kind: &str, message: &str) -> Option<Self> {
        let plain = (1..=KIND_BYTES_MAX).contains(&kind.len())
            && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        plain.then(|| Self { kind: kind.to_owned(), message: shown(message) })
    }
}

/// What of an upstream's message a client can be shown. It is cut between words, so that no part of a
/// credential is left that would not be known as one.
#[must_use]
pub fn shown(message: &str) -> String {
    let mut visible = message.chars().filter(|c| !c.is_control());
    let mut shown: String = visible.by_ref().take(MESSAGE_CHARS_MAX).collect();
    if visible.next().is_some() {
        shown.truncate(shown.rfind(char::is_whitespace).unwrap_or_default());
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_between_words() {
        let words = |of: usize| "word ".repeat(of);
        assert_eq!(shown(&words(200)), words(200));
        assert_eq!(shown(&format!("{}x", words(200))), words(200).trim_end());
        assert_eq!(shown(&"x".repeat(MESSAGE_CHARS_MAX + 1)), "");
        assert_eq!(shown("a\u{0}b\n"), "ab");
    }
}
