//! The roster: an immutable, versioned snapshot of what there is. Replaced whole on reload.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, GroupId, ModelId, PoolId, UserId};
use crate::store::{AccountDef, Limit, PoolDef, Version};

/// A family of upstreams that speak one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Platform {
    /// Claude, `/v1/messages`.
    Anthropic,
    /// OpenAI, `/v1/responses`.
    OpenAi,
    /// Gemini, `/v1beta`.
    Gemini,
    /// Code Assist style envelopes.
    Antigravity,
}

/// A user, as scheduling sees one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Requests at once.
    pub limit: Limit,
}

/// An account, as scheduling sees one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Requests at once.
    pub limit: Limit,
    /// Lower is preferred.
    pub priority: u32,
    /// Whether its credential is an OAuth token.
    pub oauth: bool,
    /// Whether warm-up requests are answered by the gateway in its name.
    pub intercept_warmup: bool,
}

/// Whom a pool serves. `model: None` is for every model that no pool of its own names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PoolKey {
    /// The group.
    pub group: GroupId,
    /// The platform.
    pub platform: Platform,
    /// The model.
    pub model: Option<ModelId>,
}

/// The accounts that can serve one [`PoolKey`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Its name in the store, the same on every node.
    pub id: PoolId,
    /// Its accounts, without repetition.
    pub members: Vec<AccountId>,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// Which of two is newer.
    pub version: Version,
    /// All users.
    pub users: BTreeMap<UserId, User>,
    /// All accounts.
    pub accounts: BTreeMap<AccountId, Account>,
    /// All pools; a member that is no account is passed over.
    #[serde(with = "pools_as_list")]
    pub pools: BTreeMap<PoolKey, Pool>,
}

impl Roster {
    /// The pool that serves this model: its own, or the one for every other model.
    #[must_use]
    pub fn pool(&self, group: GroupId, platform: Platform, model: ModelId) -> Option<&Pool> {
        let key = |model| PoolKey { group, platform, model };
        self.pools.get(&key(Some(model))).or_else(|| self.pools.get(&key(None)))
    }

    /// The accounts as the store needs them, by id.
    #[must_use]
    pub fn account_defs(&self) -> Vec<AccountDef> {
        let def = |(&account, a): (&AccountId, &Account)| AccountDef {
            account,
            limit: a.limit,
            priority: a.priority,
            oauth: a.oauth,
        };
        self.accounts.iter().map(def).collect()
    }

    /// The pools as the store needs them.
    #[must_use]
    pub fn pool_defs(&self) -> Vec<PoolDef> {
        let known = |id: &AccountId| self.accounts.contains_key(id);
        let def = |(key, pool): (&PoolKey, &Pool)| PoolDef {
            pool: pool.id,
            prefer_oauth: key.platform == Platform::Gemini,
            members: pool.members.iter().copied().filter(known).collect(),
        };
        self.pools.iter().map(def).collect()
    }
}

/// JSON has no maps with structured keys.
mod pools_as_list {
    use super::{BTreeMap, Pool, PoolKey, Vec};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        pools: &BTreeMap<PoolKey, Pool>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(pools)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<PoolKey, Pool>, D::Error> {
        Vec::<(PoolKey, Pool)>::deserialize(deserializer).map(BTreeMap::from_iter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{GroupId, PoolId};

    #[test]
    fn oauth_comes_first_in_pools_for_gemini_only() {
        let pool = |platform| {
            let key = PoolKey { group: GroupId(1), platform, model: None };
            (key, Pool { id: PoolId(1), members: Vec::new() })
        };
        for (platform, prefers) in [
            (Platform::Gemini, true),
            (Platform::Anthropic, false),
            (Platform::OpenAi, false),
            (Platform::Antigravity, false),
        ] {
            let roster = Roster { pools: [pool(platform)].into(), ..Roster::default() };
            assert_eq!(roster.pool_defs()[0].prefer_oauth, prefers);
        }
    }
}
