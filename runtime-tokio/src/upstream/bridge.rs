//! What lies between a client and an upstream that speaks another protocol: how the request is put,
//! and how the answer is read.
//!
//! A pair of protocols for which there is no bridge is never tried: accounts of such an upstream are
//! in no pool that a client of the other protocol is served from.

use bytes::{Bytes, BytesMut};
use sluice_engine::store::Scope;
use sluice_engine::{Outcome, Span};

use crate::directory::Account;
use crate::protocol::Protocol;
use crate::protocol::error::ApiError;
use crate::translate::{self, Naming, Upstream};

/// Between a client's protocol and an account's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bridge {
    /// They are the same: what passes is left as it is.
    None,
    /// From the Messages protocol to Gemini's.
    Translation,
}

impl Bridge {
    /// What lies there, if there is a way.
    pub(crate) fn between(client: Protocol, account: &Account) -> Option<Self> {
        match (client, account.protocol) {
            (client, upstream) if client == upstream => Some(Self::None),
            (Protocol::Anthropic, Protocol::Gemini) => Some(Self::Translation),
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
            Self::Translation => translate::request(&body, &upstream(model)),
        }
    }

    /// The body that asks for the tokens of such a request.
    ///
    /// # Errors
    /// As for [`Self::request`].
    pub(crate) fn count_request(self, body: Bytes, model: &str) -> Result<Bytes, ApiError> {
        match self {
            Self::None => Ok(body),
            Self::Translation => translate::count_request(&body, &upstream(model)),
        }
    }

    /// What the client is told of a refusal with this body, which is `refusal` without a bridge.
    pub(crate) fn refusal(self, body: &[u8], refusal: ApiError) -> ApiError {
        match self {
            Self::None => refusal,
            Self::Translation => translate::upstream_error(body).unwrap_or(refusal),
        }
    }

    /// For an answer that comes in pieces and goes out in pieces.
    pub(crate) fn stream(self, naming: impl FnOnce() -> Naming) -> Lane {
        match self {
            Self::None => Lane::Straight,
            Self::Translation => Lane::Translated(Box::new(translate::Stream::new(naming()))),
        }
    }

    /// For an answer that goes out whole, if it is not to pass as it comes.
    pub(crate) fn whole(self, naming: impl FnOnce() -> Naming) -> Option<Remake> {
        match self {
            Self::None => None,
            Self::Translation => Some(Remake { bytes: BytesMut::new(), naming: naming() }),
        }
    }
}

const fn upstream(model: &str) -> Upstream<'_> {
    Upstream { model, project: None }
}

/// The way of a stream's bytes.
pub(crate) enum Lane {
    Straight,
    Translated(Box<translate::Stream>),
}

impl Lane {
    /// What a piece becomes.
    pub(crate) fn push(&mut self, piece: Bytes) -> Bytes {
        match self {
            Self::Straight => piece,
            Self::Translated(stream) => stream.push(piece),
        }
    }

    /// What is left when the upstream is done, or has broken off.
    pub(crate) fn end(&mut self) -> Bytes {
        match self {
            Self::Straight => Bytes::new(),
            Self::Translated(stream) => stream.end(),
        }
    }

    /// Whether the upstream has said why it ends, so that little can follow.
    pub(crate) fn is_finishing(&self) -> bool {
        match self {
            Self::Straight => false,
            Self::Translated(stream) => stream.is_finishing(),
        }
    }
}

/// A whole answer of another protocol than the client's.
pub(crate) struct Remake {
    bytes: BytesMut,
    naming: Naming,
}

impl Remake {
    /// Takes in a piece.
    ///
    /// # Errors
    /// The answer is of no use.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(), ApiError> {
        if self.bytes.len() + piece.len() > translate::WHOLE_BYTES_MAX {
            return Err(ApiError::new(502, "upstream_error", "The upstream's answer is too large"));
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// The answer for the client.
    ///
    /// # Errors
    /// The answer is of no use.
    pub(crate) fn end(self) -> Result<Bytes, ApiError> {
        translate::whole(&self.bytes, self.naming)
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
