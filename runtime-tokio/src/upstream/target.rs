//! What every request to an account has in common, made once and not for every request.
//!
//! **Architecture Invariant:** an account's credential is here beside the only host it is sent to.

use hyper::Uri;
use hyper::header::HeaderValue;

use crate::config::Secret;
use crate::directory::Endpoint;

const PATH: &str = "/v1/messages";

/// See the module's documentation.
#[derive(Debug)]
pub struct Target {
    /// With scheme and host, as HTTP/2 names it; HTTP/1.1 names its path alone.
    pub(crate) uri: Uri,
    /// The `host` header of HTTP/1.1.
    pub(crate) host: HeaderValue,
    /// The credential. Not shown by `Debug`.
    pub(crate) key: HeaderValue,
}

impl Target {
    /// The target at this endpoint.
    ///
    /// # Errors
    /// Characters that cannot be in a request: the account's field, and the remedy.
    pub fn new(endpoint: &Endpoint, key: &Secret) -> Result<Self, (&'static str, String)> {
        let Endpoint { prefix, .. } = endpoint;
        let scheme = if endpoint.tls { "https" } else { "http" };
        let authority = endpoint.authority();
        let uri = format!("{scheme}://{authority}{prefix}{PATH}");
        let key = HeaderValue::try_from(key.expose());
        let mut key =
            key.map_err(|_| ("api_key", "must be visible ASCII characters".to_owned()))?;
        key.set_sensitive(true);
        Ok(Self {
            uri: uri.parse().map_err(|e| ("base_url", format!("{uri}: {e}")))?,
            host: HeaderValue::try_from(&authority)
                .map_err(|e| ("base_url", format!("{authority}: {e}")))?,
            key,
        })
    }
}
