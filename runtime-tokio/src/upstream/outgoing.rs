//! A request, as either version of HTTP puts it.
//!
//! **Architecture Invariant:** of a client's headers only those that may pass do, and the only
//! credential is the account's, beside its only host.

use std::borrow::Cow;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, Version};

use super::access::Access;
use super::headers::{self, BETA};
use crate::protocol::Protocol;

/// Bytes of a usual head, so that it needs not grow.
const HEAD_BYTES_USUAL: usize = 1024;

/// See the module's documentation.
#[derive(Clone)]
pub(crate) struct Outgoing<'a> {
    pub(crate) method: Method,
    pub(crate) protocol: Protocol,
    /// What the client sent.
    pub(crate) client: &'a HeaderMap,
    pub(crate) path: Cow<'a, str>,
    pub(crate) body: Bytes,
}

impl Outgoing<'_> {
    /// What comes before the body in HTTP/1.1.
    pub(crate) fn http1_head(&self, access: &Access<'_>) -> Bytes {
        let mut head = Vec::with_capacity(HEAD_BYTES_USUAL);
        for part in [self.method.as_str(), " ", &*self.path, " HTTP/1.1\r\n"] {
            head.extend_from_slice(part.as_bytes());
        }
        let length = HeaderValue::from(self.body.len());
        let host = &access.account.target.host;
        let own = [(&HOST, host), (&CONTENT_LENGTH, &length)];
        let beta = self.beta(access);
        for (name, value) in own.into_iter().chain(self.headers(access, beta.as_ref())) {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                head.extend_from_slice(part);
            }
        }
        head.extend_from_slice(b"\r\n");
        head.into()
    }

    /// All of it, as HTTP/2 has it.
    pub(crate) fn http2(&self, access: &Access<'_>) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        let uri = format!("{}{}", access.account.target.origin, self.path).parse();
        *request.uri_mut() = uri.expect("an origin and a path of plain characters");
        *request.version_mut() = Version::HTTP_2;
        let headers = request.headers_mut();
        let beta = self.beta(access);
        for (name, value) in self.headers(access, beta.as_ref()) {
            headers.append(name.clone(), value.clone());
        }
        request
    }

    /// What `anthropic-beta` says, if that is not what the client says.
    fn beta(&self, access: &Access<'_>) -> Option<HeaderValue> {
        access.beta().map(|feature| headers::betas_with(feature, self.client))
    }

    /// What both versions have.
    fn headers<'h>(
        &'h self,
        access: &'h Access<'_>,
        beta: Option<&'h HeaderValue>,
    ) -> impl Iterator<Item = (&'h HeaderName, &'h HeaderValue)> {
        let (credential, secret) = access.header();
        let passed = headers::up(self.protocol, self.client);
        let passed = passed.filter(move |(name, _)| beta.is_none() || **name != BETA);
        [(credential, secret)].into_iter().chain(beta.map(|beta| (&BETA, beta))).chain(passed)
    }
}
