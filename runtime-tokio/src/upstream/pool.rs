//! Connections to upstreams that are kept for later requests: one set per account, bounded.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::Response;
use sluice_engine::{AccountId, Outcome};
use tokio::time::{Instant, timeout_at};

use super::access::Access;
use super::connect::connect;
use super::http1::{Failed, Scratch};
use super::link::{Exchange, Link, Opened, SendError, Shared, open};
use super::outgoing::Outgoing;
use super::tls::Tls;
use crate::clock::Clock;
use crate::config;
use crate::directory::{Account, Directory};
use crate::handler::rare;
use crate::net::Net;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// Connecting failed or took too long.
    Connect,
    /// The connection was broken already, as far as can be told: the upstream has not begun with it.
    Stale,
    /// The connection broke before the answer's head.
    Broken,
    /// The head did not come in time.
    HeadTimeout,
}

/// What no answer, or none that is of use, amounts to once an upstream has been sent a request. It may
/// be the request's own fault, so that this counts as a 5xx does, of which few are tried elsewhere.
pub(super) const NO_GOOD: Outcome = Outcome::ServerError { status: 502 };
/// The same for one that did not come in time.
pub(super) const TOO_LATE: Outcome = Outcome::ServerError { status: 504 };

impl NoAnswer {
    /// What it amounts to for whoever asked.
    pub(super) const fn outcome(self) -> Outcome {
        match self {
            Self::Connect => Outcome::Unreachable,
            Self::Stale | Self::Broken => NO_GOOD,
            Self::HeadTimeout => TOO_LATE,
        }
    }
}

/// See the module's documentation.
pub(crate) struct Pool<N: Net> {
    /// Of accounts that are known, and on the way that is known: see [`renew`](Self::renew).
    kept: RefCell<BTreeMap<AccountId, Kept<N>>>,
    directory: RefCell<Arc<Directory>>,
    tls: Tls,
    scratch: Scratch,
    idle_max: usize,
    idle_time: Duration,
    connect_timeout: Duration,
    header_timeout: Duration,
}

/// One account's connections.
struct Kept<N: Net> {
    /// Without an exchange, the one used last at the end.
    idle: Vec<(Link<N>, Instant)>,
    /// With exchanges or without, and when each may be let go if it has none.
    shared: Vec<(Shared, Instant)>,
}

impl<N: Net> Default for Kept<N> {
    fn default() -> Self {
        Self { idle: Vec::new(), shared: Vec::new() }
    }
}

impl<N: Net> Pool<N> {
    pub(crate) fn new(config: &config::Upstream, directory: Arc<Directory>) -> Self {
        Self {
            kept: RefCell::default(),
            tls: directory.tls.clone(),
            directory: RefCell::new(directory),
            scratch: Scratch::new(),
            idle_max: config.idle_connections_max,
            idle_time: Duration::from_millis(config.idle_connection_ms),
            connect_timeout: Duration::from_millis(config.connect_timeout_ms),
            header_timeout: Duration::from_millis(config.header_timeout_ms),
        }
    }

    /// Goes by this directory from now on. Connections that wait for requests to accounts that are
    /// gone, or are reached in another way, are closed; those in use, when they are not any more.
    pub(crate) fn renew(&self, directory: Arc<Directory>) {
        let former = self.directory.replace(directory);
        let stays = |id: &AccountId| {
            former.accounts.get(id).is_some_and(|account| self.is_current(*id, account))
        };
        self.kept.borrow_mut().retain(|id, _| stays(id));
    }

    /// For connections that are made beside.
    pub(crate) const fn tls(&self) -> &Tls {
        &self.tls
    }

    /// How long one may take to come about.
    pub(crate) const fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// Whether connections of this account, as it was known to somebody, are those that are kept.
    fn is_current(&self, id: AccountId, account: &Account) -> bool {
        let directory = self.directory.borrow();
        directory.accounts.get(&id).is_some_and(|known| known.is_reached_like(account))
    }

    /// Sends a request and waits for the answer's head, until `by` at most. If a kept connection turns
    /// out to have been closed, as its upstream may do at any time, a new one is tried, once. What
    /// an upstream may have begun with is not sent to it again.
    pub(crate) async fn send(
        &self,
        access: &Access<'_>,
        request: &Outgoing<'_>,
        by: Instant,
    ) -> Result<(Response<()>, Exchange<N>), NoAnswer> {
        if let Some(link) = self.take(access.id, access.account) {
            match self.send_on(link, access, request, by).await {
                Err(NoAnswer::Stale) => {}
                done => return done,
            }
        }
        let link = rare(self.open(access.id, access.account, by)).await?;
        // A new connection has no reason to be closed but this request.
        let sent = self.send_on(link, access, request, by).await;
        sent.map_err(|why| if why == NoAnswer::Stale { NoAnswer::Broken } else { why })
    }

    async fn open(
        &self,
        id: AccountId,
        account: &Account,
        by: Instant,
    ) -> Result<Link<N>, NoAnswer> {
        let opening = async {
            let proxy = account.proxy.as_ref();
            let connected = connect::<N>(&account.endpoint, proxy, &self.tls).await?;
            open::<N>(connected, &self.scratch).await.map_err(std::io::Error::other)
        };
        let failed = |why: &dyn std::fmt::Display| {
            tracing::warn!(account = &*account.name, %why, "no connection to the upstream");
            NoAnswer::Connect
        };
        let opened = timeout_at(by.min(Clock::after(self.connect_timeout)), opening).await;
        let opened = opened.map_err(|e| failed(&e))?.map_err(|e| failed(&e))?;
        match opened {
            Opened::Own(link) => Ok(link),
            Opened::Shared(shared) => {
                let link = shared.link().ok_or(NoAnswer::Connect)?;
                self.keep_shared(id, account, shared);
                Ok(link)
            }
        }
    }

    /// Keeps a connection that requests share. One beyond the bound, or to an account as it was once,
    /// serves the request that it was made for and ends with it.
    fn keep_shared(&self, id: AccountId, account: &Account, shared: Shared) {
        if self.is_current(id, account) {
            let mut kept = self.kept.borrow_mut();
            let kept = &mut kept.entry(id).or_default().shared;
            if kept.len() < self.idle_max {
                kept.push((shared, Clock::after(self.idle_time)));
            }
        }
    }

    async fn send_on(
        &self,
        link: Link<N>,
        access: &Access<'_>,
        request: &Outgoing<'_>,
        by: Instant,
    ) -> Result<(Response<()>, Exchange<N>), NoAnswer> {
        let began = Clock::after(Duration::ZERO);
        let sent =
            timeout_at(by.min(began + self.header_timeout), link.send(access, request)).await;
        sent.map_err(|_| NoAnswer::HeadTimeout)?.map_err(|error| {
            let stale = match error {
                SendError::Http1(Failed::Unanswered) => {
                    Clock::after(Duration::ZERO) < began + CLOSED_WITHIN
                }
                SendError::Http1(Failed::Broken) => false,
                SendError::Http2(error) => error.is_canceled(),
            };
            if stale { NoAnswer::Stale } else { NoAnswer::Broken }
        })
    }

    /// The connection kept last of those that can still be used.
    fn take(&self, id: AccountId, account: &Account) -> Option<Link<N>> {
        if !self.is_current(id, account) {
            return None;
        }
        let now = Clock::after(Duration::ZERO);
        let mut kept = self.kept.borrow_mut();
        let kept = kept.get_mut(&id)?;
        for (shared, until) in &mut kept.shared {
            if let Some(link) = shared.link() {
                *until = now + self.idle_time;
                return Some(link);
            }
        }
        while let Some((mut link, until)) = kept.idle.pop() {
            if until > now && link.usable() {
                return Some(link);
            }
        }
        None
    }

    /// Keeps the connection of an answer that has been read to its end.
    pub(crate) fn keep(&self, id: AccountId, account: &Account, exchange: Exchange<N>) {
        let mut link = exchange.link;
        let own = matches!(link, Link::Http1(_));
        let current = self.is_current(id, account);
        if !own || !link.usable() || self.idle_max == 0 || !current {
            return;
        }
        let mut kept = self.kept.borrow_mut();
        let idle = &mut kept.entry(id).or_default().idle;
        if idle.len() >= self.idle_max {
            idle.remove(0);
        }
        idle.push((link, Clock::after(self.idle_time)));
    }

    /// Lets go of connections that have been idle for too long or were closed by their upstreams,
    /// for ever.
    pub(crate) async fn sweep(&self) {
        loop {
            tokio::time::sleep(self.idle_time.max(SWEEP_MIN) / 2).await;
            let now = Clock::after(Duration::ZERO);
            self.kept.borrow_mut().retain(|_, kept| {
                kept.idle.retain_mut(|(link, until)| *until > now && link.usable());
                kept.shared
                    .retain(|(shared, until)| !shared.closed() && (*until > now || !shared.idle()));
                !kept.idle.is_empty() || !kept.shared.is_empty()
            });
        }
    }
}

/// An HTTP/1.1 connection that breaks so soon after a request was written to it was being closed.
const CLOSED_WITHIN: Duration = Duration::from_millis(200);
/// Sweeping more often than twice in this time is of no use.
const SWEEP_MIN: Duration = Duration::from_secs(2);
