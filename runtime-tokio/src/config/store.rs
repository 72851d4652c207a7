//! Where slots, lines, sessions and health are kept, as the file says it.

use sluice_storage::redis::RedisUrl;

use super::read::{Rule, rule};

/// What `server.store` names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Store {
    /// The process' own memory.
    #[default]
    Memory,
    /// A Redis that any number of gateways share.
    Redis(RedisUrl),
}

/// The word for the process' own memory.
pub(super) const MEMORY: &str = "memory";

impl Store {
    /// What a text names. What is wrong with it never repeats it, as it may hold a password.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text == MEMORY {
            return Ok(Self::Memory);
        }
        let url = RedisUrl::parse(text).map_err(|why| format!("{why}; or \"{MEMORY}\""))?;
        Ok(Self::Redis(url))
    }
}

/// What stands between the braces of every key.
pub(super) fn cell() -> Rule<impl Fn(&String) -> bool> {
    let must = "must be 1 to 64 letters, digits, \"-\", \"_\" or \".\", in quotes";
    rule(must, |cell: &String| {
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        (1..=64).contains(&cell.len()) && cell.bytes().all(good)
    })
}
