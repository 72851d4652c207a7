//! What lies between a client and an upstream that speaks another protocol: how the request is put,
//! and how the answer is read.
//!
//! A pair of protocols for which there is no bridge is never tried: accounts of such an upstream are
//! in no pool that a client of the other protocol is served from.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use hyper::Response;
use serde_json::Value;
use sluice_engine::store::Scope;
use sluice_engine::{Outcome, Span, Time};

use super::access::Access;
use super::classify::classify;
use crate::directory::Account;
use crate::protocol::Protocol;
use crate::protocol::answer::Kind;
use crate::protocol::error::ApiError;
use crate::protocol::gemini::{self, Merge, envelope};
use crate::protocol::sse::{self, Splitter};
use crate::translate::{self, Naming, Upstream};

/// Between a client's protocol and an account's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bridge<'a> {
    /// They are the same: what passes is left as it is.
    None,
    /// From the Messages protocol to Gemini's; with a project, in Code Assist's envelope.
    Translation { project: Option<&'a str> },
    /// From the Gemini protocol to the same in Code Assist's envelope.
    Envelope { project: &'a str },
}

impl<'a> Bridge<'a> {
    /// What lies there, if there is a way.
    pub(crate) fn between(client: Protocol, account: &'a Account) -> Option<Self> {
        let project = account.project.as_deref();
        match (client, account.protocol, project) {
            (Protocol::Gemini, Protocol::Gemini, Some(project)) => Some(Self::Envelope { project }),
            (Protocol::Anthropic, Protocol::Gemini, project) => Some(Self::Translation { project }),
            (client, upstream, None) if client == upstream => Some(Self::None),
            _ => None,
        }
    }

    /// The body for an upstream that calls the model so; `body` is what it is without a bridge.
    ///
    /// # Errors
    /// The client asks for what the upstream has no words for.
    pub(crate) fn request(self, body: Bytes, model: &str) -> Result<Bytes, ApiError> {
        match self {
            Self::None => Ok(body),
            Self::Translation { project } => translate::request(&body, &upstream(model, project)?),
            Self::Envelope { project } => envelope::wrapped(&body, model, project),
        }
    }

    /// The body that asks for the tokens of such a request, if the upstream can be asked.
    ///
    /// # Errors
    /// As for [`Self::request`].
    pub(crate) fn count_request(self, body: Bytes, model: &str) -> Result<Option<Bytes>, ApiError> {
        match self {
            Self::None => Ok(Some(body)),
            Self::Translation { project: None } => {
                translate::count_request(&body, &upstream(model, None)?).map(Some)
            }
            Self::Translation { project: Some(_) } | Self::Envelope { .. } => Ok(None),
        }
    }

    /// Whether the upstream is asked for a stream also where the client wants a plain answer.
    pub(crate) const fn always_streams(self) -> bool {
        matches!(self, Self::Translation { project: Some(_) } | Self::Envelope { .. })
    }

    /// What an account's answer with a status other than 2xx means, and what the client is told of it
    /// if the request is called wrong. `now` counts from the Unix epoch.
    pub(crate) fn failure(
        self,
        access: &Access<'_>,
        head: &Response<()>,
        body: &[u8],
        now: Time,
    ) -> (Outcome, Option<ApiError>) {
        let protocol = access.account.protocol;
        let (outcome, refusal) =
            classify(protocol, head.status().as_u16(), head.headers(), body, now);
        let refusal = refusal.map(|refusal| match self {
            Self::None | Self::Envelope { .. } => refusal,
            Self::Translation { .. } => translate::upstream_error(body).unwrap_or(refusal),
        });
        (outcome, refusal.map(|refusal| access.secrets().told(refusal)))
    }

    /// For an answer that comes in pieces and goes out in pieces.
    pub(crate) fn stream(self, naming: impl FnOnce() -> Naming) -> Lane {
        match self {
            Self::None => Lane::Straight,
            Self::Translation { .. } => {
                Lane::Translated(Box::new(translate::Stream::new(naming())))
            }
            Self::Envelope { .. } => Lane::Unwrapped(Splitter::default()),
        }
    }

    /// For an answer that goes out whole, if it is not to pass as it comes.
    pub(crate) fn whole(self, naming: impl FnOnce() -> Naming) -> Option<Remake> {
        match self {
            Self::None => None,
            Self::Translation { project: None } => {
                Some(Remake::Translated(BytesMut::new(), naming()))
            }
            Self::Translation { project: Some(_) } => {
                Some(Remake::Streamed(Box::new(translate::Whole::new(naming()))))
            }
            Self::Envelope { .. } => Some(Remake::Merged(Merging::default())),
        }
    }
}

/// Who is asked, by a name that a path at Gemini's can have in it.
fn upstream<'a>(model: &'a str, project: Option<&'a str>) -> Result<Upstream<'a>, ApiError> {
    if gemini::stays_in_path(model) {
        return Ok(Upstream { model, project });
    }
    let message =
        format!("model: {model} cannot be the name of one: a part of it is empty or dots");
    Err(ApiError { message: Cow::Owned(message), ..ApiError::invalid("") })
}

/// The way of a stream's bytes.
pub(crate) enum Lane {
    Straight,
    Translated(Box<translate::Stream>),
    Unwrapped(Splitter),
}

impl Lane {
    /// What a piece becomes.
    pub(crate) fn push(&mut self, piece: Bytes) -> Bytes {
        match self {
            Self::Straight => piece,
            Self::Translated(stream) => stream.push(piece),
            Self::Unwrapped(splitter) => match splitter.push(piece) {
                Ok(whole) => unwrapped(&whole),
                Err(_) => translate::too_large().to_event(Protocol::Gemini),
            },
        }
    }

    /// What is left when the upstream is done, or has broken off.
    pub(crate) fn end(&mut self) -> Bytes {
        match self {
            Self::Straight | Self::Unwrapped(_) => Bytes::new(),
            Self::Translated(stream) => stream.end(),
        }
    }

    /// Whether the upstream has said why it ends, so that little can follow.
    pub(crate) fn is_finishing(&self) -> bool {
        match self {
            Self::Straight | Self::Unwrapped(_) => false,
            Self::Translated(stream) => stream.is_finishing(),
        }
    }
}

fn unwrapped(events: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(events.len());
    for event in sse::events(events) {
        out.extend_from_slice(&envelope::unwrapped_event(&event));
    }
    out.freeze()
}

/// A plain answer that is made anew.
pub(crate) enum Remake {
    /// From a plain one of Gemini's.
    Translated(BytesMut, Naming),
    /// From a stream of Gemini's.
    Streamed(Box<translate::Whole>),
    /// From the chunks of a stream, in the same protocol.
    Merged(Merging),
}

impl Remake {
    /// Takes in a piece.
    ///
    /// # Errors
    /// The answer is of no use.
    pub(crate) fn push(&mut self, piece: Bytes) -> Result<(), ApiError> {
        match self {
            Self::Translated(bytes, _)
                if bytes.len() + piece.len() > translate::WHOLE_BYTES_MAX =>
            {
                Err(translate::too_large())
            }
            Self::Translated(bytes, _) => {
                bytes.extend_from_slice(&piece);
                Ok(())
            }
            Self::Streamed(whole) => whole.push(piece),
            Self::Merged(merging) => merging.push(piece),
        }
    }

    /// Whether the upstream has said why it ends, so that little can follow.
    pub(crate) fn is_finishing(&self) -> bool {
        match self {
            Self::Translated(..) => false,
            Self::Streamed(whole) => whole.is_finishing(),
            Self::Merged(merging) => merging.answer.is_finished(),
        }
    }

    /// The answer for the client.
    ///
    /// # Errors
    /// The answer is of no use.
    pub(crate) fn end(self) -> Result<Bytes, ApiError> {
        match self {
            Self::Translated(bytes, naming) => translate::whole(&bytes, naming),
            Self::Streamed(whole) => whole.end(),
            Self::Merged(merging) => merging.end(),
        }
    }
}

/// The chunks of a stream, put together out of their envelopes.
#[derive(Default)]
pub(crate) struct Merging {
    splitter: Splitter,
    answer: Merge,
    bytes: usize,
}

impl Merging {
    fn push(&mut self, piece: Bytes) -> Result<(), ApiError> {
        self.bytes = self.bytes.saturating_add(piece.len());
        if self.bytes > translate::WHOLE_BYTES_MAX {
            return Err(translate::too_large());
        }
        let whole = self.splitter.push(piece).map_err(|_| translate::too_large())?;
        for event in sse::events(&whole) {
            let data = envelope::unwrapped(&event.data);
            if gemini::kind(data) == Kind::Error {
                return Err(translate::upstream_error(data).unwrap_or(translate::broke_off()));
            }
            if let Ok(chunk) = serde_json::from_slice::<Value>(data) {
                self.answer.take(chunk);
            }
        }
        Ok(())
    }

    fn end(self) -> Result<Bytes, ApiError> {
        let answer = self.answer.into_json();
        let whole = gemini::kind(answer.as_bytes()) == Kind::Stop;
        if whole { Ok(answer.into()) } else { Err(translate::broke_off()) }
    }
}

/// What an answer amounts to of which a translation says this.
pub(crate) fn outcome_of(error: &ApiError) -> Outcome {
    let retry_after = error.retry_after.map(Span::from_secs);
    match error.status {
        429 => Outcome::RateLimited { scope: Scope::Account, retry_after },
        503 => Outcome::Overloaded { retry_after },
        status @ 400..=499 => Outcome::ClientError { status },
        _ => Outcome::ServerError { status: 502 },
    }
}
