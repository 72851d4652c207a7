//! What a configuration says, in the form the gateway looks things up in: the roster for the
//! engine, and for everybody else names, keys, balances and where accounts live.
//!
//! Ids are digests of names, so that they are the same on every node and after every restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use sluice_engine::roster::{self, Platform, Pool, PoolKey, Roster};
use sluice_engine::{AccountId, GroupId, ModelId, PoolId, UserId};

use crate::auth::{KeyHash, KeyOwner, Keys};
use crate::config::{self, Config, ConfigError, Secret};

/// See the module's documentation. Replaced whole on reload.
#[derive(Debug)]
pub struct Directory {
    /// The engine's part.
    pub roster: Arc<Roster>,
    /// The keys of all users.
    pub keys: Keys,
    /// All users.
    pub users: BTreeMap<UserId, User>,
    /// The names of all groups.
    pub groups: BTreeMap<GroupId, String>,
    /// All accounts.
    pub accounts: BTreeMap<AccountId, Account>,
    /// The names of all pools.
    pub pools: BTreeMap<PoolId, String>,
    /// The names of models that accounts name.
    pub models: BTreeMap<ModelId, String>,
    /// Whether any account has warm-up requests answered by the gateway.
    pub intercepts: bool,
}

/// A user, as people and billing see one.
#[derive(Debug)]
pub struct User {
    /// Its name.
    pub name: String,
    /// What is left to spend; `None`: not counted.
    pub balance_cents: Option<i64>,
}

/// An account, as forwarding sees one.
#[derive(Debug)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Where it lives.
    pub endpoint: Endpoint,
    /// Belongs to that endpoint alone.
    pub api_key: Secret,
    /// The upstream's name of each model that has another one there.
    pub models: BTreeMap<String, String>,
}

/// A place that speaks HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// What stands before every path; empty, or with a slash at its beginning only.
    pub prefix: String,
}

/// The first 8 bytes of the SHA-256 of `parts`, each ended by a zero byte.
#[must_use]
pub fn digest(parts: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let hash = hash.finalize();
    u64::from_be_bytes(hash[..8].try_into().expect("a SHA-256 has 32 bytes"))
}

/// A user's id.
#[must_use]
pub fn user_id(name: &str) -> UserId {
    UserId(digest(&["user", name]))
}

/// A group's id.
#[must_use]
pub fn group_id(name: &str) -> GroupId {
    GroupId(digest(&["group", name]))
}

/// An account's id.
#[must_use]
pub fn account_id(name: &str) -> AccountId {
    AccountId(digest(&["account", name]))
}

/// A model's id.
#[must_use]
pub fn model_id(name: &str) -> ModelId {
    ModelId(digest(&["model", name]))
}

impl Endpoint {
    /// Reads `http://host[:port][/prefix]`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(url: &str) -> Result<Self, String> {
        let Some(rest) = url.strip_prefix("http://") else {
            return Err(format!("base_url \"{url}\" must begin with http://"));
        };
        let (authority, prefix) = rest.split_once('/').map_or((rest, ""), |(a, p)| (a, p));
        let prefix = prefix.trim_end_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
        let bracket = authority.rfind(']').unwrap_or(0);
        let (host, port) = match authority[bracket..].rfind(':') {
            None => (authority, Ok(80)),
            Some(at) => (&authority[..bracket + at], authority[bracket + at + 1..].parse()),
        };
        let port = port.map_err(|e| format!("base_url \"{url}\": port: {e}"))?;
        let plain = |b: u8| b.is_ascii_graphic() && !b"@?#/\\\"<>".contains(&b);
        if host.is_empty()
            || !host.bytes().all(plain)
            || !prefix.bytes().all(|b| b.is_ascii_graphic())
        {
            return Err(format!("base_url \"{url}\": no host, or characters that do not belong"));
        }
        Ok(Self { host: host.to_owned(), port, prefix })
    }

    /// For the `host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.port == 80 { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }
}

impl Account {
    /// What the upstream calls this model, if it is another name.
    #[must_use]
    pub fn upstream_model(&self, model: &str) -> Option<&str> {
        self.models.get(model).map(String::as_str).filter(|name| *name != model)
    }
}

impl Directory {
    /// Makes a directory of a configuration.
    ///
    /// # Errors
    /// Every key hash and address that is none.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let mut mistakes = Vec::new();
        let mut keys = Vec::new();
        for user in &config.users {
            for key in &user.keys {
                let owner = KeyOwner { user: user_id(&user.name), group: group_id(&key.group) };
                match KeyHash::from_hex(&key.sha256) {
                    Some(hash) => keys.push((hash, owner)),
                    None => mistakes
                        .push(format!("user \"{}\": sha256 must be 64 hex digits", user.name)),
                }
            }
        }
        let mut accounts = BTreeMap::new();
        for account in &config.accounts {
            match Endpoint::parse(&account.base_url) {
                Ok(endpoint) => {
                    accounts.insert(
                        account_id(&account.name),
                        Account {
                            name: account.name.clone(),
                            endpoint,
                            api_key: account.api_key.clone(),
                            models: account.models.clone(),
                        },
                    );
                }
                Err(why) => mistakes.push(format!("account \"{}\": {why}", account.name)),
            }
        }
        if !mistakes.is_empty() {
            return Err(ConfigError(mistakes));
        }
        let user = |u: &config::User| {
            (user_id(&u.name), User { name: u.name.clone(), balance_cents: u.balance_cents })
        };
        let (roster_pools, pools) = pools(config);
        let models = config.accounts.iter().flat_map(|a| a.models.keys());
        Ok(Self {
            roster: Arc::new(roster(config, roster_pools)),
            keys: Keys::new(keys),
            users: config.users.iter().map(user).collect(),
            groups: config.groups.iter().map(|g| (group_id(&g.name), g.name.clone())).collect(),
            accounts,
            pools,
            models: models.map(|name| (model_id(name), name.clone())).collect(),
            intercepts: config.accounts.iter().any(|a| a.intercept_warmup),
        })
    }
}

fn roster(config: &Config, pools: BTreeMap<PoolKey, Pool>) -> Roster {
    let user = |u: &config::User| (user_id(&u.name), roster::User { limit: u.concurrency.0 });
    let account = |a: &config::Account| {
        let account = roster::Account {
            limit: a.concurrency.0,
            priority: a.priority,
            oauth: false,
            intercept_warmup: a.intercept_warmup,
        };
        (account_id(&a.name), account)
    };
    Roster {
        version: config.version,
        users: config.users.iter().map(user).collect(),
        accounts: config.accounts.iter().map(account).collect(),
        pools,
    }
}

/// One pool for every model that some account of a group names, and one for all others.
fn pools(config: &Config) -> (BTreeMap<PoolKey, Pool>, BTreeMap<PoolId, String>) {
    let (mut pools, mut names) = (BTreeMap::new(), BTreeMap::new());
    for group in &config.groups {
        let accounts: Vec<_> =
            config.accounts.iter().filter(|a| a.groups.contains(&group.name)).collect();
        let named = accounts.iter().flat_map(|a| a.models.keys());
        let models: BTreeSet<Option<&String>> = named.map(Some).chain([None]).collect();
        for model in models {
            let serves = |a: &&&config::Account| {
                a.models.is_empty() || model.is_some_and(|model| a.models.contains_key(model))
            };
            let members: Vec<_> =
                accounts.iter().filter(serves).map(|a| account_id(&a.name)).collect();
            if members.is_empty() {
                continue;
            }
            // A model's name is at least one character long, so that nothing else is "".
            let model_name = model.map_or("", String::as_str);
            let id = PoolId(digest(&["pool", &group.name, "anthropic", model_name]));
            let shown = if model_name.is_empty() { "*" } else { model_name };
            names.insert(id, format!("{}/anthropic/{shown}", group.name));
            let key = PoolKey {
                group: group_id(&group.name),
                platform: Platform::Anthropic,
                model: model.map(|name| model_id(name)),
            };
            pools.insert(key, Pool { id, members });
        }
    }
    (pools, names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_host_port_and_prefix() {
        let parse = |url| Endpoint::parse(url).map(|e| (e.host.clone(), e.port, e.prefix));
        let is = |host: &str, port, prefix: &str| Ok((host.to_owned(), port, prefix.to_owned()));
        assert_eq!(parse("http://h"), is("h", 80, ""));
        assert_eq!(parse("http://h:81/"), is("h", 81, ""));
        assert_eq!(parse("http://[::1]:81/a/b/"), is("[::1]", 81, "/a/b"));
        for bad in ["h", "ftp://h", "http://", "http://u@h", "http://h:x", "http://h:99999"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn accounts_that_name_models_serve_those_only() {
        let text = r#"
            server = { listen = "127.0.0.1:0" }
            groups = [{ name = "g" }, { name = "empty" }]
            [[accounts]]
            name = "all"
            base_url = "http://h"
            api_key = "k"
            concurrency = 1
            groups = ["g"]
            [[accounts]]
            name = "one"
            base_url = "http://h"
            api_key = "k"
            concurrency = 1
            groups = ["g"]
            models = { small = "small-1" }
        "#;
        let directory = Directory::new(&Config::parse(text, 1).expect("good")).expect("good");
        let members = |group, model| {
            let pool = directory.roster.pool(group_id(group), Platform::Anthropic, model_id(model));
            pool.map(|pool| pool.members.clone())
        };
        assert_eq!(members("g", "small"), Some(vec![account_id("all"), account_id("one")]));
        assert_eq!(members("g", "other"), Some(vec![account_id("all")]));
        assert_eq!(members("empty", "small"), None);
        let one = &directory.accounts[&account_id("one")];
        assert_eq!(one.upstream_model("small"), Some("small-1"));
    }
}
