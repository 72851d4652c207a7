//! Asking an account: what it is asked with, bound to it.
//!
//! **Architecture Invariant:** a credential goes out only as a part of an access, which carries the one
//! account that it belongs to, and with it the only host.

use std::fmt;
use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use sluice_engine::AccountId;

use super::redact::Secrets;
use super::target::UpstreamKind;
use crate::config::Secret;
use crate::directory::Account;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

/// What an account is asked with. Not shown by `Debug`.
pub struct Credential {
    /// The header that it stands in.
    header: (HeaderName, HeaderValue),
    /// What nobody is to be told.
    secrets: Secrets,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}

impl Credential {
    /// An API key; with Code Assist, an access token that somebody else renews.
    ///
    /// # Errors
    /// It has characters that cannot be in a request.
    pub fn key(kind: UpstreamKind, key: &Secret) -> Result<Self, String> {
        let name = match kind {
            UpstreamKind::Anthropic => API_KEY,
            UpstreamKind::OpenAi | UpstreamKind::CodeAssist => AUTHORIZATION,
            UpstreamKind::Gemini => GOOG_API_KEY,
        };
        let bearer = if name == AUTHORIZATION { "Bearer " } else { "" };
        let value = HeaderValue::try_from(format!("{bearer}{}", key.expose()));
        let mut value = value.map_err(|_| "must be visible ASCII characters".to_owned())?;
        value.set_sensitive(true);
        Ok(Self { header: (name, value), secrets: Secrets::new([key.clone()]) })
    }
}

/// See the module's documentation.
pub(crate) struct Access<'a> {
    pub(crate) id: AccountId,
    pub(crate) account: &'a Arc<Account>,
    credential: Arc<Credential>,
}

impl<'a> Access<'a> {
    /// To this account, with what it is asked with.
    pub(crate) fn to(id: AccountId, account: &'a Arc<Account>) -> Self {
        Self { id, account, credential: account.credential.clone() }
    }

    /// The header with the credential, for the account's host and no other.
    pub(super) fn header(&self) -> &(HeaderName, HeaderValue) {
        &self.credential.header
    }

    /// What nobody is to be told.
    pub(crate) fn secrets(&self) -> &Secrets {
        &self.credential.secrets
    }
}
