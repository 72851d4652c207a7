//! The log: JSON lines, one for every request.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::io;

use sluice_engine::trail::{Decision, Trail};
use sluice_engine::{AccountId, Outcome, Span, Time, Verdict};
use std::sync::Arc;
use tracing_subscriber::EnvFilter;

use crate::directory::Directory;
use crate::protocol::anthropic::Usage;

/// Sends the log to standard error as JSON lines, at `level` and above.
pub fn log_to_stderr(level: &str) {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter);
    // A second subscriber in one process is refused; the first goes on.
    drop(subscriber.with_writer(io::stderr).with_target(false).try_init());
}

/// What is written about one request when it is over. Written exactly once.
pub(crate) struct AccessLog {
    directory: Arc<Directory>,
    request_id: String,
    user: String,
    model: String,
    stream: bool,
    arrived: Time,
    finished: Cell<Time>,
    status: Cell<u16>,
    pub(crate) usage: Cell<Usage>,
    upstream_id: RefCell<Option<String>>,
}

impl AccessLog {
    pub(crate) fn new(
        directory: Arc<Directory>,
        request_id: String,
        user: String,
        model: String,
        stream: bool,
        arrived: Time,
    ) -> Self {
        Self {
            directory,
            request_id,
            user,
            model,
            stream,
            arrived,
            finished: Cell::new(arrived),
            status: Cell::new(0),
            usage: Cell::default(),
            upstream_id: RefCell::default(),
        }
    }

    pub(crate) fn finished(&self, now: Time) {
        self.finished.set(now);
    }

    /// The status that the client was sent; the first counts.
    pub(crate) fn status(&self, status: u16) {
        if self.status.get() == 0 {
            self.status.set(status);
        }
    }

    /// The upstream's own name of the last attempt.
    pub(crate) fn upstream_id(&self, id: Option<String>) {
        self.upstream_id.replace(id);
    }

    pub(crate) fn write(&self, verdict: Verdict, trail: &Trail) {
        let usage = self.usage.get();
        let (account, verdict_name) = self.verdict(verdict);
        tracing::info!(
            request_id = self.request_id,
            user = self.user,
            model = self.model,
            stream = self.stream,
            status = self.status.get(),
            owner = ?verdict.owner(),
            verdict = verdict_name,
            account,
            ms = self.finished.get().since(self.arrived).as_ms(),
            input_tokens = usage.input_tokens,
            output_tokens = usage.output_tokens,
            cache_read_tokens = usage.cache_read_input_tokens,
            cache_write_tokens = usage.cache_creation_input_tokens,
            upstream_id = self.upstream_id.borrow().as_deref(),
            trail = self.trail(trail),
            "request"
        );
    }

    fn account(&self, id: AccountId) -> String {
        self.directory.accounts.get(&id).map_or_else(|| id.to_string(), |a| a.name.clone())
    }

    fn verdict(&self, verdict: Verdict) -> (Option<String>, String) {
        match verdict {
            Verdict::Upstream { account, outcome, .. } => {
                (Some(self.account(account)), outcome_name(outcome))
            }
            Verdict::Intercepted { account } => {
                (Some(self.account(account)), "intercepted".to_owned())
            }
            Verdict::UserLineFull
            | Verdict::UserWaitTimeout
            | Verdict::UserClosed
            | Verdict::BillingDenied(_)
            | Verdict::NoAccounts
            | Verdict::AllShut { .. }
            | Verdict::AccountLineFull
            | Verdict::AccountWaitTimeout
            | Verdict::StoreUnavailable
            | Verdict::Overloaded
            | Verdict::SessionLost
            | Verdict::Abandoned => (None, snake(&format!("{verdict:?}"))),
        }
    }

    /// The steps in short, each with the milliseconds since the arrival.
    fn trail(&self, trail: &Trail) -> String {
        let mut out = String::new();
        for step in &trail.steps {
            if !out.is_empty() {
                out.push(' ');
            }
            let Span(us) = step.at.since(self.arrived);
            self.step(&mut out, step.what);
            // Writing to a string cannot fail.
            let _ = write!(out, "@{}", us / 1000);
        }
        if trail.dropped > 0 {
            let _ = write!(out, " +{}", trail.dropped);
        }
        out
    }

    fn step(&self, out: &mut String, what: Decision) {
        let account = |id| self.account(id);
        let text = match what {
            Decision::Arrived => "arrived".to_owned(),
            Decision::UserQueued { position } => format!("user_queued:{position}"),
            Decision::UserHeld => "user_held".to_owned(),
            Decision::Billed => "billed".to_owned(),
            Decision::Chosen { layer, account: None } => snake(&format!("chosen:{layer:?}")),
            Decision::Chosen { layer, account: Some(id) } => {
                format!("{}:{}", snake(&format!("chosen:{layer:?}")), account(id))
            }
            Decision::HomePassed { home, why } => {
                format!("home_passed:{}:{}", account(home), snake(&format!("{why:?}")))
            }
            Decision::Queued { position } => format!("queued:{position}"),
            Decision::Doubt { fault } => snake(&format!("doubt:{fault:?}")),
            Decision::Disbelieved => "disbelieved".to_owned(),
            Decision::Forwarded { attempt, account: id } => {
                format!("forwarded:{}:{}", attempt.0, account(id))
            }
            Decision::Started { attempt } => format!("started:{}", attempt.0),
            Decision::Ended { attempt, outcome } => {
                format!("ended:{}:{}", attempt.0, outcome_name(outcome))
            }
            Decision::Bound { account: id } => format!("bound:{}", account(id)),
        };
        out.push_str(&text);
    }
}

fn outcome_name(outcome: Outcome) -> String {
    match outcome {
        Outcome::Completed => "completed".to_owned(),
        Outcome::ClientError { status } => format!("client_error_{status}"),
        Outcome::RateLimited { .. } => "rate_limited".to_owned(),
        Outcome::Overloaded { .. } => "overloaded".to_owned(),
        Outcome::ServerError { status } => format!("server_error_{status}"),
        Outcome::Unauthorized { status } => format!("unauthorized_{status}"),
        Outcome::Unreachable => "unreachable".to_owned(),
        Outcome::Truncated => "truncated".to_owned(),
        Outcome::Cancelled => "cancelled".to_owned(),
    }
}

/// The words of a `Debug` form, without what it holds.
fn snake(debug: &str) -> String {
    let name = debug.split([' ', '(', '{']).next().unwrap_or_default();
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() && !out.ends_with(':') {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}
