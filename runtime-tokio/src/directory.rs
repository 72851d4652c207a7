//! What a configuration says, in the form the gateway looks things up in: the roster for the
//! engine, and for everybody else names, keys, balances and where accounts live.
//!
//! Ids are digests of names, so that they are the same on every node and after every restart.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use sluice_engine::roster::{self, Platform, Pool, PoolKey, Roster};
use sluice_engine::{AccountId, GroupId, ModelId, Policy, PoolId, UserId};

use crate::auth::{KeyOwner, Keys};
use crate::config::{self, Config, ConfigError, Finding, PlatformName};
use crate::protocol::Protocol;
use crate::upstream::access::{Credential, Source};
use crate::upstream::health::Windows;
use crate::upstream::oauth::Tokens;
use crate::upstream::target::Target;
use crate::upstream::tier::Standing;
use crate::upstream::tls::Tls;

pub use endpoint::{Endpoint, Proxy, ProxyScheme};

mod endpoint;

/// The directory in force as a worker hands it about: counting who has it touches nothing that workers
/// share.
pub(crate) type Current = Rc<Arc<Directory>>;

/// See the module's documentation. Replaced whole on reload.
#[derive(Debug)]
pub struct Directory {
    /// The engine's part: who and what there is,
    pub roster: Arc<Roster>,
    /// and its knobs.
    pub policy: Policy,
    /// The keys of all users.
    pub keys: Keys,
    /// All users.
    pub users: BTreeMap<UserId, User>,
    /// The names of all groups.
    pub groups: BTreeMap<GroupId, String>,
    /// All accounts.
    pub accounts: BTreeMap<AccountId, Arc<Account>>,
    /// The names of all pools.
    pub pools: BTreeMap<PoolId, String>,
    /// The names of models that accounts name.
    pub models: BTreeMap<ModelId, String>,
    /// For upstreams and proxies that speak TLS.
    pub tls: Tls,
    /// Whether any account has warm-up requests answered by the gateway.
    pub intercepts: bool,
    /// See [`config::OpenAi::default_instructions`].
    pub default_instructions: Option<String>,
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
    /// What requests to it have in common.
    pub target: Target,
    /// What it is asked with.
    pub credential: Source,
    /// The way there. Without it, directly; if it fails, nothing is sent another way.
    pub proxy: Option<Proxy>,
    /// What it speaks.
    pub protocol: Protocol,
    /// The project that Code Assist wants in its envelope; without one there is no envelope.
    pub project: Option<String>,
    /// The upstream's name of each model that has another one there.
    pub models: BTreeMap<String, String>,
    /// What is left of its quotas.
    pub windows: Arc<Windows>,
    /// Its tier, if it can have one.
    pub standing: Option<Arc<Standing>>,
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

impl Account {
    /// With what is known of the former one, and its tokens, as far as that is as good for it.
    fn new(
        account: &config::Account,
        former: Option<&Arc<Self>>,
    ) -> Result<Self, (&'static str, String)> {
        let proxy = account.proxy.as_ref().map(Proxy::parse).transpose();
        let protocol = account.platform.protocol();
        let same = |former: &&Arc<Self>| {
            former.endpoint == account.base_url && former.protocol == protocol
        };
        let former = former.filter(same);
        let credential = source(account, former)?;
        // Whose they are is known by the credential.
        let still = |former: &&Arc<Self>| {
            former.project == account.project && former.credential.is(&credential)
        };
        let known = former.filter(still);
        Ok(Self {
            name: account.name.clone(),
            target: Target::new(account.upstream(), &account.base_url)?,
            endpoint: account.base_url.clone(),
            proxy: proxy.map_err(|why| ("proxy", why))?,
            protocol,
            project: account.project.clone(),
            models: account.models.clone(),
            windows: known.map(|former| former.windows.clone()).unwrap_or_default(),
            standing: standing(account, known),
            credential,
        })
    }

    /// Its tokens, if it has any.
    fn tokens(&self) -> Option<&Arc<Tokens>> {
        match &self.credential {
            Source::Key(_) => None,
            Source::OAuth(tokens) => Some(tokens),
        }
    }

    /// Whether a connection to the other is as good for this one.
    pub(crate) fn is_reached_like(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || self.endpoint == other.endpoint && self.proxy == other.proxy
    }

    /// What the upstream calls this model, if it is another name.
    #[must_use]
    pub fn upstream_model(&self, model: &str) -> Option<&str> {
        self.models.get(model).map(String::as_str).filter(|name| *name != model)
    }
}

/// That of the former one, if what was learned of it still holds.
fn standing(account: &config::Account, former: Option<&Arc<Account>>) -> Option<Arc<Standing>> {
    let new = Standing::of(account)?;
    let kept = former.and_then(|former| former.standing.as_ref());
    let kept = kept.filter(|standing| standing.is_like(&new)).cloned();
    Some(kept.unwrap_or_else(|| Arc::new(new)))
}

fn source(
    account: &config::Account,
    former: Option<&Arc<Account>>,
) -> Result<Source, (&'static str, String)> {
    let kind = account.upstream();
    if let Some(oauth) = &account.oauth {
        let tokens = former.and_then(|former| former.tokens());
        let kept = tokens.filter(|tokens| tokens.serve(kind, oauth)).cloned();
        return Ok(Source::OAuth(kept.unwrap_or_else(|| Tokens::new(kind, oauth))));
    }
    let key = account.api_key.as_ref().ok_or_else(|| ("api_key", "is missing".to_owned()))?;
    let credential = Credential::key(kind, key).map_err(|why| ("api_key", why))?;
    Ok(Source::Key(Arc::new(credential)))
}

impl Directory {
    /// Makes a directory of a configuration.
    ///
    /// # Errors
    /// Certificates that cannot be read, and every proxy that is none: that only for a configuration
    /// that was changed after it was read.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        Self::with(config, &BTreeMap::new(), Tls::new(&config.upstream))
    }

    /// Makes the directory of a newer configuration. Whom to trust stays as it is, and so does what is
    /// known of accounts that are at the same place, and their tokens if their section `oauth` is the
    /// same.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn renewed(&self, config: &Config) -> Result<Self, ConfigError> {
        Self::with(config, &self.accounts, Ok(self.tls.clone()))
    }

    /// Which configuration it is of; see [`config::version_text`].
    #[must_use]
    pub fn version(&self) -> String {
        config::version_text(self.roster.version)
    }

    fn with(
        config: &Config,
        former: &BTreeMap<AccountId, Arc<Account>>,
        tls: Result<Tls, (&'static str, String)>,
    ) -> Result<Self, ConfigError> {
        let keys = config.users.iter().flat_map(|user| {
            let owner = |group| KeyOwner { user: user_id(&user.name), group: group_id(group) };
            user.keys.iter().map(move |key| (key.sha256, owner(&key.group)))
        });
        let mut accounts = BTreeMap::new();
        let mut mistakes = Vec::new();
        for (index, account) in config.accounts.iter().enumerate() {
            let id = account_id(&account.name);
            match Account::new(account, former.get(&id)) {
                Ok(known) => drop(accounts.insert(id, Arc::new(known))),
                Err((field, why)) => {
                    mistakes.push(Finding::of(&format!("accounts[{index}].{field}"), why));
                }
            }
        }
        let tls = tls.map_err(|(field, why)| mistakes.push(Finding::of(field, why))).ok();
        let Some(tls) = tls.filter(|_| mistakes.is_empty()) else {
            return Err(ConfigError { file: None, mistakes });
        };
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
            tls,
            intercepts: config.accounts.iter().any(|a| a.intercept_warmup),
            default_instructions: config.openai.default_instructions.clone(),
            policy: config.policy(),
        })
    }
}

impl Directory {
    /// Whether a group has accounts of this platform.
    #[must_use]
    pub fn serves(&self, group: GroupId, platform: Platform) -> bool {
        self.roster.pools.keys().any(|key| key.group == group && key.platform == platform)
    }

    /// The models that a group's accounts of this platform name, in order.
    #[must_use]
    pub fn named_models(&self, group: GroupId, platform: Platform) -> BTreeSet<&str> {
        let keys = self.roster.pools.keys();
        let keys = keys.filter(|key| key.group == group && key.platform == platform);
        keys.filter_map(|key| self.models.get(&key.model?)).map(String::as_str).collect()
    }
}

fn roster(config: &Config, pools: BTreeMap<PoolKey, Pool>) -> Roster {
    let user = |u: &config::User| (user_id(&u.name), roster::User { limit: u.concurrency.0 });
    let account = |a: &config::Account| {
        let account = roster::Account {
            limit: a.concurrency.0,
            priority: a.priority,
            oauth: a.oauth.is_some(),
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

/// For each group and platform: one pool for every model that some account names, and one for all
/// others.
fn pools(config: &Config) -> (BTreeMap<PoolKey, Pool>, BTreeMap<PoolId, String>) {
    let (mut pools, mut names) = (BTreeMap::new(), BTreeMap::new());
    for group in &config.groups {
        for &(word, platform) in PlatformName::WORDS {
            let belongs =
                |a: &&config::Account| a.groups.contains(&group.name) && a.serves(platform);
            let accounts: Vec<_> = config.accounts.iter().filter(belongs).collect();
            for (model, members) in members_by_model(&accounts) {
                // A model's name is at least one character long, so that nothing else is "".
                let model_name = model.map_or("", String::as_str);
                let id = PoolId(digest(&["pool", &group.name, word, model_name]));
                let shown = if model_name.is_empty() { "*" } else { model_name };
                names.insert(id, format!("{}/{}/{shown}", group.name, word));
                let key = PoolKey {
                    group: group_id(&group.name),
                    platform: platform.into(),
                    model: model.map(|name| model_id(name)),
                };
                pools.insert(key, Pool { id, members });
            }
        }
    }
    (pools, names)
}

/// Who serves each model that some of these accounts name, and who serves all others.
fn members_by_model<'a>(
    accounts: &[&'a config::Account],
) -> BTreeMap<Option<&'a String>, Vec<AccountId>> {
    let named = accounts.iter().flat_map(|a| a.models.keys());
    let models: BTreeSet<Option<&String>> = named.map(Some).chain([None]).collect();
    let members = |model: Option<&String>| {
        let serves = |a: &&&config::Account| {
            a.models.is_empty() || model.is_some_and(|model| a.models.contains_key(model))
        };
        accounts.iter().filter(serves).map(|a| account_id(&a.name)).collect::<Vec<_>>()
    };
    let all = models.into_iter().map(|model| (model, members(model)));
    all.filter(|(_, members)| !members.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use sluice_engine::store::Limit;

    use super::*;

    #[test]
    fn tokens_stay_with_an_account_that_is_the_same_to_them() {
        let oauth = config::OAuth {
            token_url: Endpoint::parse("http://h/token").expect("good"),
            client_id: "me".to_owned(),
            client_secret: None,
            scope: None,
            credential_file: "/c.json".into(),
        };
        let account = config::Account {
            name: "one".to_owned(),
            platform: PlatformName::Gemini,
            base_url: Endpoint::parse("http://h").expect("good"),
            api_key: None,
            oauth: Some(oauth.clone()),
            proxy: None,
            concurrency: config::Concurrency(Limit::Unlimited),
            priority: 0,
            groups: Vec::new(),
            models: BTreeMap::new(),
            project: None,
            tier: None,
            mixed: false,
            intercept_warmup: false,
        };
        let former = Arc::new(Account::new(&account, None).expect("good"));
        let stay = |new: config::Account| {
            let new = Account::new(&new, Some(&former)).expect("good");
            Arc::ptr_eq(former.tokens().expect("some"), new.tokens().expect("some"))
        };
        let base = account.clone();
        assert!(stay(config::Account { priority: 7, ..base.clone() }));
        let elsewhere = Endpoint::parse("http://other").expect("good");
        assert!(!stay(config::Account { base_url: elsewhere, ..base.clone() }));
        assert!(!stay(config::Account { project: Some("p".to_owned()), ..base.clone() }));
        let oauth = config::OAuth { client_id: "you".to_owned(), ..oauth };
        assert!(!stay(config::Account { oauth: Some(oauth), ..base.clone() }));
        let none = Account::new(&config::Account { oauth: None, ..base }, Some(&former));
        assert_eq!(none.err(), Some(("api_key", "is missing".to_owned())));
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
