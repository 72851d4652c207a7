//! What a path is for.

use hyper::Method;

use crate::protocol::Protocol;

/// What the paths of models begin with. Some versions of the official SDKs leave out the `beta`.
const GEMINI_MODELS: [&str; 2] = ["/v1beta/models/", "/v1/models/"];
/// What comes before the paths that only accounts of this platform serve.
const FORCED: &str = "/antigravity";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Messages,
    CountTokens,
    Responses,
    /// What follows `/v1beta/models/`.
    Call(String),
    /// The models of the Messages or of the Responses protocol; one, or all of them.
    Models(Option<String>),
    /// The same of the Gemini protocol.
    GeminiModels(Option<String>),
    Preflight,
    Telemetry,
    /// There is something else there.
    WrongMethod,
    Nowhere,
}

/// A path, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) place: Place,
    /// Only accounts that the path names are to serve it.
    pub(super) forced: bool,
    /// What a client of this path speaks, whether or not it is right.
    pub(super) protocol: Protocol,
}

impl Route {
    pub(super) fn of(method: &Method, path: &str) -> Self {
        let inner = path.strip_prefix(FORCED).filter(|rest| rest.starts_with("/v1"));
        let (forced, path) = inner.map_or((false, path), |rest| (true, rest));
        let place = match *method {
            Method::OPTIONS => Place::Preflight,
            Method::POST => posted(path, forced),
            Method::GET => got(path),
            _ => other(path, forced),
        };
        Self { place, forced, protocol: spoken_at(path) }
    }
}

fn posted(path: &str, forced: bool) -> Place {
    match path {
        "/v1/messages" => Place::Messages,
        "/v1/messages/count_tokens" => Place::CountTokens,
        "/v1/responses" | "/responses" | "/openai/v1/responses" if !forced => Place::Responses,
        "/api/event_logging/batch" => Place::Telemetry,
        _ => match of_model(path) {
            Some(rest) => Place::Call(rest.to_owned()),
            None => other(path, forced),
        },
    }
}

fn got(path: &str) -> Place {
    let (rest, place): (_, fn(_) -> _) = match path.strip_prefix("/v1beta/models") {
        Some(rest) => (rest, Place::GeminiModels),
        None => match path.strip_prefix("/v1/models") {
            Some(rest) => (rest, Place::Models),
            None => return other(path, false),
        },
    };
    match rest.strip_prefix('/') {
        None if rest.is_empty() => place(None),
        Some(model) if !model.is_empty() => place(Some(model.to_owned())),
        _ => Place::Nowhere,
    }
}

/// Where something is, but not by this method.
fn other(path: &str, forced: bool) -> Place {
    match path {
        "/v1/messages" | "/v1/messages/count_tokens" | "/v1/models" | "/v1beta/models" => {
            Place::WrongMethod
        }
        "/v1/responses"
        | "/responses"
        | "/openai/v1/responses"
        | "/api/event_logging/batch"
        | "/livez"
        | "/readyz"
        | "/health"
            if !forced =>
        {
            Place::WrongMethod
        }
        _ => Place::Nowhere,
    }
}

fn spoken_at(path: &str) -> Protocol {
    match path {
        _ if path.ends_with("/responses") => Protocol::OpenAi,
        _ if path.starts_with("/v1beta/") || of_model(path).is_some() => Protocol::Gemini,
        _ => Protocol::Anthropic,
    }
}

/// What follows the beginning of a path of a model.
fn of_model(path: &str) -> Option<&str> {
    GEMINI_MODELS.iter().find_map(|begin| path.strip_prefix(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_for_one_thing() {
        let one = |id: &str| Some(id.to_owned());
        for (method, path, place) in [
            ("POST", "/v1/messages", Place::Messages),
            ("POST", "/v1/messages/count_tokens", Place::CountTokens),
            ("POST", "/responses", Place::Responses),
            ("POST", "/v1beta/models/m:x", Place::Call("m:x".to_owned())),
            ("POST", "/v1/models/m:x", Place::Call("m:x".to_owned())),
            ("GET", "/v1/models", Place::Models(None)),
            ("GET", "/v1/models/m", Place::Models(one("m"))),
            ("GET", "/v1beta/models", Place::GeminiModels(None)),
            ("GET", "/v1beta/models/tuned/x", Place::GeminiModels(one("tuned/x"))),
            ("GET", "/v1/models/", Place::Nowhere),
            ("GET", "/v1/modelsx", Place::Nowhere),
            ("GET", "/v2/models", Place::Nowhere),
            ("GET", "/v1/messages", Place::WrongMethod),
            ("DELETE", "/v1/models", Place::WrongMethod),
            ("POST", "/v1beta/models", Place::WrongMethod),
            ("PUT", "/health", Place::WrongMethod),
            ("OPTIONS", "/anything", Place::Preflight),
            ("POST", "/", Place::Nowhere),
        ] {
            let method = method.parse().expect("a method");
            assert_eq!(Route::of(&method, path).place, place, "{method} {path}");
        }
    }

    #[test]
    fn some_paths_can_name_who_is_to_serve_them() {
        for (path, place) in [
            ("/antigravity/v1/messages", Place::Messages),
            ("/antigravity/v1/messages/count_tokens", Place::CountTokens),
            ("/antigravity/v1beta/models/m:x", Place::Call("m:x".to_owned())),
            ("/antigravity/v1/responses", Place::Nowhere),
        ] {
            let route = Route::of(&Method::POST, path);
            assert_eq!((route.place, route.forced), (place, true), "{path}");
        }
        let other = Route::of(&Method::POST, "/antigravity/api/event_logging/batch");
        assert_eq!((other.place, other.forced), (Place::Nowhere, false));
    }
}
