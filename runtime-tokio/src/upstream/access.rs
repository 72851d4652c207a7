//! Asking an account: what it is asked with, bound to it.
//!
//! **Architecture Invariant:** a credential goes out only as a part of an access, which carries the one
//! account that it belongs to, and with it the only host.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use sluice_engine::{AccountId, Outcome};
use sluice_storage::Watch;
use tokio::time::Instant;

use super::oauth::{self, Tokens};
use super::redact::Secrets;
use super::target::UpstreamKind;
use crate::config::Secret;
use crate::directory::Account;
use crate::gateway::Worker;
use crate::handler::rare;
use crate::net::Net;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

/// What the Messages protocol wants named in `anthropic-beta` where it is asked with an access token.
const OAUTH_BETA: &str = "oauth-2025-04-20";

/// Where what an account is asked with comes from.
#[derive(Debug)]
pub enum Source {
    /// It does not change.
    Key(Arc<Credential>),
    /// It is renewed.
    OAuth(Arc<Tokens>),
}

impl Source {
    /// Whether it is the same that accounts are asked with.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Key(one), Self::Key(other)) => one.header == other.header,
            (Self::OAuth(one), Self::OAuth(other)) => Arc::ptr_eq(one, other),
            (Self::Key(_), Self::OAuth(_)) | (Self::OAuth(_), Self::Key(_)) => false,
        }
    }
}

/// What an account is asked with. Not shown by `Debug`.
pub struct Credential {
    /// The header that it stands in.
    header: (HeaderName, HeaderValue),
    /// A feature that is to be named beside it.
    beta: Option<&'static str>,
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
        let scheme = if name == AUTHORIZATION { "Bearer " } else { "" };
        let value = sensitive(scheme, key);
        let value = value.ok_or_else(|| "must be visible ASCII characters".to_owned())?;
        Ok(Self { header: (name, value), beta: None, secrets: Secrets::new([key.clone()]) })
    }

    /// An access token, and what nobody is to be told beside it. `None` if it has characters that
    /// cannot be in a request.
    pub(super) fn token(kind: UpstreamKind, token: &Secret, others: Vec<Secret>) -> Option<Self> {
        let header = (AUTHORIZATION, sensitive("Bearer ", token)?);
        let beta = (kind == UpstreamKind::Anthropic).then_some(OAUTH_BETA);
        let secrets = Secrets::new(others.into_iter().chain([token.clone()]));
        Some(Self { header, beta, secrets })
    }
}

/// A header's value that nothing shows.
fn sensitive(scheme: &str, secret: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("{scheme}{}", secret.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// An access that outlives what it was made for.
pub(super) struct Kept {
    id: AccountId,
    account: Arc<Account>,
    credential: Arc<Credential>,
}

impl Kept {
    /// The access.
    pub(super) fn access(&self) -> Access<'_> {
        Access { id: self.id, account: &self.account, credential: self.credential.clone() }
    }
}

/// See the module's documentation.
pub(crate) struct Access<'a> {
    pub(crate) id: AccountId,
    pub(crate) account: &'a Arc<Account>,
    credential: Arc<Credential>,
}

impl<'a> Access<'a> {
    /// To this account. An access token may have to be waited for, until `by` at most.
    ///
    /// # Errors
    /// There is none. That is the account's fault, as if its upstream had said so.
    pub(crate) async fn to<N: Net, S: Watch>(
        worker: &Rc<Worker<N, S>>,
        id: AccountId,
        account: &'a Arc<Account>,
        by: Instant,
    ) -> Result<Self, Outcome> {
        let credential = match &account.credential {
            Source::Key(credential) => credential.clone(),
            Source::OAuth(tokens) => {
                let credential = rare(oauth::credential(worker, id, account, tokens, by));
                credential.await.ok_or(Outcome::Unauthorized { status: 401 })?
            }
        };
        Ok(Self { id, account, credential })
    }

    /// To the same account, after its upstream has refused this; `None` if there is nothing else to
    /// ask it with.
    pub(crate) async fn renewed<N: Net, S: Watch>(
        &self,
        worker: &Rc<Worker<N, S>>,
        by: Instant,
    ) -> Option<Self> {
        match &self.account.credential {
            Source::Key(_) => None,
            Source::OAuth(tokens) => {
                tokens.refuse(&self.credential);
                Self::to(worker, self.id, self.account, by).await.ok()
            }
        }
    }

    /// The same for later.
    pub(super) fn kept(&self) -> Kept {
        let (id, account, credential) = (self.id, self.account.clone(), self.credential.clone());
        Kept { id, account, credential }
    }

    /// The header with the credential, for the account's host and no other.
    pub(super) fn header(&self) -> &(HeaderName, HeaderValue) {
        &self.credential.header
    }

    /// A feature that `anthropic-beta` is to name beside what the client names.
    pub(super) fn beta(&self) -> Option<&'static str> {
        self.credential.beta
    }

    /// What nobody is to be told.
    pub(crate) fn secrets(&self) -> &Secrets {
        &self.credential.secrets
    }
}
