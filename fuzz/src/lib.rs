//! What the fuzz targets run, as plain functions of bytes: libFuzzer drives them, and ordinary tests
//! replay the committed corpora through them.

pub mod config;
pub mod engine_events;
pub mod ledger_ops;
pub mod scenario;
pub mod skim;
pub mod sse;
pub mod translate_request;
pub mod translate_response;
pub mod translate_stream;

use arbitrary::{Result, Unstructured};
use sluice_engine::store::{AccountDef, Define, Discipline, HealthRules, Limit, PoolDef, Version};
use sluice_engine::{AccountId, PoolId, Span, Time};

/// Accounts that exist in these worlds.
const ACCOUNTS: u64 = 4;
/// Pools that exist in these worlds.
const POOLS: u64 = 2;

/// A number below `n`.
fn below(u: &mut Unstructured<'_>, n: u64) -> Result<u64> {
    u.int_in_range(0..=n - 1)
}

/// Spans around the deadlines of the store, and some far from all of them.
fn span(u: &mut Unstructured<'_>) -> Result<Span> {
    let base = *u.choose(&[0, 1_000, 100_000, 2_000_000, 3_000_000, 10_000_000, 60_000_000])?;
    let off = below(u, 3)?;
    Ok(Span(u64::saturating_sub(base + off, 1)))
}

/// The next moment: the clock of the machine mostly goes on, and sometimes steps back.
fn step(u: &mut Unstructured<'_>, now: Time) -> Result<Time> {
    let span = span(u)?;
    Ok(if u.ratio(1, 32)? { now - span } else { now + span })
}

fn limit(u: &mut Unstructured<'_>) -> Result<Limit> {
    Ok(match below(u, 8)? {
        0 => Limit::Closed,
        1 => Limit::Unlimited,
        n => Limit::Slots(n as u32 / 2),
    })
}

/// Some roster; a stamp that is not above the last one is a stale reload.
fn define(u: &mut Unstructured<'_>) -> Result<Define> {
    let discipline = if u.ratio(1, 3)? { Discipline::Poll } else { Discipline::Settle };
    let mut accounts = Vec::new();
    for id in 1..=ACCOUNTS {
        if u.ratio(7, 8)? {
            accounts.push(AccountDef {
                account: AccountId(id),
                limit: limit(u)?,
                priority: below(u, 2)? as u32,
                oauth: u.arbitrary()?,
            });
        }
    }
    let mut pools = Vec::new();
    for id in 1..=POOLS {
        let mut members = Vec::new();
        for account in 1..=ACCOUNTS {
            if u.ratio(3, 4)? {
                members.push(AccountId(account));
            }
        }
        pools.push(PoolDef { pool: PoolId(id), prefer_oauth: u.arbitrary()?, members });
    }
    let version = Version { stamp: below(u, 64)?, digest: 0 };
    Ok(Define { version, discipline, health: HealthRules::default(), accounts, pools })
}
