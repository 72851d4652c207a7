//! What every request to an account has in common, made once and not for every request.

use std::borrow::Cow;
use std::fmt::Write as _;

use hyper::Uri;
use hyper::header::HeaderValue;

use crate::directory::Endpoint;

/// How an upstream is asked: its paths, and where its credential stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamKind {
    /// Anthropic's Messages, with an API key.
    Anthropic,
    /// OpenAI's Responses, with an API key.
    OpenAi,
    /// Google's Gemini, with an API key.
    Gemini,
    /// The same in Code Assist's envelope, with an access token.
    CodeAssist,
}

/// What an upstream is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// An answer.
    Answer {
        /// In pieces.
        stream: bool,
    },
    /// How many tokens a request has.
    Count,
    /// Which models there are.
    Models,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Target {
    /// Scheme and host, as HTTP/2 names them.
    pub(crate) origin: String,
    /// Where answers are asked for; or, where that depends on what is asked, what it begins with.
    path: String,
    /// Where the list of models is.
    models: Option<String>,
    kind: UpstreamKind,
    /// The `host` header of HTTP/1.1.
    pub(crate) host: HeaderValue,
}

/// Where answers are asked for, below a base address. Those of OpenAI end in the version for some, and
/// do not for others.
fn path(kind: UpstreamKind, prefix: &str) -> String {
    match kind {
        UpstreamKind::Anthropic => format!("{prefix}/v1/messages"),
        UpstreamKind::OpenAi if prefix.ends_with("/v1") => format!("{prefix}/responses"),
        UpstreamKind::OpenAi => format!("{prefix}/v1/responses"),
        UpstreamKind::Gemini => format!("{prefix}/v1beta/models/"),
        UpstreamKind::CodeAssist => format!("{prefix}/v1internal:streamGenerateContent?alt=sse"),
    }
}

/// Where the list of models is, as much of it on a page as there can be.
fn models(kind: UpstreamKind, prefix: &str) -> Option<String> {
    Some(match kind {
        UpstreamKind::Anthropic => format!("{prefix}/v1/models?limit=1000"),
        UpstreamKind::OpenAi if prefix.ends_with("/v1") => format!("{prefix}/models"),
        UpstreamKind::OpenAi => format!("{prefix}/v1/models"),
        UpstreamKind::Gemini => format!("{prefix}/v1beta/models?pageSize=1000"),
        UpstreamKind::CodeAssist => return None,
    })
}

impl Target {
    /// The target at this endpoint.
    ///
    /// # Errors
    /// Characters that cannot be in a request: the account's field, and the remedy.
    pub fn new(kind: UpstreamKind, endpoint: &Endpoint) -> Result<Self, (&'static str, String)> {
        let path = path(kind, &endpoint.prefix);
        let scheme = if endpoint.tls { "https" } else { "http" };
        let authority = endpoint.authority();
        let origin = format!("{scheme}://{authority}");
        let uri = format!("{origin}{path}").parse::<Uri>();
        uri.map_err(|e| ("base_url", format!("{origin}{path}: {e}")))?;
        Ok(Self {
            origin,
            path,
            models: models(kind, &endpoint.prefix),
            kind,
            host: HeaderValue::try_from(&authority)
                .map_err(|e| ("base_url", format!("{authority}: {e}")))?,
        })
    }

    /// Where this is asked for, if it can be. `model` is the upstream's name of it.
    pub(crate) fn path(&self, model: &str, operation: Operation) -> Option<Cow<'_, str>> {
        Some(match (self.kind, operation) {
            (
                UpstreamKind::Anthropic | UpstreamKind::OpenAi | UpstreamKind::CodeAssist,
                Operation::Answer { .. },
            ) => Cow::Borrowed(&*self.path),
            (UpstreamKind::Anthropic, Operation::Count) => {
                Cow::Owned(format!("{}/count_tokens", self.path))
            }
            (UpstreamKind::OpenAi | UpstreamKind::CodeAssist, Operation::Count) => return None,
            (_, Operation::Models) => Cow::Borrowed(self.models.as_deref()?),
            (UpstreamKind::Gemini, Operation::Answer { stream: false }) => {
                self.call(model, "generateContent")
            }
            (UpstreamKind::Gemini, Operation::Answer { stream: true }) => {
                self.call(model, "streamGenerateContent?alt=sse")
            }
            (UpstreamKind::Gemini, Operation::Count) => self.call(model, "countTokens"),
        })
    }

    fn call(&self, model: &str, action: &str) -> Cow<'_, str> {
        Cow::Owned(format!("{}{}:{action}", self.path, in_path(model)))
    }
}

/// An operator's name of a model as a part of a path, which it cannot leave.
fn in_path(name: &str) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.@/".contains(&b);
    if name.bytes().all(plain) {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len() + 8);
    for byte in name.bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("memory takes what is written");
        }
    }
    Cow::Owned(out)
}
