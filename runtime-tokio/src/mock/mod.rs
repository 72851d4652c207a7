//! A made-up upstream that speaks the Messages protocol: for the demo, for tests, and as the command
//! `sluice mock-upstream` for whoever wants to see a gateway meet slow, full and failing accounts.
//!
//! How it behaves is set for each key; what happens to the n-th request of a key follows from the
//! seed alone. It counts what is open at once for each key and notices who goes away, which is how
//! limits and cancellation are judged from the upstream's side.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sluice_engine::rng::Seed;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::gateway::ACCEPT_PAUSE;
use crate::net::Net;

pub use answer::Reset;
pub use behaviour::{Behaviour, Fault};
pub use issuer::{Client, Grants};
pub use script::{Script, ScriptError};
pub use stats::{Departure, Seen, Stats};

use issuer::Issuer;
use stats::Book;

mod answer;
mod behaviour;
pub mod command;
mod issuer;
mod page;
mod script;
mod stats;
mod story;

/// See the module's documentation.
#[derive(Debug)]
pub struct Mock {
    seed: Seed,
    keys: BTreeMap<String, Rc<Behaviour>>,
    /// For every other key; without it they are refused.
    default: Option<Rc<Behaviour>>,
    issuer: Issuer,
    book: Rc<Book>,
    connections: Cell<u64>,
}

/// Connections at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 20_000;

impl Mock {
    /// An upstream that knows these keys and no others.
    #[must_use]
    pub fn new(seed: Seed, keys: impl IntoIterator<Item = (String, Behaviour)>) -> Rc<Self> {
        Self::of(seed, keys, None)
    }

    /// An upstream that behaves as a script says.
    #[must_use]
    pub fn scripted(seed: Seed, script: Script) -> Rc<Self> {
        let mock = Self::of(seed, script.keys, Some(script.default));
        for (id, client) in script.clients {
            mock.know(&id, client);
        }
        mock
    }

    fn of(
        seed: Seed,
        keys: impl IntoIterator<Item = (String, Behaviour)>,
        default: Option<Behaviour>,
    ) -> Rc<Self> {
        Rc::new(Self {
            seed,
            keys: keys.into_iter().map(|(key, behaviour)| (key, Rc::new(behaviour))).collect(),
            default: default.map(Rc::new),
            issuer: Issuer::default(),
            book: Book::new(),
            connections: Cell::new(0),
        })
    }

    /// What has been seen of a key.
    #[must_use]
    pub fn stats(&self, key: &str) -> Stats {
        self.book.stats(key)
    }

    /// Connections that have been made.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.get()
    }

    /// The last requests that came, as far as they are remembered.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.book.seen()
    }

    /// The last clients that went away before their answer's end, the earliest first.
    #[must_use]
    pub fn departures(&self) -> Vec<Departure> {
        self.book.departures()
    }

    /// Issues access tokens to a client of this name. One that is known already is served like this
    /// from now on.
    pub fn know(&self, id: &str, client: Client) {
        self.issuer.know(id, client);
    }

    /// The refresh token that a known client is to call with, and a new access token that it did not
    /// call for.
    #[must_use]
    pub fn tokens_of(&self, id: &str) -> Option<(String, String)> {
        self.issuer.tokens_of(id, self.book.now())
    }

    /// The access tokens that a client has are good no more.
    pub fn expire(&self, id: &str) {
        self.issuer.expire(id, self.book.now());
    }

    /// How often a client has called for a token.
    #[must_use]
    pub fn token_calls(&self, id: &str) -> u64 {
        self.issuer.calls().get(id).copied().unwrap_or_default()
    }

    /// The last calls for tokens, as far as they are remembered.
    #[must_use]
    pub fn token_calls_seen(&self) -> Vec<Seen> {
        self.issuer.seen()
    }

    /// Returns when a key's counts are as wanted.
    pub async fn until(&self, key: &str, wanted: impl Fn(&Stats) -> bool) {
        self.book.until(key, wanted).await;
    }

    /// Serves what arrives at a listener, for ever.
    pub async fn serve<N: Net>(self: Rc<Self>, listener: N::Listener) {
        let mut connections = JoinSet::new();
        loop {
            let room = connections.len() < CONNECTIONS_MAX;
            let accepted = tokio::select! {
                biased; // What has ended makes room.
                Some(_) = connections.join_next() => continue,
                accepted = N::accept(&listener), if room => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    connections.spawn_local(self.clone().converse(stream, N::DATES));
                }
                // Out of files, for instance: the loop must not spin.
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    /// Serves one connection, however it came about, to its end.
    pub async fn connection<S>(self: Rc<Self>, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        self.converse(stream, true).await;
    }

    async fn converse<S>(self: Rc<Self>, stream: S, dates: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        self.connections.set(self.connections.get() + 1);
        let service = service_fn(|request| self.clone().handle(request));
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).auto_date_header(dates);
        // A reset is a service's error, and a client that leaves is its own affair.
        drop(builder.serve_connection(TokioIo::new(stream), service).await);
    }

    fn behaviour(&self, key: &str) -> Option<Rc<Behaviour>> {
        self.keys.get(key).or(self.default.as_ref()).cloned()
    }
}
