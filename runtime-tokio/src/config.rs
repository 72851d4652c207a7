//! The configuration file: what an operator writes, checked as a whole.
//!
//! Everything that can be wrong in it is found when it is read, and told at once: the line, the
//! field, what stands there, and what to do. `read` goes from the text to values, one field after
//! the other; `check` compares them with each other and with the world outside.

use std::path::Path;

use sluice_engine::Policy;
use sluice_engine::store::Version;
use toml::de::DeTable;

pub use finding::{ConfigError, Finding};
pub use knobs::Knobs;
pub use listen::Listen;
pub use secret::Secret;
pub(crate) use secret::{SECRET_BYTES_MAX, read_file};
pub use sections::{
    AccessLogTo, Account, Anthropic, Config, DegradedName, Group, Key, Limits, Log, OAuth,
    OnDisconnect, OpenAi, PlatformName, Redis, Roots, Server, Upstream, User,
};
pub use store::Store;
pub use values::{Concurrency, OneOrMany};

use crate::directory::digest;
use finding::Report;
use read::Reader;
use secret::Outside;

mod check;
mod finding;
mod knobs;
mod listen;
mod read;
mod renew;
mod secret;
mod sections;
mod store;
#[cfg(test)]
mod tests;
mod values;

/// A version as people are told it: the file's time of change in microseconds, and the digest of its
/// content.
#[must_use]
pub fn version_text(version: Version) -> String {
    let Version { stamp, digest } = version;
    format!("{stamp}-{digest:016x}")
}

/// The longest configuration, in bytes.
const CONFIG_BYTES_MAX: u64 = 64 * 1024 * 1024;

impl Config {
    /// Reads a file, and what it names outside itself: secrets and certificates. Its time of change
    /// orders it among its versions.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let in_file = |error: ConfigError| ConfigError { file: Some(path.to_owned()), ..error };
        let failed = |e| in_file(Finding::of("", format!("cannot be read: {e}")).into());
        // First, so that what is changed meanwhile is newer than what has been read.
        let changed = std::fs::metadata(path).and_then(|meta| meta.modified()).map_err(failed)?;
        let text = read_file(path, CONFIG_BYTES_MAX).map_err(failed)?;
        let since = changed.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let stamp = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        Self::read(&text, stamp, Outside::Machine).map_err(in_file)
    }

    /// Reads a text that was changed last at `stamp`, by itself: that it names something outside,
    /// the environment or a file, is a mistake.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str, stamp: u64) -> Result<Self, ConfigError> {
        Self::read(text, stamp, Outside::Nothing)
    }

    /// The scheduler's knobs.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.policy.policy()
    }

    fn read(text: &str, stamp: u64, outside: Outside) -> Result<Self, ConfigError> {
        let mut report = Report::default();
        let mut reader = Reader::new(text, &mut report);
        let tree = DeTable::parse(text).map_err(|e| {
            // Its `Display` shows the line, which may hold a secret.
            let place = e.span().map(|span| reader.position(span.start));
            let (line, column) = place.unzip();
            let told = Finding::of("", format!("this is no TOML: {}", e.message()));
            Finding { line, column, ..told }
        })?;
        reader.fields(tree.get_ref(), Self::FIELDS);
        let mut config = Self::read_fields(&mut reader, tree.get_ref());
        check::check(&mut config, &mut report, outside);
        config.version = Version { stamp, digest: digest(&[text]) };
        config.warnings = report.end().map_err(|mistakes| ConfigError { file: None, mistakes })?;
        Ok(config)
    }
}
