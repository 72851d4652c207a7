//! Access tokens that the gateway renews itself (RFC 6749, 6), with the operator's own registration.
//!
//! An account has one set of tokens for all workers, and one of them at a time renews it, in a task of
//! its own: whoever waits for it may leave, and a refresh token that the answer brought is kept all the
//! same. Tokens are renewed when a request needs it, ahead of their end; an account that nobody uses
//! is left alone.

mod call;
pub(crate) mod file;
mod grant;
mod state;

use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sluice_engine::AccountId;
use sluice_engine::rng::{Purpose, Seed};
use sluice_storage::Watch;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use self::call::{Way, call};
use self::file::Stored;
use self::grant::{Granted, Refused};
use self::state::{Look, Owner, State, Step};
use super::access::Credential;
use super::target::UpstreamKind;
use crate::blocking::aside;
use crate::clock::Clock;
use crate::config::OAuth;
use crate::directory::{Account, Endpoint};
use crate::gateway::{Phase, Worker};
use crate::net::Net;

/// How long a gateway that ends waits for a renewal: a call, and the file before and after it.
pub(crate) const RENEWAL_MAX: Duration = Duration::from_secs(45);
/// How long a request waits for a token.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How long reading or writing the file may take.
const FILE_TIME_MAX: Duration = Duration::from_secs(10);
/// What threads that do are called.
const THREAD: &str = "sluice-tokens";
/// How often somebody else may have put newer tokens into the file while one call was made.
const TRIES_MAX: usize = 3;

/// See the module's documentation.
pub struct Tokens {
    kind: UpstreamKind,
    oauth: OAuth,
    state: Mutex<State>,
    /// Something else can be gone with, or nobody is at it any more.
    changed: Notify,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

impl Tokens {
    /// Those in the file that is named there, once a request needs one.
    #[must_use]
    pub fn new(kind: UpstreamKind, oauth: &OAuth) -> Arc<Self> {
        let (oauth, state, changed) = (oauth.clone(), Mutex::default(), Notify::new());
        Arc::new(Self { kind, oauth, state, changed })
    }

    /// Where they come from.
    pub(crate) const fn token_url(&self) -> &Endpoint {
        &self.oauth.token_url
    }

    /// Whether they are those of such an account, and good for more.
    pub(crate) fn serve(&self, kind: UpstreamKind, oauth: &OAuth) -> bool {
        self.kind == kind && self.oauth == *oauth && !self.state().is_revoked()
    }

    /// The upstream has refused this, so that nobody goes with it any more.
    pub(super) fn refuse(&self, credential: &Arc<Credential>) {
        self.state().refuse(credential);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics holding it")
    }

    const fn owner(&self) -> Owner<'_> {
        Owner { kind: self.kind, oauth: &self.oauth }
    }
}

/// What a request to this account can go with, waited for if there is nothing yet. `None` if nothing
/// came of it.
pub(super) async fn credential<N: Net, S: Watch>(
    worker: &Rc<Worker<N, S>>,
    id: AccountId,
    account: &Arc<Account>,
    tokens: &Arc<Tokens>,
    by: Instant,
) -> Option<Arc<Credential>> {
    let by = by.min(Clock::after(WAIT_MAX));
    // Before looking: it is told of every change from here on.
    let mut changed = Box::pin(tokens.changed.notified());
    let start = || Renewal::start(worker, id, account, tokens);
    let look = tokens.state().look(worker.driver.clock.now());
    match look {
        Look::Good(credential) => return Some(credential),
        Look::Due(credential) => {
            start();
            return Some(credential);
        }
        Look::Renew => start(),
        Look::Wait => {}
    }
    loop {
        timeout_at(by, changed).await.ok()?;
        changed = Box::pin(tokens.changed.notified());
        let state = tokens.state();
        let usable = state.usable(worker.driver.clock.now());
        if usable.is_some() || !state.is_renewing() {
            return usable;
        }
    }
}

/// One renewal; others may begin when it is dropped.
struct Renewal<N: Net, S: Watch> {
    worker: Rc<Worker<N, S>>,
    id: AccountId,
    account: Arc<Account>,
    tokens: Arc<Tokens>,
}

impl<N: Net, S: Watch> Drop for Renewal<N, S> {
    fn drop(&mut self) {
        self.tokens.state().ended(self.worker.driver.clock.now());
        self.tokens.changed.notify_waiters();
        self.worker.renewals.set(self.worker.renewals.get() - 1);
    }
}

impl<N: Net, S: Watch> Renewal<N, S> {
    fn start(
        worker: &Rc<Worker<N, S>>,
        id: AccountId,
        account: &Arc<Account>,
        tokens: &Arc<Tokens>,
    ) {
        worker.renewals.set(worker.renewals.get() + 1);
        let (worker, account, tokens) = (worker.clone(), account.clone(), tokens.clone());
        let renewal = Self { worker, id, account, tokens };
        drop(tokio::task::spawn_local(async move { renewal.run().await }));
    }

    async fn run(&self) {
        let path = self.tokens.oauth.credential_file.clone();
        let Ok(turn) = aside(THREAD, FILE_TIME_MAX, move || file::turn(&path)).await else {
            return self.warn("its credential_file is not found in time");
        };
        let _turn = turn.lock().await;
        let driver = &self.worker.driver;
        if self.worker.phase() >= Phase::Draining && driver.live_requests() == 0 {
            return; // Nobody needs it any more, and it may be cut off.
        }
        for _ in 0..TRIES_MAX {
            let changed = self.read().await;
            let now = self.worker.driver.clock.now();
            let step = self.tokens.state().step(now, changed);
            let refresh = match step {
                Step::Done => return,
                Step::GiveUp(why) => return self.warn(why),
                Step::Call(refresh) => refresh,
            };
            let way = Way {
                proxy: self.account.proxy.as_ref(),
                tls: self.worker.pool.tls(),
                connect_timeout: self.worker.pool.connect_timeout(),
            };
            match call::<N>(way, &self.tokens.oauth, &refresh).await {
                Ok(granted) => return self.granted(granted).await,
                // Somebody else may have exchanged it, and put the next one into the file.
                Err(Refused::Revoked) => self.tokens.state().revoke(),
                Err(Refused::Because(why)) => return self.warn(&why),
            }
        }
    }

    /// Reads the file; whether somebody else has written it.
    async fn read(&self) -> bool {
        let path = self.tokens.oauth.credential_file.clone();
        let read = aside(THREAD, FILE_TIME_MAX, move || Stored::read(&path)).await;
        let disk = match read.and_then(|read| read) {
            Ok(disk) => disk,
            Err(error) => {
                self.warn(&format!("its credential_file cannot be read: {error}"));
                return false;
            }
        };
        let changed = self.tokens.state().found(self.tokens.owner(), disk, self.jitter());
        // Others need not wait for a call that is made ahead of time.
        self.tokens.changed.notify_waiters();
        changed
    }

    async fn granted(&self, granted: Granted) {
        let account = &*self.account.name;
        tracing::info!(account, expires_in_secs = granted.expires_in_secs, "a new access token");
        let now = self.worker.driver.clock.now();
        let owner = self.tokens.owner();
        let stored = self.tokens.state().granted(owner, granted, now, self.jitter());
        self.tokens.changed.notify_waiters();
        let Some(stored) = stored else { return };
        let (path, new) = (self.tokens.oauth.credential_file.clone(), stored.clone());
        let written = aside(THREAD, FILE_TIME_MAX, move || new.write(&path)).await;
        match written.and_then(|written| written) {
            Ok(()) => self.tokens.state().written(stored),
            Err(error) => {
                let file = &self.tokens.oauth.credential_file;
                tracing::warn!(
                    account,
                    file = %file.display(),
                    %error,
                    "the new tokens cannot be written and are lost with the process; make the file \
                     and its folder writable"
                );
            }
        }
    }

    fn warn(&self, why: &str) {
        tracing::warn!(account = &*self.account.name, why, "no new access token");
    }

    fn jitter(&self) -> u64 {
        let clock = &self.worker.driver.clock;
        let seed = Seed(clock.start().0);
        seed.stream(Purpose::NodeJitter, self.id.0, clock.now().0).next()
    }
}
