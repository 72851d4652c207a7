//! What can stand in the file: every section, every field, with its type, default and rule.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sluice_engine::roster::Platform;
use sluice_engine::store::Version;
use sluice_storage::degraded::Mode;

use super::finding::Finding;
use super::knobs::Knobs;
use super::listen::Listen;
use super::read::{Read as _, name, scope, section, within, words};
use super::secret::Secret;
use super::store::{MEMORY, Store, cell};
use super::values::{Concurrency, OneOrMany};
use crate::auth::KeyHash;
use crate::directory::Endpoint;
use crate::protocol::Protocol;
use crate::upstream::target::UpstreamKind;

/// The longest time that can be set: a year.
pub(super) const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;
/// No allocation is larger.
const BYTES_MAX: usize = isize::MAX as usize;

section! {
    /// A whole configuration.
    Config {
        /// Where and as what the gateway runs.
        required server: Server;
        /// The Redis that is the store, if one is.
        default redis: Redis = Redis::default();
        /// Sizes and times of the client's side.
        default limits: Limits = Limits::default();
        /// Times of the upstream's side.
        default upstream: Upstream = Upstream::default();
        /// The scheduler.
        default policy: Knobs = Knobs::stand_in();
        /// The access log.
        default log: Log = Log::default();
        /// Requests of the Messages protocol.
        default anthropic: Anthropic = Anthropic::default();
        /// Requests of the Responses protocol.
        default openai: OpenAi = OpenAi::default();
        /// Who may use which accounts.
        required groups: Vec<Group>;
        /// Who may ask.
        default users: Vec<User> = Vec::new();
        /// Who is asked.
        default accounts: Vec<Account> = Vec::new();
    }
    beside {
        /// What [`Server::store`] names.
        store: Store;
        /// Which of two configurations is the newer: the file's time of change, and its content.
        version: Version;
        /// What is not wrong but hardly meant.
        warnings: Vec<Finding>;
    }
}

section! {
    /// See [`Config::server`].
    Server {
        /// For clients; at least one.
        required listen: OneOrMany<Listen>;
        /// For operators; without it there is no admin listener.
        optional admin_listen: Listen;
        /// The process' name in the store, unique among those that share one.
        default name: String = "sluice".to_owned(), name();
        /// Where slots, lines, sessions and health are kept: `memory`, or the URL of a Redis: the value
        /// itself, `env:NAME` or `file:PATH`. What it comes to is in [`Config::store`].
        default store: Secret = Secret::new(MEMORY.to_owned());
        /// What is done while a shared store is away.
        default degraded: DegradedName = DegradedName::default();
        /// Threads, each with an engine of its own.
        default workers: usize = 1, within(1..=1024);
    }
}

section! {
    /// See [`Config::redis`].
    Redis {
        /// Names the deployment: gateways of one cell share their limits.
        default cell: String = "sluice".to_owned(), cell();
        /// How long an operation may take.
        default timeout_ms: u64 = 300, within(10..=60_000);
        /// How long a connection may take to come about.
        default connect_timeout_ms: u64 = 1_000, within(10..=60_000);
    }
}

section! {
    /// See [`Config::limits`].
    Limits {
        /// Bytes of one request's body.
        default body_bytes_max: usize = 100 * 1024 * 1024, within(1..=BYTES_MAX);
        /// Bytes of all bodies that are held at once.
        default parked_bytes_max: usize = 1024 * 1024 * 1024, within(1..=BYTES_MAX);
        /// Clients' connections at once; further ones wait to be accepted.
        default connections_max: usize = 20_000, within(1..=1_000_000);
        /// Headers of one request.
        default headers_max: usize = 100, within(1..=10_000);
        /// Bytes of all header names and values of one request.
        default header_bytes_max: usize = 64 * 1024, within(256..=1024 * 1024);
        /// From a connection's first byte to the end of a request's head.
        default header_timeout_ms: u64 = 30_000, within(1..=YEAR_MS);
        /// Between two pieces of a request's body.
        default body_idle_timeout_ms: u64 = 60_000, within(1..=YEAR_MS);
        /// How long a client may leave a piece of its answer unread.
        default client_stall_timeout_ms: u64 = 120_000, within(1..=YEAR_MS);
        /// Requests at once in one worker that hold no slots, such as counts of tokens. One user has
        /// a quarter of them.
        default asides_max: usize = 32, within(1..=100_000);
        /// From the signal to stop until new connections are refused.
        default shutdown_delay_ms: u64 = 0, within(0..=YEAR_MS);
        /// From then until what still runs is cut off.
        default drain_timeout_ms: u64 = 30_000, within(0..=YEAR_MS);
    }
}

section! {
    /// See [`Config::upstream`].
    Upstream {
        /// Name and connection.
        default connect_timeout_ms: u64 = 10_000, within(1..=YEAR_MS);
        /// From the moment a connection is there to the answer's head.
        default header_timeout_ms: u64 = 300_000, within(1..=YEAR_MS);
        /// Between two pieces of an answer.
        default idle_timeout_ms: u64 = 120_000, within(1..=YEAR_MS);
        /// One attempt as a whole.
        default total_timeout_ms: u64 = 3_600_000, within(1..=YEAR_MS);
        /// Connections per account that are kept for later requests.
        default idle_connections_max: usize = 64, within(0..=100_000);
        /// How long they are kept.
        default idle_connection_ms: u64 = 60_000, within(0..=YEAR_MS);
        /// Whether HTTP/2 is offered to upstreams behind `https`.
        default http2: bool = true;
        /// Which certificate authorities upstreams behind `https` are known by.
        default roots: Roots = Roots::default();
        /// Further certificate authorities, a PEM file.
        optional ca_file: PathBuf;
        /// What becomes of an attempt whose client has gone.
        default on_disconnect: OnDisconnect = OnDisconnect::default();
        /// With `drain`: the most bytes that are still read,
        default drain_bytes_max: usize = 1024 * 1024, within(0..=BYTES_MAX);
        /// and for how long at most.
        default drain_time_max_ms: u64 = 10_000, within(0..=YEAR_MS);
    }
}

section! {
    /// See [`Config::log`].
    Log {
        /// Where every request leaves a line.
        default access: AccessLogTo = AccessLogTo::default();
        /// Lines that wait to be written; beyond them lines are lost, and counted.
        default access_lines_max: usize = 16_384, within(1..=1_000_000);
        /// Whether what upstreams say when they refuse is among the program's messages,
        default upstream_errors: bool = false;
        /// and how much of it.
        default upstream_error_bytes_max: usize = 2048, within(1..=16 * 1024);
    }
}

section! {
    /// See [`Config::anthropic`].
    Anthropic {
        /// Whether the beta features that a request needs are named to its upstream, where the client
        /// named none.
        default inject_betas: bool = false;
        /// Whether another account is tried after a 400 that may be the account's doing.
        default failover_on_400: bool = false;
    }
}

section! {
    /// See [`Config::openai`].
    OpenAi {
        /// What `instructions` a request gets whose client sent none and is not the Codex command
        /// line.
        optional default_instructions: String;
    }
}

section! {
    /// A group: the accounts that its users' keys may use.
    Group {
        /// Its name.
        required name: String, name();
    }
}

section! {
    /// A user.
    User {
        /// Its name.
        required name: String, name();
        /// Requests at once.
        required concurrency: Concurrency;
        /// What is left to spend, in cents. Without it nothing is counted.
        optional balance_cents: i64;
        /// What it may call itself.
        default keys: Vec<Key> = Vec::new();
    }
}

section! {
    /// A user's key.
    Key {
        /// Its hash. The key itself is nowhere stored.
        required sha256: KeyHash;
        /// The group whose accounts it may use.
        required group: String;
    }
}

section! {
    /// An upstream account.
    Account {
        /// Its name.
        required name: String, name();
        /// What it speaks.
        default platform: PlatformName = PlatformName::default();
        /// Where it lives.
        required base_url: Endpoint;
        /// The credential: the value itself, `env:NAME` or `file:PATH`. Without it there is `oauth`.
        optional api_key: Secret;
        /// In its place, access tokens that the gateway renews.
        optional oauth: OAuth;
        /// The way to it, a [`Proxy`](crate::directory::Proxy): the value itself, `env:NAME` or
        /// `file:PATH`. Without it: directly.
        optional proxy: Secret;
        /// Requests at once.
        required concurrency: Concurrency;
        /// Lower is preferred.
        default priority: u32 = 0;
        /// The groups that may use it.
        required groups: Vec<String>;
        /// The models it serves, each with the name that the upstream knows it by. Empty: every
        /// model.
        default models: BTreeMap<String, String> = BTreeMap::new();
        /// The project that requests are made for, where the upstream wants Code Assist's envelope.
        optional project: String, name();
        /// Whether it also serves, in its groups, clients that do not ask for its platform.
        default mixed: bool = false;
        /// Whether warm-up requests are answered by the gateway in its name.
        default intercept_warmup: bool = false;
    }
}

section! {
    /// See [`Account::oauth`].
    OAuth {
        /// Where tokens come from.
        required token_url: Endpoint;
        /// The name that the operator is registered there by,
        required client_id: String, name();
        /// and the secret, if there is one: the value itself, `env:NAME` or `file:PATH`.
        optional client_secret: Secret;
        /// What tokens are asked for, names with a space between them. Without it: what the refresh
        /// token is for.
        optional scope: String, scope();
        /// Where the tokens are kept: a file of JSON.
        required credential_file: PathBuf;
    }
}

words! {
    /// See [`Upstream::roots`].
    Roots {
        /// Those of the machine.
        Platform = "platform",
        /// Mozilla's, as they were when the program was built.
        Bundled = "bundled",
    }
    /// See [`Upstream::on_disconnect`].
    OnDisconnect {
        /// It is cancelled at once.
        Cancel = "cancel",
        /// Its answer is read on, for its usage, within limits.
        Drain = "drain",
    }
    /// See [`Server::degraded`].
    DegradedName {
        /// Requests go on within this node's share of every limit.
        Local = "local",
        /// Every request is told that the store is away.
        Reject = "reject",
    }
    /// See [`Log::access`].
    AccessLogTo {
        /// Standard output.
        Stdout = "stdout",
        /// Standard error, among the messages of the program itself.
        Stderr = "stderr",
        /// Nowhere.
        Off = "off",
    }
    /// A platform, as written in the file.
    PlatformName {
        /// The Messages protocol.
        Anthropic = "anthropic",
        /// The Responses protocol.
        OpenAi = "openai",
        /// The Gemini protocol.
        Gemini = "gemini",
        /// The Gemini protocol in Code Assist's envelope.
        Antigravity = "antigravity",
    }
}

impl Account {
    /// Whether it serves clients of this platform.
    #[must_use]
    pub fn serves(&self, platform: PlatformName) -> bool {
        let mixes = matches!(platform, PlatformName::Anthropic | PlatformName::Gemini);
        self.platform == platform || self.mixed && mixes
    }

    /// How its upstream is asked.
    #[must_use]
    pub fn upstream(&self) -> UpstreamKind {
        match self.platform {
            PlatformName::Anthropic => UpstreamKind::Anthropic,
            PlatformName::OpenAi => UpstreamKind::OpenAi,
            PlatformName::Gemini | PlatformName::Antigravity if self.project.is_some() => {
                UpstreamKind::CodeAssist
            }
            PlatformName::Gemini | PlatformName::Antigravity => UpstreamKind::Gemini,
        }
    }
}

impl PlatformName {
    /// What accounts of this platform speak.
    #[must_use]
    pub const fn protocol(self) -> Protocol {
        match self {
            Self::Anthropic => Protocol::Anthropic,
            Self::OpenAi => Protocol::OpenAi,
            Self::Gemini | Self::Antigravity => Protocol::Gemini,
        }
    }
}

impl From<PlatformName> for Platform {
    fn from(name: PlatformName) -> Self {
        match name {
            PlatformName::Anthropic => Self::Anthropic,
            PlatformName::OpenAi => Self::OpenAi,
            PlatformName::Gemini => Self::Gemini,
            PlatformName::Antigravity => Self::Antigravity,
        }
    }
}

impl Default for Redis {
    fn default() -> Self {
        Self::stand_in()
    }
}

impl From<DegradedName> for Mode {
    fn from(name: DegradedName) -> Self {
        match name {
            DegradedName::Local => Self::Local,
            DegradedName::Reject => Self::Reject,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::stand_in()
    }
}

impl Default for Upstream {
    fn default() -> Self {
        Self::stand_in()
    }
}

impl Default for Anthropic {
    fn default() -> Self {
        Self::stand_in()
    }
}

impl Default for OpenAi {
    fn default() -> Self {
        Self::stand_in()
    }
}

impl Default for Log {
    fn default() -> Self {
        Self::stand_in()
    }
}
