//! The configuration file: what an operator writes, checked as a whole.
//!
//! Everything that can be wrong in it is found when it is read, with the place and what it must be.
//! The only file that reads the environment.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sluice_engine::Policy;
use sluice_engine::roster::Platform;
use sluice_engine::store::{Limit, Version};

pub use knobs::Knobs;

use crate::directory::digest;

mod knobs;

/// A whole configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where and as what the gateway runs.
    pub server: Server,
    /// Sizes and times of the client's side.
    #[serde(default)]
    pub limits: Limits,
    /// Times of the upstream's side.
    #[serde(default)]
    pub upstream: Upstream,
    /// The scheduler.
    #[serde(default)]
    pub policy: Knobs,
    /// The access log.
    #[serde(default)]
    pub log: Log,
    /// Who may use which accounts.
    pub groups: Vec<Group>,
    /// Who may ask.
    #[serde(default)]
    pub users: Vec<User>,
    /// Who is asked.
    #[serde(default)]
    pub accounts: Vec<Account>,
    /// Which of two configurations is the newer: the file's time of change, and its content.
    #[serde(skip)]
    pub version: Version,
}

/// See [`Config::server`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// For clients; at least one.
    pub listen: OneOrMany<Listen>,
    /// For operators; without it there is no admin listener.
    pub admin_listen: Option<Listen>,
    /// The process' name in the store, unique among those that share one.
    #[serde(default = "Server::default_name")]
    pub name: String,
    /// Threads, each with an engine of its own.
    #[serde(default = "Server::default_workers")]
    pub workers: usize,
}

impl Server {
    fn default_name() -> String {
        "sluice".to_owned()
    }

    const fn default_workers() -> usize {
        1
    }
}

/// A place to listen at: `host:port` with an IPv4 or a bracketed IPv6 address, or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Listen {
    /// An address and a port; port 0 takes any free one.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err(format!("\"{text}\": the path after unix: must begin with /")),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| format!("\"{text}\" must be ADDRESS:PORT, [IPV6]:PORT or unix:/PATH")),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A value, or a list of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "RawOneOrMany<T>", bound = "T: Deserialize<'de>")]
pub struct OneOrMany<T>(pub Vec<T>);

#[derive(Deserialize)]
#[serde(untagged)]
enum RawOneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> From<RawOneOrMany<T>> for OneOrMany<T> {
    fn from(raw: RawOneOrMany<T>) -> Self {
        match raw {
            RawOneOrMany::One(one) => Self(vec![one]),
            RawOneOrMany::Many(many) => Self(many),
        }
    }
}

/// See [`Config::limits`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of one request's body.
    pub body_bytes_max: usize,
    /// Bytes of all bodies that are held at once.
    pub parked_bytes_max: usize,
    /// Clients' connections at once; further ones wait to be accepted.
    pub connections_max: usize,
    /// Headers of one request.
    pub headers_max: usize,
    /// Bytes of all header names and values of one request.
    pub header_bytes_max: usize,
    /// From a connection's first byte to the end of a request's head.
    pub header_timeout_ms: u64,
    /// Between two pieces of a request's body.
    pub body_idle_timeout_ms: u64,
    /// How long a client may leave a piece of its answer unread.
    pub client_stall_timeout_ms: u64,
    /// From the signal to stop until new connections are refused.
    pub shutdown_delay_ms: u64,
    /// From then until what still runs is cut off.
    pub drain_timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 100 * 1024 * 1024,
            parked_bytes_max: 1024 * 1024 * 1024,
            connections_max: 20_000,
            headers_max: 100,
            header_bytes_max: 64 * 1024,
            header_timeout_ms: 30_000,
            body_idle_timeout_ms: 60_000,
            client_stall_timeout_ms: 120_000,
            shutdown_delay_ms: 0,
            drain_timeout_ms: 30_000,
        }
    }
}

/// See [`Config::upstream`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// Name and connection.
    pub connect_timeout_ms: u64,
    /// From the request's last byte to the answer's head.
    pub header_timeout_ms: u64,
    /// Between two pieces of an answer.
    pub idle_timeout_ms: u64,
    /// One attempt as a whole.
    pub total_timeout_ms: u64,
    /// Connections per account that are kept for later requests.
    pub idle_connections_max: usize,
    /// How long they are kept.
    pub idle_connection_ms: u64,
    /// Whether HTTP/2 is offered to upstreams behind `https`.
    pub http2: bool,
    /// Which certificate authorities upstreams behind `https` are known by.
    pub roots: Roots,
    /// Further certificate authorities, a PEM file.
    pub ca_file: Option<PathBuf>,
    /// What becomes of an attempt whose client has gone.
    pub on_disconnect: OnDisconnect,
    /// With `drain`: the most bytes that are still read,
    pub drain_bytes_max: usize,
    /// and for how long at most.
    pub drain_time_max_ms: u64,
}

/// See [`Upstream::roots`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Roots {
    /// Those of the machine.
    #[default]
    Platform,
    /// Mozilla's, as they were when the program was built.
    Bundled,
}

/// See [`Upstream::on_disconnect`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDisconnect {
    /// It is cancelled at once.
    #[default]
    Cancel,
    /// Its answer is read on, for its usage, within limits.
    Drain,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 10_000,
            header_timeout_ms: 300_000,
            idle_timeout_ms: 120_000,
            total_timeout_ms: 3_600_000,
            idle_connections_max: 64,
            idle_connection_ms: 60_000,
            http2: true,
            roots: Roots::default(),
            ca_file: None,
            on_disconnect: OnDisconnect::default(),
            drain_bytes_max: 1024 * 1024,
            drain_time_max_ms: 10_000,
        }
    }
}

/// See [`Config::log`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Where every request leaves a line.
    pub access: AccessLogTo,
    /// Lines that wait to be written; beyond them lines are lost, and counted.
    pub access_lines_max: usize,
}

impl Default for Log {
    fn default() -> Self {
        Self { access: AccessLogTo::default(), access_lines_max: 16_384 }
    }
}

/// See [`Log::access`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessLogTo {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error, among the messages of the program itself.
    Stderr,
    /// Nowhere.
    Off,
}

/// A group: the accounts that its users' keys may use.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name.
    pub name: String,
}

/// A user.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Requests at once.
    pub concurrency: Concurrency,
    /// What is left to spend, in cents. Without it nothing is counted.
    pub balance_cents: Option<i64>,
    /// What it may call itself.
    #[serde(default)]
    pub keys: Vec<Key>,
}

/// A user's key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// SHA-256 of the key, 64 hex digits. The key itself is nowhere stored.
    pub sha256: String,
    /// The group whose accounts it may use.
    pub group: String,
}

/// An upstream account.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// What it speaks.
    #[serde(default)]
    pub platform: PlatformName,
    /// `https://host[:port][/prefix]`, or `http://`.
    pub base_url: String,
    /// The credential: the value itself, `env:NAME` or `file:PATH`.
    pub api_key: Secret,
    /// The way to it: `http://`, `https://` or `socks5://`, `[user:password@]host:port`; the value
    /// itself, `env:NAME` or `file:PATH`. Without it: directly.
    pub proxy: Option<Secret>,
    /// Requests at once.
    pub concurrency: Concurrency,
    /// Lower is preferred.
    #[serde(default)]
    pub priority: u32,
    /// The groups that may use it.
    pub groups: Vec<String>,
    /// The models it serves, each with the name that the upstream knows it by. Empty: every model.
    #[serde(default)]
    pub models: BTreeMap<String, String>,
    /// Whether warm-up requests are answered by the gateway in its name.
    #[serde(default)]
    pub intercept_warmup: bool,
}

/// A platform, as written in the file.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlatformName {
    /// The Messages protocol.
    #[default]
    Anthropic,
}

impl From<PlatformName> for Platform {
    fn from(name: PlatformName) -> Self {
        match name {
            PlatformName::Anthropic => Self::Anthropic,
        }
    }
}

/// How many requests at once: a number from 1, `"unlimited"` or `"closed"`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "RawConcurrency")]
pub struct Concurrency(pub Limit);

#[derive(Deserialize)]
#[serde(untagged)]
enum RawConcurrency {
    Slots(u32),
    Word(String),
}

impl TryFrom<RawConcurrency> for Concurrency {
    type Error = String;

    fn try_from(raw: RawConcurrency) -> Result<Self, String> {
        match raw {
            RawConcurrency::Slots(n) if n > 0 => Ok(Self(Limit::Slots(n))),
            RawConcurrency::Word(word) if word == "unlimited" => Ok(Self(Limit::Unlimited)),
            RawConcurrency::Word(word) if word == "closed" => Ok(Self(Limit::Closed)),
            RawConcurrency::Slots(_) | RawConcurrency::Word(_) => {
                Err("concurrency must be a number from 1, \"unlimited\" or \"closed\"".to_owned())
            }
        }
    }
}

/// A credential. Not shown by `Debug`.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The value, to be put into a request to the host that it belongs to and nowhere else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn resolve(&mut self) -> Result<(), String> {
        if let Some(name) = self.0.strip_prefix("env:") {
            self.0 = std::env::var(name).map_err(|e| format!("environment {name}: {e}"))?;
        } else if let Some(path) = self.0.strip_prefix("file:") {
            let text = std::fs::read_to_string(path).map_err(|e| format!("file {path}: {e}"))?;
            self.0 = text.trim_end().to_owned();
        }
        let visible = |b: u8| b.is_ascii_graphic();
        if self.0.is_empty() || !self.0.bytes().all(visible) {
            return Err("must be visible ASCII characters".to_owned());
        }
        Ok(())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Everything that is wrong with a configuration, one mistake a line.
#[derive(Debug)]
pub struct ConfigError(pub Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

impl From<String> for ConfigError {
    fn from(mistake: String) -> Self {
        Self(vec![mistake])
    }
}

impl Config {
    /// Reads a file. Its time of change orders it among its versions.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let failed = |e: std::io::Error| ConfigError::from(format!("{}: {e}", path.display()));
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let changed = std::fs::metadata(path).and_then(|meta| meta.modified()).map_err(failed)?;
        let since = changed.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let stamp = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        Self::parse(&text, stamp)
    }

    /// Reads a text that was changed last at `stamp`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str, stamp: u64) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        config.version = Version { stamp, digest: digest(&[text]) };
        let mistakes = config.check();
        if mistakes.is_empty() { Ok(config) } else { Err(ConfigError(mistakes)) }
    }

    /// The scheduler's knobs.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.policy.policy()
    }

    fn check(&mut self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.server.workers == 0 {
            mistakes.push("server.workers must be at least 1".to_owned());
        }
        if self.limits.connections_max == 0 {
            mistakes.push("limits.connections_max must be at least 1".to_owned());
        }
        if self.limits.body_bytes_max > self.limits.parked_bytes_max {
            mistakes.push("limits.parked_bytes_max must hold one body at least".to_owned());
        }
        if let Err(errors) = self.policy().validate() {
            mistakes.extend(errors.iter().map(|e| format!("policy.{e}")));
        }
        let names = |kind, names: Vec<&str>| {
            let mut seen = BTreeMap::new();
            for name in &names {
                *seen.entry(*name).or_insert(0) += 1;
            }
            let twice = seen.into_iter().filter(|(_, n)| *n > 1);
            twice.map(|(name, _)| format!("{kind} \"{name}\" is there twice")).collect::<Vec<_>>()
        };
        mistakes.extend(names("group", self.groups.iter().map(|g| &*g.name).collect()));
        mistakes.extend(names("user", self.users.iter().map(|u| &*u.name).collect()));
        mistakes.extend(names("account", self.accounts.iter().map(|a| &*a.name).collect()));
        let keys = self.users.iter().flat_map(|u| &u.keys).map(|k| &*k.sha256).collect();
        mistakes.extend(names("key", keys));
        for user in &self.users {
            for key in &user.keys {
                if !self.groups.iter().any(|g| g.name == key.group) {
                    mistakes.push(format!("user \"{}\": no group \"{}\"", user.name, key.group));
                }
            }
        }
        for account in &mut self.accounts {
            for group in &account.groups {
                if !self.groups.iter().any(|g| g.name == *group) {
                    mistakes.push(format!("account \"{}\": no group \"{group}\"", account.name));
                }
            }
            let secrets =
                [("api_key", Some(&mut account.api_key)), ("proxy", account.proxy.as_mut())];
            for (field, secret) in secrets {
                if let Some(Err(why)) = secret.map(Secret::resolve) {
                    mistakes.push(format!("account \"{}\": {field}: {why}", account.name));
                }
            }
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_engine::Span;

    const SMALL: &str = "[server]\nlisten = \"127.0.0.1:0\"\n[[groups]]\nname = \"main\"\n";

    fn mistakes(text: &str) -> String {
        Config::parse(text, 1).expect_err("wrong").to_string()
    }

    #[test]
    fn the_example_is_a_good_configuration_that_says_the_defaults() {
        let text = include_str!("../../sluice.example.toml");
        let text = text.replace("env:ANTHROPIC_API_KEY", "sk-example");
        let config = Config::parse(&text, 1).expect("the example is good");
        assert_eq!(config.policy(), Policy::fair(), "knobs of the example are the defaults");
        let (limits, upstream) = (Limits::default(), Upstream::default());
        assert_eq!(format!("{:?}", config.limits), format!("{limits:?}"));
        assert_eq!(format!("{:?}", config.upstream), format!("{upstream:?}"));
        assert!(config.users.len() >= 2 && config.accounts.len() >= 2);
    }

    #[test]
    fn every_commented_line_of_the_example_is_good_too() {
        let text = include_str!("../../sluice.example.toml");
        let knob = |line: &str| {
            let rest = line.strip_prefix("# ").unwrap_or(line);
            let word = rest.split(" = ").next().unwrap_or_default();
            let name =
                !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            if rest.contains(" = ") && name { rest.to_owned() } else { line.to_owned() }
        };
        let all: Vec<String> = text.lines().map(knob).collect();
        let text = all.join("\n").replace("env:ANTHROPIC_API_KEY", "sk-example");
        Config::parse(&text, 1).expect("every knob of the example is known");
    }

    #[test]
    fn a_knob_that_is_not_known_is_refused() {
        assert!(mistakes(&format!("{SMALL}[limits]\nbody_max = 1\n")).contains("body_max"));
        assert!(mistakes(&format!("{SMALL}[policy]\npatience = 1\n")).contains("patience"));
    }

    #[test]
    fn all_mistakes_are_named_at_once() {
        let text = format!(
            "{SMALL}[policy]\nsticky_line_max = 0\n\
             [[users]]\nname = \"a\"\nconcurrency = 1\nkeys = [{{ sha256 = \"00\", group = \"x\" }}]\n\
             [[users]]\nname = \"a\"\nconcurrency = 1\n\
             [[accounts]]\nname = \"b\"\nbase_url = \"http://h\"\napi_key = \"env:NO_SUCH_NAME\"\n\
             concurrency = \"closed\"\ngroups = [\"y\"]\n"
        );
        let told = mistakes(&text);
        for part in [
            "sticky_line_max",
            "user \"a\" is there twice",
            "no group \"x\"",
            "no group \"y\"",
            "NO_SUCH_NAME",
        ] {
            assert!(told.contains(part), "{part} in {told}");
        }
    }

    #[test]
    fn a_concurrency_of_nothing_must_be_said_in_words() {
        let user = "[[users]]\nname = \"a\"\nconcurrency = 0\n";
        assert!(mistakes(&format!("{SMALL}{user}")).contains("\"unlimited\" or \"closed\""));
    }

    #[test]
    fn a_preset_is_changed_knob_by_knob() {
        let text = format!("{SMALL}[policy]\npreset = \"seed\"\nsticky_patience_ms = 7\n");
        let policy = Config::parse(&text, 1).expect("good").policy();
        let want = Policy { sticky_patience: Span::from_ms(7), ..Policy::seed() };
        assert_eq!(policy, want);
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Secret("sk-1".to_owned())), "Secret");
    }
}
