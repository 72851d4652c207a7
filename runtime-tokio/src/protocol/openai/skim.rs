//! What the scheduler needs of a request, read in one pass that skips all the rest.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use crate::protocol::error::ApiError;
use crate::protocol::json::{self, Broken, Walk};
use crate::protocol::skim::{BAD, EMPTY, NO_MODEL, Route, looks_scheduled};

/// What is read of a request's body; everything else goes on as the bytes that came. Of members
/// with the same name the last counts.
#[derive(Debug)]
pub struct Skim<'a> {
    /// The model asked for, not empty.
    pub model: Cow<'a, str>,
    /// Where the values of all members named `model` stand in the body, in order.
    pub models: Vec<Range<usize>>,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// `prompt_cache_key`, if it is a string: requests of one conversation have the same.
    pub cache_key: Option<Cow<'a, str>>,
    /// Whether the client sent instructions of its own.
    pub instructed: bool,
}

impl<'a> Skim<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// What the client is to be told.
    pub fn read(body: &'a [u8]) -> Result<Self, ApiError> {
        if body.is_empty() {
            return Err(EMPTY);
        }
        let (route, cache_key, instructed) = read(body).map_err(|Broken| BAD)?;
        let model = route.model.filter(|model| !model.is_empty()).ok_or(NO_MODEL)?;
        let stream = route.stream.unwrap_or(false);
        Ok(Self { model, models: route.models, stream, cache_key, instructed })
    }
}

type Found<'a> = (Route<'a>, Option<Cow<'a, str>>, bool);

fn read(body: &[u8]) -> Result<Found<'_>, Broken> {
    let mut walk = Walk::new(body);
    let (mut route, mut cache_key, mut instructed) = (Route::default(), None, false);
    if !walk.enter(b'{') {
        let null = walk.raw()? == b"null";
        walk.end()?;
        return if null { Ok((route, None, false)) } else { Err(Broken) };
    }
    while let Some(name) = walk.member()? {
        match &*name {
            b"model" => route.model_if_any(body, walk.value()?)?,
            b"stream" => route.stream(walk.raw()? == b"true")?,
            b"prompt_cache_key" => cache_key = json::text(walk.raw()?),
            b"instructions" => instructed = !matches!(walk.raw()?, b"null" | b"\"\""),
            other if looks_scheduled(other) => return Err(Broken),
            _ => {
                walk.value()?;
            }
        }
    }
    walk.end()?;
    Ok((route, cache_key, instructed))
}

/// The body with these instructions, for a client that sent none. They come last: of repeated members
/// that is the one that counts.
#[must_use]
pub fn instructed(body: &[u8], instructions: &str) -> Bytes {
    let end = body.iter().rposition(|&byte| byte == b'}').unwrap_or(body.len());
    let empty = body[..end].trim_ascii_end().ends_with(b"{");
    let comma = if empty { "" } else { "," };
    let added = format!("{comma}\"instructions\":{}", json::quoted(instructions));
    [&body[..end], added.as_bytes(), &body[end..]].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> String {
        let error = Skim::read(body.as_bytes()).expect_err("refused");
        assert_eq!((error.status, &*error.kind), (400, "invalid_request_error"));
        error.message.into_owned()
    }

    #[test]
    fn a_wrong_body_is_refused_in_the_words_of_the_protocol() {
        assert_eq!(refused(""), "Request body is empty");
        for bad in
            ["[1,2]", " ", "7", "{", "{\"model\":\"m\"} x", "{\"model\":\"m\",\"Model\":\"n\"}"]
        {
            assert_eq!(refused(bad), "Failed to parse request body", "{bad}");
        }
        for bad in ["null", "{}", "{\"model\":\"\"}", "{\"model\":7}", "{\"model\":null}"] {
            assert_eq!(refused(bad), "model is required", "{bad}");
        }
    }

    #[test]
    fn what_the_scheduler_needs_is_read_and_nothing_else_is_asked_for() {
        let body = br#"{"model":"m","stream":true,"prompt_cache_key":"k","input":[{]]}"#;
        assert!(Skim::read(&body[..body.len() - 1]).is_err());
        let body = br#"{"model":"m","stream":true,"prompt_cache_key":"k","input":[1 2]}"#;
        let skim = Skim::read(body).expect("good");
        assert_eq!((&*skim.model, skim.stream, skim.instructed), ("m", true, false));
        assert_eq!(skim.cache_key.as_deref(), Some("k"));
        let body = br#"{"model":"m","stream":"yes","prompt_cache_key":7,"instructions":"be"}"#;
        let skim = Skim::read(body).expect("good enough");
        assert_eq!((skim.stream, skim.cache_key, skim.instructed), (false, None, true));
    }

    #[test]
    fn instructions_are_added_and_every_other_byte_stays() {
        let with = |body: &str| String::from_utf8(instructed(body.as_bytes(), "a\"b").to_vec());
        assert_eq!(with("{}").as_deref(), Ok(r#"{"instructions":"a\"b"}"#));
        let body = r#"{"n":12345678901234567890,"instructions":null } "#;
        let want = r#"{"n":12345678901234567890,"instructions":null ,"instructions":"a\"b"} "#;
        assert_eq!(with(body).as_deref(), Ok(want));
    }
}
