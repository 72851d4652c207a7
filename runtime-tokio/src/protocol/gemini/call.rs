//! What a path asks for: a model, and what to do with it.

use crate::protocol::error::ApiError;
use crate::protocol::skim::MODEL_BYTES_MAX;

/// What can be done with a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// An answer.
    Generate,
    /// An answer in pieces.
    Stream,
    /// How many tokens a request has.
    CountTokens,
}

impl Action {
    const ALL: [Self; 3] = [Self::Generate, Self::Stream, Self::CountTokens];

    /// As paths have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generate => "generateContent",
            Self::Stream => "streamGenerateContent",
            Self::CountTokens => "countTokens",
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call<'a> {
    /// The model.
    pub model: &'a str,
    /// What to do with it.
    pub action: Action,
}

const BAD_PATH: ApiError = ApiError::invalid("Invalid model action path");
const NO_ACTION: ApiError = ApiError::new(404, "not_found_error", "Unsupported action");

impl<'a> Call<'a> {
    /// Reads what follows `/v1beta/models/` in a path: `MODEL:ACTION`, or `MODEL/ACTION`.
    ///
    /// # Errors
    /// What the client is to be told.
    pub fn read(rest: &'a str) -> Result<Self, ApiError> {
        let (model, action) = match rest.split_once(':') {
            Some(split) => split,
            None => rest.rsplit_once('/').ok_or(BAD_PATH)?,
        };
        if !is_model(model) || action.is_empty() {
            return Err(BAD_PATH);
        }
        let known = Action::ALL.into_iter().find(|known| known.name() == action);
        Ok(Self { model, action: known.ok_or(NO_ACTION)? })
    }
}

/// Whether it can be asked for as it is.
fn is_model(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.@/".contains(&b);
    name.len() <= MODEL_BYTES_MAX && name.bytes().all(plain) && stays_in_path(name)
}

/// Whether it can be part of a path at an upstream without leading anywhere else.
#[must_use]
pub fn stays_in_path(name: &str) -> bool {
    // Of nothing but dots is one that is empty, too.
    !name.split('/').any(|segment| segment.bytes().all(|b| b == b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_model_and_an_action() {
        for (rest, model, action) in [
            ("gemini-2.5-flash:generateContent", "gemini-2.5-flash", Action::Generate),
            ("tunedModels/x:streamGenerateContent", "tunedModels/x", Action::Stream),
            ("m/countTokens", "m", Action::CountTokens),
        ] {
            assert_eq!(Call::read(rest), Ok(Call { model, action }));
        }
    }

    #[test]
    fn any_other_path_is_refused_before_a_body_is_read() {
        let long = format!("{}:generateContent", "m".repeat(MODEL_BYTES_MAX + 1));
        for bad in [
            "",
            "m",
            ":generateContent",
            "m:",
            "/generateContent",
            "../../x:generateContent",
            "a/./b:generateContent",
            "a//b:generateContent",
            "a%2e:generateContent",
            &long,
        ] {
            assert_eq!(Call::read(bad), Err(BAD_PATH), "{bad}");
        }
        for unknown in ["m:embedContent", "m:generatecontent", "m/x"] {
            assert_eq!(Call::read(unknown), Err(NO_ACTION), "{unknown}");
        }
    }
}
