//! An hour in which accounts are refused, overloaded, out of order and locked out, one after the other, and
//! recover: none that may be tried again stays unused while there are requests, and none is tried twice by
//! the same request.

use std::collections::{BTreeMap, BTreeSet};

use sluice_engine::ledger::history::Fact;
use sluice_engine::rng::Seed;
use sluice_engine::roster::{Account, Platform, Pool, PoolKey, User};
use sluice_engine::store::{Cause, Limit, Scope, Version};
use sluice_engine::{
    AccountId, GateId, GroupId, ModelId, Outcome, Policy, PoolId, Preset, RequestId, RequestSpec,
    Roster, Span, Time, UserId,
};
use sluice_sim::history::{History, What};
use sluice_sim::scenario::{Answer, Arrival, CancelWay, Draw, NodeSpec, Scenario, Sick};
use sluice_sim::swarm::{self, Care};

const HOUR: Time = Time(3_600_000_000);
const ACCOUNTS: u64 = 4;
const SLOTS: u32 = 2;
const EVERY_MS: u64 = 150;
const MODEL: ModelId = ModelId(1);
/// Until the next request has found out that an account may be tried again: it is there, has come to
/// another account first, has asked the store three times, each time with a way of [`DELAY_MS`].
const NOTICE: Span = Span::from_ms(2 * EVERY_MS + 8 * DELAY_MS);
const DELAY_MS: u64 = 10;

fn roster() -> Roster {
    let mut roster = Roster { version: Version { stamp: 1, digest: 1 }, ..Roster::default() };
    roster.users.insert(UserId(1), User { limit: Limit::Unlimited });
    let members: Vec<AccountId> = (1..=ACCOUNTS).map(AccountId).collect();
    for &id in &members {
        let limit = Limit::Slots(SLOTS);
        let account = Account { limit, priority: 0, oauth: false, intercept_warmup: false };
        roster.accounts.insert(id, account);
    }
    let key = PoolKey { group: GroupId(1), platform: Platform::Anthropic, model: None };
    roster.pools.insert(key, Pool { id: PoolId(1), members });
    roster
}

fn arrival(n: u64, draw: &mut Draw) -> Arrival {
    let spec = RequestSpec {
        user: UserId(1),
        group: GroupId(1),
        platform: Platform::Anthropic,
        model: MODEL,
        session: None,
        stream: true,
        warmup: false,
    };
    let first_byte = draw.ms(20, 200);
    let answer = Answer {
        first_byte: Some(first_byte),
        end: first_byte + draw.ms(100, 800),
        outcome: Outcome::Completed,
    };
    Arrival {
        id: RequestId(n),
        at: Time::ZERO + Span::from_ms(n * EVERY_MS),
        node: (n % 2) as usize,
        spec,
        leaves: None,
        billing: Span::ZERO,
        denial: None,
        answers: vec![answer],
        cancel: CancelWay::AtOnce,
    }
}

/// What a sick account answers: everything that says something of an account's health.
fn refusal(draw: &mut Draw) -> Outcome {
    let secs = |secs| Some(Span::from_secs(secs));
    match draw.range(0, 5) {
        0 => Outcome::RateLimited { scope: Scope::Account, retry_after: secs(draw.range(1, 90)) },
        1 => Outcome::RateLimited { scope: Scope::Model, retry_after: secs(draw.range(1, 90)) },
        2 => Outcome::RateLimited { scope: Scope::Account, retry_after: None },
        3 => Outcome::Overloaded { retry_after: draw.chance(1, 2).then_some(Span::from_secs(7)) },
        4 => Outcome::Unauthorized { status: 401 },
        _ => Outcome::ServerError { status: 500 },
    }
}

/// One account at a time is sick, for a while.
fn spells(draw: &mut Draw) -> Vec<Sick> {
    let mut spells = Vec::new();
    let mut from = Time::ZERO;
    while from < HOUR {
        let until = from + draw.ms(500, 40_000);
        let answer = Answer { first_byte: None, end: draw.ms(5, 100), outcome: refusal(draw) };
        spells.push(Sick { account: AccountId(draw.range(1, ACCOUNTS)), from, until, answer });
        from = until + draw.ms(0, 20_000);
    }
    spells
}

fn scenario(seed: u64, preset: Preset) -> Scenario {
    let mut draw = Draw::scenario(Seed(seed), 1, 0);
    let node = |n: u64| NodeSpec {
        name: format!("node-{n}"),
        offset: Span::ZERO,
        delay_max: Span::from_ms(DELAY_MS),
        instant: 0,
        spurious: 0,
    };
    Scenario {
        seed: Seed(seed),
        preset,
        policy: Policy::preset(preset),
        nodes: (0..2).map(node).collect(),
        rosters: vec![roster()],
        arrivals: (1..=HOUR.0 / 1_000 / EVERY_MS).map(|n| arrival(n, &mut draw)).collect(),
        sick: spells(&mut draw),
        faults: Vec::new(),
        safety_end: HOUR,
        network: None,
    }
}

/// How many closings of each cause have ended in a new attempt, all in time.
fn closings_that_ended(history: &History) -> BTreeMap<String, u32> {
    let mut closed: BTreeMap<(AccountId, Option<ModelId>), (Time, Cause)> = BTreeMap::new();
    let mut ended = BTreeMap::new();
    // The store's clock does not begin with the simulation's.
    let mut offset = Span::ZERO;
    for record in &history.records {
        let What::Fact(entry) = &record.what else { continue };
        offset = entry.raw.since(record.at);
        if let Fact::Closed { account, model, until, cause } = entry.fact {
            closed.insert((account, model), (until, cause));
        } else if let Fact::Granted { gate: GateId::Account(account), .. } = entry.fact {
            let opened = [None, Some(MODEL)].map(|model| closed.remove(&(account, model)));
            let last = opened.into_iter().flatten().max_by_key(|(until, _)| *until);
            if let Some((until, cause)) = last {
                let late = entry.raw.since(until);
                assert!(late <= NOTICE, "{account} was free for {late:?} after {until:?}");
                *ended.entry(format!("{cause:?}")).or_default() += 1;
            }
        }
    }
    for ((account, _), (until, _)) in closed {
        assert!(until + NOTICE >= HOUR + offset, "{account} is free since {until:?}");
    }
    ended
}

fn tried_once(history: &History) -> usize {
    let mut tried = BTreeSet::new();
    for record in &history.records {
        if let What::Opened { req, account, .. } = record.what {
            assert!(tried.insert((req, account)), "{req} tried {account} twice");
        }
    }
    tried.len()
}

#[test]
fn soon_and_by_no_request_twice() {
    for seed in [1, 2] {
        let scenario = scenario(seed, Preset::Fair);
        let (history, violations) = swarm::run(&scenario, Care { twice: false, journal: false });
        assert!(violations.is_empty(), "{violations:#?}");
        let ended = closings_that_ended(&history);
        assert!(ended.len() >= 3 && ended.values().sum::<u32>() > 50, "{ended:?}");
        assert!(tried_once(&history) >= scenario.arrivals.len());
    }
}
