//! What every request to an account has in common, made once and not for every request.
//!
//! **Architecture Invariant:** an account's credential is here beside the only host it is sent to.

use bytes::Bytes;
use hyper::Uri;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};

use crate::config::{PlatformName, Secret};
use crate::directory::Endpoint;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// See the module's documentation.
#[derive(Debug)]
pub struct Target {
    /// With scheme and host, as HTTP/2 names it; HTTP/1.1 names its path alone.
    pub(crate) uri: Uri,
    /// The `host` header of HTTP/1.1.
    pub(crate) host: HeaderValue,
    /// The header with the credential. Not shown by `Debug`.
    pub(crate) credential: (HeaderName, HeaderValue),
    /// The credential alone, to be kept out of what clients are told.
    secret: Secret,
}

/// Where the generation of answers is asked for, below a base address. Those of OpenAI end in the
/// version for some, and do not for others.
fn path(platform: PlatformName, prefix: &str) -> String {
    match platform {
        PlatformName::Anthropic => format!("{prefix}/v1/messages"),
        PlatformName::OpenAi if prefix.ends_with("/v1") => format!("{prefix}/responses"),
        PlatformName::OpenAi => format!("{prefix}/v1/responses"),
    }
}

impl Target {
    /// The target at this endpoint.
    ///
    /// # Errors
    /// Characters that cannot be in a request: the account's field, and the remedy.
    pub fn new(
        platform: PlatformName,
        endpoint: &Endpoint,
        key: &Secret,
    ) -> Result<Self, (&'static str, String)> {
        let path = path(platform, &endpoint.prefix);
        let scheme = if endpoint.tls { "https" } else { "http" };
        let authority = endpoint.authority();
        let uri = format!("{scheme}://{authority}{path}");
        let (name, value) = match platform {
            PlatformName::Anthropic => (API_KEY, key.expose().to_owned()),
            PlatformName::OpenAi => (AUTHORIZATION, format!("Bearer {}", key.expose())),
        };
        let value = HeaderValue::try_from(value);
        let mut value =
            value.map_err(|_| ("api_key", "must be visible ASCII characters".to_owned()))?;
        value.set_sensitive(true);
        Ok(Self {
            uri: uri.parse().map_err(|e| ("base_url", format!("{uri}: {e}")))?,
            host: HeaderValue::try_from(&authority)
                .map_err(|e| ("base_url", format!("{authority}: {e}")))?,
            credential: (name, value),
            secret: key.clone(),
        })
    }

    /// What nobody is to be told.
    pub(crate) fn secret(&self) -> Bytes {
        Bytes::copy_from_slice(self.secret.expose().as_bytes())
    }
}
