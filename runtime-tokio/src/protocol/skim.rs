//! What scheduling goes by in a request of any protocol that names its model in its body.

use std::borrow::Cow;
use std::ops::Range;

use super::error::ApiError;
use super::json::{self, Broken};

/// The longest name of a model, in bytes.
pub const MODEL_BYTES_MAX: usize = 256;
/// The most members named `model`: one is right, every other is a mistake to be lived with.
pub(super) const MODELS_MAX: usize = 8;

pub(super) const EMPTY: ApiError = ApiError::invalid("Request body is empty");
pub(super) const BAD: ApiError = ApiError::invalid("Failed to parse request body");
pub(super) const NO_MODEL: ApiError = ApiError::invalid("model is required");

/// Model and stream flag, as far as they have been found.
#[derive(Debug, Default)]
pub(super) struct Route<'a> {
    pub(super) model: Option<Cow<'a, str>>,
    /// Where all of them stand.
    pub(super) models: Vec<Range<usize>>,
    pub(super) stream: Option<bool>,
}

impl<'a> Route<'a> {
    /// A `model`, whose value stands there.
    pub(super) fn model(&mut self, body: &'a [u8], at: Range<usize>) -> Result<(), Broken> {
        let model = json::text(&body[at.clone()]).ok_or(Broken)?;
        self.named(Some(model), at)
    }

    /// The same, where anything but a string counts as nothing.
    pub(super) fn model_if_any(&mut self, body: &'a [u8], at: Range<usize>) -> Result<(), Broken> {
        self.named(json::text(&body[at.clone()]), at)
    }

    fn named(&mut self, model: Option<Cow<'a, str>>, at: Range<usize>) -> Result<(), Broken> {
        let long = model.as_ref().is_some_and(|model| model.len() > MODEL_BYTES_MAX);
        if long || self.models.len() == MODELS_MAX {
            return Err(Broken);
        }
        self.model = model;
        self.models.push(at);
        Ok(())
    }

    /// A `stream`. A body that says both is refused: an upstream that heeds the other would answer in
    /// a way that looks like a fault of its own.
    pub(super) fn stream(&mut self, stream: bool) -> Result<(), Broken> {
        match self.stream.replace(stream) {
            Some(before) if before != stream => Err(Broken),
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether a member's name is one that scheduling goes by, but for its case. Some upstreams take such
/// for the real ones.
pub(super) fn looks_scheduled(name: &[u8]) -> bool {
    [&b"model"[..], b"stream"].iter().any(|known| name.eq_ignore_ascii_case(known))
}
