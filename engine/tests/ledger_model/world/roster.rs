//! Rosters of a small world: the first one, and what changes from one to the next.

use sluice_engine::ids::{AccountId, PoolId};
use sluice_engine::store::{AccountDef, Define, Discipline, HealthRules, Limit, PoolDef, Version};
use sluice_engine::time::Span;

use super::Setup;
use crate::steps::Edit;

/// Versions of one stamp differ by their digest, which is this one if nothing is said.
pub(super) const DIGEST: u64 = 5;

pub(super) fn version(stamp: u64) -> Version {
    Version { stamp, digest: DIGEST }
}

/// All accounts, and every pool has them all.
pub(super) fn first(setup: &Setup) -> Define {
    let ids = || (1..=u64::from(setup.accounts)).map(AccountId);
    let accounts = ids().zip(&setup.limits).map(|(id, limit)| listed(id, *limit));
    let pools = (1..=u64::from(setup.pools)).map(|id| PoolDef {
        pool: PoolId(id),
        prefer_oauth: id == 2,
        members: ids().collect(),
    });
    let mut roster = Define {
        version: version(1),
        discipline: if setup.polls { Discipline::Poll } else { Discipline::Settle },
        health: rules(setup.rules),
        accounts: accounts.collect(),
        pools: pools.collect(),
    };
    for change in &setup.edits {
        edit(&mut roster, setup, *change);
    }
    roster
}

fn listed(account: AccountId, limit: Limit) -> AccountDef {
    AccountDef { account, limit, priority: 1, oauth: account.0.is_multiple_of(2) }
}

/// Whoever is not listed is listed again, as at first, by an edit that concerns it.
pub(super) fn edit(roster: &mut Define, setup: &Setup, edit: Edit) {
    let id = |n: u8| AccountId(u64::from(n % setup.accounts) + 1);
    let pool = |n: u8| PoolId(u64::from(n % setup.pools) + 1);
    match edit {
        Edit::Limit(n, limit) => account(roster, id(n)).limit = limit,
        Edit::Priority(n, priority) => account(roster, id(n)).priority = priority,
        Edit::Oauth(n) => account(roster, id(n)).oauth ^= true,
        Edit::Unlist(n) => roster.accounts.retain(|def| def.account != id(n)),
        Edit::Members(n, bits) => {
            // Accounts that no roster lists may be members too.
            let mut members: Vec<AccountId> = (1..=5).map(AccountId).collect();
            members.retain(|id| bits >> (id.0 - 1) & 1 == 1);
            if bits >> 7 == 1 {
                members.reverse();
            }
            pool_def(roster, pool(n)).members = members;
        }
        Edit::UnlistPool(n) => roster.pools.retain(|def| def.pool != pool(n)),
        Edit::PreferOauth(n) => pool_def(roster, pool(n)).prefer_oauth ^= true,
        Edit::Discipline => {
            roster.discipline = match roster.discipline {
                Discipline::Poll => Discipline::Settle,
                Discipline::Settle => Discipline::Poll,
            };
        }
        Edit::Rules(n) => roster.health = rules(n),
    }
}

fn account(roster: &mut Define, id: AccountId) -> &mut AccountDef {
    if !roster.accounts.iter().any(|def| def.account == id) {
        roster.accounts.push(listed(id, Limit::Slots(1)));
    }
    let mut all = roster.accounts.iter_mut();
    all.find(|def| def.account == id).expect("it is listed now")
}

fn pool_def(roster: &mut Define, id: PoolId) -> &mut PoolDef {
    if !roster.pools.iter().any(|def| def.pool == id) {
        let members = roster.accounts.iter().map(|def| def.account).collect();
        roster.pools.push(PoolDef { pool: id, prefer_oauth: false, members });
    }
    roster.pools.iter_mut().find(|def| def.pool == id).expect("it is listed now")
}

/// Numbers small enough that every cap and every count is reached.
fn rules(n: u8) -> HealthRules {
    let secs = Span::from_secs;
    let small = HealthRules {
        failures_to_eject: 2,
        ejection: secs(1),
        ejection_max: secs(3),
        quarantine: secs(2),
        quarantine_max: secs(7),
        rate_limit_max: secs(60),
        overload_max: secs(3),
    };
    match n {
        0 => small,
        1 => HealthRules { failures_to_eject: 1, ejection: Span(1), ..small },
        2 => HealthRules {
            ejection: Span(700_000),
            ejection_max: secs(1),
            quarantine_max: secs(3),
            rate_limit_max: secs(2),
            ..small
        },
        _ => HealthRules::default(),
    }
}
