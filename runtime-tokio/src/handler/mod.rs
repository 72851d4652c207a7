//! What clients and operators can ask for. One flow of the chart a file.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, Response, StatusCode};

use crate::protocol::error::ApiError;
use crate::protocol::json;
use crate::telemetry::AccessLog;
use crate::wire::Answer;

pub mod admin;
pub(crate) mod body;
pub(crate) mod messages;

/// A request that was understood, as attempts need it.
pub(crate) struct Asked {
    /// Gone once the answer has begun: nobody will be asked again.
    body: RefCell<Option<(Bytes, body::Parked)>>,
    pub(crate) headers: HeaderMap,
    pub(crate) model: String,
    /// Where the body names it.
    models: Vec<Range<usize>>,
    pub(crate) stream: bool,
    request_id: String,
    pub(crate) log: Rc<AccessLog>,
}

impl Asked {
    /// The body for an upstream that has another name for the model.
    pub(crate) fn body_for(&self, model: Option<&str>) -> Option<Bytes> {
        let body = self.body.borrow().as_ref().map(|(bytes, _)| bytes.clone())?;
        // Of several models the upstream is told the one that was scheduled.
        if model.is_none() && self.models.len() == 1 {
            return Some(body);
        }
        Some(json::splice(&body, &self.models, model.unwrap_or(&self.model)))
    }

    pub(crate) fn forget_body(&self) {
        drop(self.body.take());
    }

    pub(crate) fn request_id_header(&self) -> HeaderValue {
        id_header(&self.request_id)
    }

    /// The head of a stream of events.
    pub(crate) fn stream_head(&self) -> Response<()> {
        let mut response = Response::new(());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        headers.insert("x-request-id", self.request_id_header());
        response
    }
}

/// The name of a request in answers and logs.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

fn id_header(id: &str) -> HeaderValue {
    HeaderValue::try_from(id).expect("an id is of visible ASCII characters")
}

/// The request's name: the client's, if it is a sane one, or a new one.
pub(crate) fn request_id<'h>(
    headers: &'h HeaderMap,
    mint: impl FnOnce() -> String,
) -> Cow<'h, str> {
    let sane = |id: &&str| {
        (1..=128).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
    };
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(sane);
    given.map_or_else(|| Cow::Owned(mint()), Cow::Borrowed)
}

/// The head and body of an error.
pub(crate) fn error_response(error: &ApiError, request_id: &str) -> (Response<()>, Bytes) {
    let mut response = Response::new(());
    *response.status_mut() =
        StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(REQUEST_ID, id_header(request_id));
    if let Some(secs) = error.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(secs));
    }
    (response, Bytes::from(error.to_json()))
}

/// An error as a whole answer.
pub(crate) fn refuse(error: &ApiError, request_id: &str) -> Response<Answer> {
    let (head, body) = error_response(error, request_id);
    head.map(|()| Answer::whole(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_request_id_is_kept_and_any_other_replaced() {
        let id = |given: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::try_from(given).expect("a header"));
            request_id(&headers, || "new".to_owned()).into_owned()
        };
        assert_eq!(id("req_1-a.b:c"), "req_1-a.b:c");
        assert_eq!(id("a b"), "new");
        assert_eq!(id(""), "new");
        assert_eq!(id(&"a".repeat(129)), "new");
        assert_eq!(request_id(&HeaderMap::new(), || "new".to_owned()), "new");
    }
}
