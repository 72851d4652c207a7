//! The plan of a world: who there is, which knobs are turned and what may go wrong. Drawn before
//! the steps, so that most worlds lack most faults and one fault cannot hide another.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use sluice_engine::policy::OnSessionLost;
use sluice_engine::roster::{Account, Platform, Pool, PoolKey, User};
use sluice_engine::store::{Limit, Version};
use sluice_engine::{AccountId, GroupId, ModelId, Policy, PoolId, Preset, Roster, UserId};

/// An account of a plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AccountPlan {
    pub(crate) limit: Limit,
    pub(crate) priority: u32,
    pub(crate) intercept: bool,
}

/// Knobs that differ from the preset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Knobs {
    pub(crate) abort: bool,
    pub(crate) user_line: Option<u32>,
    pub(crate) pool_line: Option<u32>,
    pub(crate) requests_max: Option<u32>,
    pub(crate) failures_to_eject: u32,
}

/// What may go wrong, as weights beside the plain course of things.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    pub(crate) lose: u32,
    pub(crate) refuse: u32,
    pub(crate) late: u32,
    pub(crate) twice: u32,
    pub(crate) crash: u32,
    pub(crate) freeze: u32,
    pub(crate) roster: u32,
    pub(crate) failures: u32,
    pub(crate) abandon: u32,
}

/// The plan of one world.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) preset: Preset,
    pub(crate) engines: usize,
    pub(crate) users: Vec<Limit>,
    pub(crate) accounts: Vec<AccountPlan>,
    /// Indices of accounts.
    pub(crate) pools: Vec<Vec<usize>>,
    pub(crate) knobs: Knobs,
    pub(crate) faults: Faults,
    /// Whether the store answers at once to begin with.
    pub(crate) prompt: bool,
}

pub(crate) fn user(nth: usize) -> UserId {
    UserId(100 + nth as u64)
}

pub(crate) fn account(nth: usize) -> AccountId {
    AccountId(1 + nth as u64)
}

/// Every pool has a group of its own and serves one model.
pub(crate) fn pool_key(nth: usize) -> PoolKey {
    PoolKey { group: GroupId(1 + nth as u64), platform: Platform::Anthropic, model: None }
}

pub(crate) const MODEL: ModelId = ModelId(77);

impl Shape {
    pub(crate) fn policy(&self) -> Policy {
        let mut policy = Policy::preset(self.preset);
        if self.knobs.abort {
            policy.on_session_lost = OnSessionLost::Abort;
        }
        policy.extra_wait_slots = self.knobs.user_line.unwrap_or(policy.extra_wait_slots);
        policy.fallback_line_max = self.knobs.pool_line.unwrap_or(policy.fallback_line_max);
        policy.requests_max = self.knobs.requests_max.unwrap_or(policy.requests_max);
        policy.health.failures_to_eject = self.knobs.failures_to_eject;
        policy
    }

    pub(crate) fn roster(&self) -> Arc<Roster> {
        let users = self.users.iter().enumerate().map(|(n, &limit)| (user(n), User { limit }));
        let plan = |(n, a): (usize, &AccountPlan)| {
            let oauth = false;
            let (limit, priority, intercept_warmup) = (a.limit, a.priority, a.intercept);
            (account(n), Account { limit, priority, oauth, intercept_warmup })
        };
        let pool = |(n, members): (usize, &Vec<usize>)| {
            let members = members.iter().map(|&m| account(m)).collect();
            (pool_key(n), Pool { id: PoolId(1 + n as u64), members })
        };
        Arc::new(Roster {
            version: Version { stamp: 1, digest: 0 },
            users: users.collect(),
            accounts: self.accounts.iter().enumerate().map(plan).collect(),
            pools: self.pools.iter().enumerate().map(pool).collect::<BTreeMap<_, _>>(),
        })
    }
}

pub(crate) fn limit() -> BoxedStrategy<Limit> {
    prop_oneof![
        20 => (1u32..=3).prop_map(Limit::Slots),
        2 => Just(Limit::Unlimited),
        1 => Just(Limit::Closed),
    ]
    .boxed()
}

fn account_plan() -> impl Strategy<Value = AccountPlan> {
    (limit(), 0u32..=1, prop::bool::weighted(0.2))
        .prop_map(|(limit, priority, intercept)| AccountPlan { limit, priority, intercept })
}

fn knobs() -> impl Strategy<Value = Knobs> {
    let rarely = |max: u32| prop::option::weighted(0.2, 1..=max);
    (prop::bool::weighted(0.3), rarely(2), rarely(2), prop::option::weighted(0.1, 2..5u32), 1..4u32)
        .prop_map(|(abort, user_line, pool_line, requests_max, failures_to_eject)| Knobs {
            abort,
            user_line,
            pool_line,
            requests_max,
            failures_to_eject,
        })
}

fn faults() -> impl Strategy<Value = Faults> {
    let weight = || prop_oneof![2 => Just(0u32), 1 => 1u32..=3, 1 => 4u32..=12];
    let network = (weight(), weight(), weight(), weight());
    let rest = (weight(), weight(), weight(), weight(), weight());
    (network, rest).prop_map(|((lose, refuse, late, twice), rest)| {
        let (crash, freeze, roster, failures, abandon) = rest;
        let crash = crash.div_ceil(4);
        Faults { lose, refuse, late, twice, crash, freeze, roster, failures, abandon }
    })
}

/// Pools over the first `accounts` accounts; the first pool has all of them half of the time.
fn pools(accounts: usize) -> impl Strategy<Value = Vec<Vec<usize>>> {
    let some = proptest::sample::subsequence(
        (0..accounts).collect::<Vec<_>>(),
        accounts.min(2)..=accounts,
    );
    let all = Just((0..accounts).collect::<Vec<_>>());
    vec(prop_oneof![8 => some, 8 => all, 1 => Just(Vec::new())], 1..=2)
}

/// Worlds for the tests with faults.
pub(crate) fn shape(preset: Preset) -> BoxedStrategy<Shape> {
    (vec(limit(), 1..=3), prop_oneof![1 => vec(account_plan(), 1), 4 => vec(account_plan(), 2..=4)])
        .prop_flat_map(move |(users, accounts)| {
            let pools = pools(accounts.len());
            let net = (faults(), prop::bool::weighted(0.25));
            (Just(users), Just(accounts), pools, 1..=2usize, knobs(), net)
        })
        .prop_map(move |(users, accounts, pools, engines, knobs, (faults, prompt))| Shape {
            preset,
            engines,
            users,
            accounts,
            pools,
            knobs,
            faults,
            prompt,
        })
        .boxed()
}
