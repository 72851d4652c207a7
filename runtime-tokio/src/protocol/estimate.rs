//! How many tokens a request has, roughly: for upstreams that cannot count.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::error::ApiError;
use super::skim::BAD;

/// Bytes of ASCII for one token.
const TOKEN_BYTES: u64 = 4;
/// An image or a document counts as much as the largest image that is not scaled down.
const MEDIA_TOKENS: u64 = 1_600;

/// Tokens of a text: a token for every four characters, or for every one where few are ASCII.
#[must_use]
pub fn of_text(text: &str) -> u64 {
    let text = text.trim();
    let all = text.chars().count() as u64;
    let ascii = text.bytes().filter(u8::is_ascii).count() as u64;
    // Four fifths.
    if ascii * 5 >= all * 4 { all.div_ceil(TOKEN_BYTES) } else { all }
}

/// Input tokens of a request of the Messages protocol.
///
/// # Errors
/// It is not JSON.
pub fn of_messages(body: &[u8]) -> Result<u64, ApiError> {
    tally(body, Place::Top(&["system", "messages", "tools"]))
}

/// Tokens of a request of the Gemini protocol, or of one that asks for its tokens.
///
/// # Errors
/// It is not JSON.
pub fn of_contents(body: &[u8]) -> Result<u64, ApiError> {
    tally(body, Place::Top(&["systemInstruction", "system_instruction", "contents", "tools"]))
}

fn tally(body: &[u8], place: Place) -> Result<u64, ApiError> {
    let mut tokens = 0;
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let tally = Tally { tokens: &mut tokens, place };
    tally.deserialize(&mut deserializer).map_err(|_| BAD)?;
    deserializer.end().map_err(|_| BAD)?;
    Ok(tokens)
}

/// Where in a request a value stands.
#[derive(Clone, Copy)]
enum Place {
    /// At the top, of whose members these count.
    Top(&'static [&'static str]),
    /// Below one that counts.
    Below,
}

/// What a member of this name is.
enum Member {
    /// Says nothing to the model.
    Silent,
    /// Counts as the JSON that it is.
    Json,
    Media,
    /// A request within a request for its tokens.
    Request,
    /// Holds texts.
    Texts,
}

impl Place {
    fn member(self, name: &str) -> Member {
        match self {
            Self::Top(_) if name == "generateContentRequest" => Member::Request,
            Self::Top(counted) if !counted.contains(&name) => Member::Silent,
            Self::Top(_) if name == "tools" => Member::Json,
            Self::Top(_) => Member::Texts,
            Self::Below => match name {
                "type" | "role" | "id" | "tool_use_id" | "cache_control" | "signature"
                | "thoughtSignature" => Member::Silent,
                "input" | "functionCall" | "functionResponse" => Member::Json,
                "source" | "inlineData" | "fileData" => Member::Media,
                _ => Member::Texts,
            },
        }
    }
}

struct Tally<'t> {
    tokens: &'t mut u64,
    place: Place,
}

impl<'de> DeserializeSeed<'de> for Tally<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tally<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        *self.tokens += of_text(text);
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { tokens, place } = self;
        while list.next_element_seed(Tally { tokens: &mut *tokens, place })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { tokens, place } = self;
        while let Some(name) = map.next_key::<String>()? {
            match place.member(&name) {
                Member::Silent => drop(map.next_value::<IgnoredAny>()?),
                Member::Json => *tokens += of_text(map.next_value::<&RawValue>()?.get()),
                Member::Media => {
                    map.next_value::<IgnoredAny>()?;
                    *tokens += MEDIA_TOKENS;
                }
                Member::Request => {
                    map.next_value_seed(Tally { tokens: &mut *tokens, place })?;
                }
                Member::Texts => {
                    map.next_value_seed(Tally { tokens: &mut *tokens, place: Place::Below })?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_text_is_told_by_its_length_and_its_script() {
        let tokens = ["hello world", "   ", "数据库连接", "abcd字"].map(of_text);
        assert_eq!(tokens, [3, 0, 5, 2]);
    }

    #[test]
    fn what_the_model_reads_counts_and_nothing_else() {
        let body = json!({
            "model": "a-long-name-of-a-model", "max_tokens": 9, "metadata": {"user_id": "somebody"},
            "system": [{"type": "text", "text": "abcd", "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {"role": "user", "content": "abcdefgh"},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "toolu_1", "name": "find", "input": {"a": 1}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": "abcd"},
                    {"type": "image", "source": {"type": "base64", "data": "AAAA"}}]},
            ],
        });
        let of = |body: &serde_json::Value| of_messages(body.to_string().as_bytes());
        assert_eq!(of(&body), Ok(1 + 2 + (1 + 2) + 1 + 1_600));
        let tools = json!({"messages": [], "tools": [{"name": "x"}]});
        assert_eq!(of(&tools), Ok(4), "as the JSON that they are");
        assert_eq!(of(&json!({"model": "m"})), Ok(0));
    }

    #[test]
    fn a_request_of_gemini_counts_by_its_texts_also_within_another() {
        let request = json!({
            "systemInstruction": {"parts": [{"text": "hello world"}]}, "generationConfig": {"x": "y"},
            "contents": [{"role": "user", "parts": [{"text": "数据库连接"}, {"text": "   "},
                {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}],
        });
        let of = |body: &serde_json::Value| of_contents(body.to_string().as_bytes());
        assert_eq!(of(&request), Ok(3 + 5 + 1_600));
        assert_eq!(of(&json!({"generateContentRequest": request})), Ok(3 + 5 + 1_600));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let deep = format!("{{\"messages\":{}", "[".repeat(100_000));
        for bad in ["", "{", "{} {}", "{\"messages\":[}", &deep] {
            assert_eq!(of_messages(bad.as_bytes()), Err(BAD), "{bad:.20}");
        }
    }
}
