//! What the scheduler needs of a request, read in one pass that skips all the rest.
//!
//! What is read here must be sound: the top level, `metadata` as an object, and `messages` up to
//! the first of a user. JSON that is broken deeper inside goes on to the upstream, which refuses it.

use std::borrow::Cow;
use std::ops::Range;

use crate::protocol::error::ApiError;
use crate::protocol::json::{self, Broken, Walk};
use crate::protocol::skim::{BAD, EMPTY, NO_MODEL, Route, looks_scheduled};

/// What is read of a request's body; everything else goes on as the bytes that came. Of members
/// with the same name the last counts.
#[derive(Debug)]
pub struct Skim<'a> {
    /// The model asked for, not empty.
    pub model: Cow<'a, str>,
    /// Where the values of all members named `model` stand in the body, in order. An upstream may
    /// heed another than the last: unless there is just one, all must be replaced.
    pub models: Vec<Range<usize>>,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// `metadata.user_id`, if it is a string.
    pub user_id: Option<Cow<'a, str>>,
    /// The raw value.
    pub system: Option<&'a [u8]>,
    /// The raw value.
    pub tools: Option<&'a [u8]>,
    /// The raw value of the first user message's content.
    pub first_user: Option<&'a [u8]>,
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
        let found = match Found::read(body) {
            Ok(found) => found.ok_or(NO_MODEL)?,
            Err(Broken) => return Err(BAD),
        };
        let route = found.route;
        let model = route.model.filter(|model| !model.is_empty()).ok_or(NO_MODEL)?;
        let said = |raw: &&[u8]| *raw != b"null";
        Ok(Self {
            model,
            models: route.models,
            stream: route.stream.unwrap_or(false),
            user_id: found.user_id,
            system: found.system.filter(said),
            tools: found.tools.filter(said),
            first_user: found.first_user,
        })
    }
}

#[derive(Default)]
struct Found<'a> {
    route: Route<'a>,
    user_id: Option<Cow<'a, str>>,
    system: Option<&'a [u8]>,
    tools: Option<&'a [u8]>,
    first_user: Option<&'a [u8]>,
}

impl<'a> Found<'a> {
    /// `None` for `null`.
    fn read(body: &'a [u8]) -> Result<Option<Self>, Broken> {
        let mut walk = Walk::new(body);
        if !walk.enter(b'{') {
            let null = walk.raw()? == b"null";
            walk.end()?;
            return if null { Ok(None) } else { Err(Broken) };
        }
        let mut found = Self::default();
        while let Some(name) = walk.member()? {
            match &*name {
                b"model" => found.route.model(body, walk.value()?)?,
                b"stream" => found.route.stream(flag(walk.raw()?)?)?,
                b"metadata" => found.user_id = user_id(&mut walk)?,
                b"messages" => found.first_user = first_user(&mut walk)?,
                b"system" => found.system = Some(walk.raw()?),
                b"tools" => found.tools = Some(walk.raw()?),
                other if looks_scheduled(other) => return Err(Broken),
                _ => {
                    walk.value()?;
                }
            }
        }
        walk.end()?;
        Ok(Some(found))
    }
}

fn flag(raw: &[u8]) -> Result<bool, Broken> {
    match raw {
        b"true" => Ok(true),
        b"false" => Ok(false),
        _ => Err(Broken),
    }
}

fn user_id<'a>(walk: &mut Walk<'a>) -> Result<Option<Cow<'a, str>>, Broken> {
    if !walk.enter(b'{') {
        return walk.raw().map(|_| None);
    }
    let mut id = None;
    while let Some(name) = walk.member()? {
        let value = walk.raw()?;
        if *name == *b"user_id" {
            id = json::text(value);
        }
    }
    Ok(id)
}

/// The content of the first message whose role is `user`. Of those behind it only the end is looked
/// for.
fn first_user<'a>(walk: &mut Walk<'a>) -> Result<Option<&'a [u8]>, Broken> {
    if !walk.enter(b'[') {
        return walk.raw().map(|_| None);
    }
    while walk.element(b']')? {
        let content = user_content(walk)?;
        if content.is_some() {
            walk.leave(b']')?;
            return Ok(content);
        }
    }
    Ok(None)
}

fn user_content<'a>(walk: &mut Walk<'a>) -> Result<Option<&'a [u8]>, Broken> {
    if !walk.enter(b'{') {
        return walk.raw().map(|_| None);
    }
    let (mut user, mut content) = (false, None);
    while let Some(name) = walk.member()? {
        let value = walk.raw()?;
        match &*name {
            b"role" => user = json::text(value).is_some_and(|role| role == "user"),
            b"content" => content = Some(value),
            _ => {}
        }
    }
    Ok(content.filter(|_| user))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::skim::{MODEL_BYTES_MAX, MODELS_MAX};

    fn refused(body: &str) -> String {
        let error = Skim::read(body.as_bytes()).expect_err("refused");
        assert_eq!((error.status, &*error.kind), (400, "invalid_request_error"));
        error.message.into_owned()
    }

    #[test]
    fn a_wrong_body_is_refused_in_the_words_of_the_protocol() {
        assert_eq!(refused(""), "Request body is empty");
        for bad in [
            "[1,2]",
            " ",
            "7",
            "\"x\"",
            "{",
            "null null",
            "{\"model\":null}",
            "{\"model\":7}",
            "{\"model\":7,\"model\":\"m\"}",
            "{\"model\":\"m\",\"stream\":\"yes\"}",
            "{\"model\":\"m\",\"stream\":null}",
            "{\"model\":\"m\",\"stream\":true,\"stream\":false}",
            "{\"model\":\"m\"} x",
            "{\"model\":\"m\",\"Model\":\"n\"}",
            "{\"model\":\"m\",\"STREAM\":true}",
            "{\"model\":\"m\" \"stream\":true}",
            "{\"model\":\"m\",\"messages\":[{\"role\":\"assistant\"},]}",
            "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":1}}}",
            "{\"model\":\"m\",\"metadata\":{\"user_id\"}}",
            "{\"model\":\"\\ud800\"}",
            "{\"model\":\"a\nb\"}",
            "[\"m\",true,null,null,null,null]",
        ] {
            assert_eq!(refused(bad), "Failed to parse request body", "{bad}");
        }
        for bad in ["null", " null\n", "{}", "{\"model\":\"\"}"] {
            assert_eq!(refused(bad), "model is required", "{bad}");
        }
        assert!(Skim::read(b"{\"model\":\"\xff\"}").is_err());
    }

    #[test]
    fn what_the_scheduler_needs_is_read_and_nothing_else_is_asked_for() {
        let body = r#"{"model":"m","stream":true,"metadata":{"user_id":"u"},"system":"s",
            "tools":[1],"messages":[{"role":"assistant","content":"no"},{"content":[2],"role":"user"},
            {"role":"user","content":"later"}],"max_tokens":7}"#;
        let skim = Skim::read(body.as_bytes()).expect("good");
        assert_eq!((&*skim.model, skim.stream, skim.user_id.as_deref()), ("m", true, Some("u")));
        assert_eq!((skim.system, skim.tools), (Some(&b"\"s\""[..]), Some(&b"[1]"[..])));
        assert_eq!(skim.first_user, Some(&b"[2]"[..]));
        let odd = r#"{"model":" ","metadata":7,"messages":{"a":1},"system":null,"tools":null}"#;
        let skim = Skim::read(odd.as_bytes()).expect("good enough");
        assert_eq!((&*skim.model, skim.stream, skim.first_user), (" ", false, None));
        assert_eq!((skim.system, skim.tools), (None, None));
    }

    #[test]
    fn json_that_is_broken_deep_inside_is_left_to_the_upstream() {
        for odd in [
            r#"{"model":"m","messages":[{"role":"user","content":[1 2,,{]]}]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":1},nonsense {"a"}]}"#,
            r#"{"model":"m","tools":[{]]}"#,
            "{\"model\":\"m\",\"system\":\"\n\\x\"}",
        ] {
            assert!(Skim::read(odd.as_bytes()).is_ok(), "{odd}");
        }
        let no_text = b"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}";
        let skim = Skim::read(no_text).expect("only bytes are asked for");
        assert_eq!(skim.first_user, Some(&b"\"\xff\""[..]));
    }

    #[test]
    fn of_repeated_members_the_last_counts_and_every_model_is_known() {
        let body = r#"{"model":"a","mod\u0065l":"b\u0020","metadata":{"user_id":"x"},
            "metadata":{"user_id":"y","user_id":"z"},"system":"s","system":"t","model":"c"}"#;
        let skim = Skim::read(body.as_bytes()).expect("good");
        assert_eq!((&*skim.model, skim.user_id.as_deref()), ("c", Some("z")));
        assert_eq!(skim.system, Some(&b"\"t\""[..]));
        let told = json::splice(body.as_bytes(), &skim.models, "up");
        let told = String::from_utf8(told.to_vec()).expect("valid");
        assert!(told.starts_with(r#"{"model":"up","mod\u0065l":"up","metadata""#), "{told}");
        assert!(told.ends_with(r#","model":"up"}"#), "{told}");
        let many = |n: usize| format!("{{{}}}", vec![r#""model":"m""#; n].join(","));
        assert!(Skim::read(many(MODELS_MAX).as_bytes()).is_ok());
        assert_eq!(refused(&many(MODELS_MAX + 1)), "Failed to parse request body");
    }

    #[test]
    fn a_model_name_has_a_longest_length() {
        let body = |len: usize| format!("{{\"model\":\"{}\"}}", "m".repeat(len));
        assert!(Skim::read(body(MODEL_BYTES_MAX).as_bytes()).is_ok());
        assert_eq!(refused(&body(MODEL_BYTES_MAX + 1)), "Failed to parse request body");
    }
}
