//! Who issues access tokens: `POST /oauth/token`, where a client exchanges its refresh token for an
//! access token (RFC 6749, 6). Of each client it counts the calls.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::{HeaderValue, LOCATION};
use hyper::http::request::Parts;
use serde_json::{Value, json};
use sluice_engine::{Span, Time};
use tokio::sync::Semaphore;

use super::answer::{Reset, answer, json_answer};
use super::stats::Seen;
use crate::auth::unescape;
use crate::wire::Answer;

/// How a client is served.
#[derive(Clone, Debug)]
pub struct Client {
    /// The key whose behaviour requests with its access tokens meet, and are counted under.
    pub key: String,
    /// Its secret, if it has one.
    pub secret: Option<String>,
    /// For how many seconds its access tokens are good; for ever and without a word on it if not set.
    pub expires_in_secs: Option<u64>,
    /// Whether a refresh token is good for one call only, whose answer has the next one.
    pub rotates: bool,
    /// What a right call is answered with.
    pub grants: Grants,
    /// If set, each call waits for a permit from here before it is looked at.
    pub hold: Option<Rc<Semaphore>>,
}

/// What a right call is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grants {
    /// An access token.
    Token,
    /// This status, and the name of this error.
    Refusal(u16, &'static str),
    /// A redirect to this place.
    Redirect(String),
}

impl Client {
    /// One whose access tokens are good for an hour and stand for this key.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            secret: None,
            expires_in_secs: Some(3600),
            rotates: false,
            grants: Grants::Token,
            hold: None,
        }
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Issuer {
    clients: RefCell<BTreeMap<String, Known>>,
    calls: RefCell<VecDeque<Seen>>,
}

/// A client, and what it has been given.
#[derive(Debug)]
struct Known {
    client: Client,
    calls: u64,
    refresh_token: String,
    /// The last ones.
    tokens: VecDeque<Token>,
    issued: u64,
}

#[derive(Debug)]
struct Token {
    text: String,
    /// Until when it is good.
    until: Option<Time>,
}

/// Bytes of a call's body.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Access tokens of a client that are remembered.
const TOKENS_MAX: usize = 64;
/// Calls that are remembered.
const CALLS_MAX: usize = 64;

impl Known {
    fn issue(&mut self, now: Time) -> String {
        self.issued += 1;
        let text = format!("at-{}-{}", self.client.key, self.issued);
        let until = self.client.expires_in_secs.map(|secs| now + Span::from_secs(secs));
        self.tokens.push_back(Token { text: text.clone(), until });
        if self.tokens.len() > TOKENS_MAX {
            self.tokens.pop_front();
        }
        text
    }
}

impl Issuer {
    /// Knows this client from now on. What one of the same name was given stays with it.
    pub(super) fn know(&self, id: &str, client: Client) {
        let mut clients = self.clients.borrow_mut();
        if let Some(known) = clients.get_mut(id) {
            known.client = client;
            return;
        }
        let refresh_token = format!("rt-{}-0", client.key);
        let tokens = VecDeque::new();
        let known = Known { client, calls: 0, refresh_token, tokens, issued: 0 };
        clients.insert(id.to_owned(), known);
    }

    /// How often each client has called.
    pub(super) fn calls(&self) -> BTreeMap<String, u64> {
        self.clients.borrow().iter().map(|(id, known)| (id.clone(), known.calls)).collect()
    }

    /// The last calls.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.calls.borrow().iter().cloned().collect()
    }

    /// The refresh token that a client is to call with, and an access token that it did not call for.
    pub(super) fn tokens_of(&self, id: &str, now: Time) -> Option<(String, String)> {
        let mut clients = self.clients.borrow_mut();
        let known = clients.get_mut(id)?;
        Some((known.refresh_token.clone(), known.issue(now)))
    }

    /// What a client has been given is good no more.
    pub(super) fn expire(&self, id: &str, now: Time) {
        let mut clients = self.clients.borrow_mut();
        for token in clients.get_mut(id).iter_mut().flat_map(|known| &mut known.tokens) {
            token.until = Some(now);
        }
    }

    /// The key that an access token stands for, and whether it is still good.
    pub(super) fn key_of(&self, token: &str, now: Time) -> Option<(String, bool)> {
        self.clients.borrow().values().find_map(|known| {
            let token = known.tokens.iter().find(|issued| issued.text == token)?;
            Some((known.client.key.clone(), token.until.is_none_or(|until| now < until)))
        })
    }

    /// Answers a call.
    ///
    /// # Errors
    /// The client has gone before the end of it.
    pub(super) async fn call(
        &self,
        head: Parts,
        body: Incoming,
        now: impl Fn() -> Time,
    ) -> Result<Response<Answer>, Reset> {
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|_| Reset)?;
        let body = body.to_bytes();
        let form = Form(body.clone());
        self.remember(Seen { headers: head.headers, body });
        let id = form.value("client_id").unwrap_or_default();
        let hold = self.clients.borrow_mut().get_mut(&id).and_then(|known| {
            known.calls += 1;
            known.client.hold.clone()
        });
        if let Some(hold) = hold
            && let Ok(permit) = hold.acquire().await
        {
            permit.forget();
        }
        Ok(self.answer(&id, &form, now()))
    }

    fn remember(&self, call: Seen) {
        let mut calls = self.calls.borrow_mut();
        calls.push_back(call);
        if calls.len() > CALLS_MAX {
            calls.pop_front();
        }
    }

    fn answer(&self, id: &str, form: &Form, now: Time) -> Response<Answer> {
        let refuse = |status, error: &str| {
            // What must not be repeated by anybody.
            let given = form.value("refresh_token").unwrap_or_default();
            json_answer(status, &json!({"error": error, "error_description": given}))
        };
        let mut clients = self.clients.borrow_mut();
        let Some(known) = clients.get_mut(id) else { return refuse(401, "invalid_client") };
        if form.value("client_secret") != known.client.secret {
            return refuse(401, "invalid_client");
        }
        if form.value("grant_type").as_deref() != Some("refresh_token") {
            return refuse(400, "unsupported_grant_type");
        }
        match &known.client.grants {
            Grants::Refusal(status, error) => return refuse(*status, error),
            Grants::Redirect(location) => {
                let mut redirect = answer(307, "text/plain", "moved");
                let location = HeaderValue::try_from(location).expect("a good location");
                redirect.headers_mut().insert(LOCATION, location);
                return redirect;
            }
            Grants::Token => {}
        }
        if form.value("refresh_token").as_ref() != Some(&known.refresh_token) {
            return refuse(400, "invalid_grant");
        }
        let mut told = json!({"access_token": known.issue(now), "token_type": "Bearer"});
        if let Some(secs) = known.client.expires_in_secs {
            told["expires_in"] = Value::from(secs);
        }
        if known.client.rotates {
            known.refresh_token = format!("rt-{}-{}", known.client.key, known.issued);
            told["refresh_token"] = Value::from(&*known.refresh_token);
        }
        json_answer(200, &told)
    }
}

/// A body that browsers would send of a form.
struct Form(Bytes);

impl Form {
    fn value(&self, name: &str) -> Option<String> {
        let text = std::str::from_utf8(&self.0).ok()?;
        let mut pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| unescape(value).into_owned())
    }
}
