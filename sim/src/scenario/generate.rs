//! What a seed makes: the workload, the upstreams' behaviour and the faults of a scenario.
//!
//! Every part has a stream of draws of its own, so that taking one request or fault out of a scenario
//! leaves the rest as it was.

use sluice_engine::rng::Seed;
use sluice_engine::store::{CLAIM_WINDOW, HealthChange, SESSION, Scope};
use sluice_engine::{
    AccountId, Denial, Outcome, Policy, Preset, RequestId, RequestSpec, Roster, Span, Time,
};
use sluice_storage::fate::Rates;

use super::courses;
use super::setting::Setting;
use super::{Answer, Arrival, CancelWay, Draw, Fault, FaultKind, Scenario, Sick};

/// Kinds of faults that a seed chooses among.
const KINDS: usize = 11;

impl Scenario {
    /// The scenario of a seed.
    #[must_use]
    pub fn generate(seed: u64, preset: Preset) -> Self {
        let seed = Seed(seed);
        let setting = Setting::draw(seed, preset);
        let mut d = Draw::scenario(seed, 6, 0);
        let span = d.pick(&[3_000, 12_000, 30_000, 45_000]);
        let safety_end = Time::ZERO + d.ms(span / 2, span);
        let anchors = anchors(&setting.policy);
        let arrivals = arrivals(seed, &setting, safety_end, &anchors);
        let rosters = rosters(seed, &setting);
        let faults = faults(seed, &setting, &arrivals, safety_end, &anchors, &rosters);
        let mut scenario = Self {
            seed,
            preset,
            sick: sick(seed, &setting, safety_end),
            policy: setting.policy,
            nodes: setting.nodes,
            rosters,
            arrivals,
            faults,
            safety_end,
            network: None,
        };
        courses::pile_up(&mut Draw::scenario(seed, 14, 0), &mut scenario);
        courses::forget(&mut Draw::scenario(seed, 15, 0), &mut scenario);
        scenario
    }
}

/// The spans at whose ends something is decided.
pub(super) fn anchors(p: &Policy) -> Vec<Span> {
    let mut all = vec![
        p.beat_interval,
        p.belief,
        SESSION,
        CLAIM_WINDOW,
        p.user_patience,
        p.fallback_patience,
        p.sticky_patience,
        p.sticky_patience + p.fallback_patience,
        p.wait_total_max,
        p.failover_time_max,
        p.backoff,
        p.rate_limit_guess,
        p.health.ejection,
        p.health.quarantine,
    ];
    all.extend(p.lease_ttl);
    all.extend(p.reap_interval);
    all.retain(|&span| span <= Span::from_secs(40));
    all
}

fn arrivals(seed: Seed, setting: &Setting, end: Time, anchors: &[Span]) -> Vec<Arrival> {
    let mut d = Draw::scenario(seed, 7, 0);
    let count = match d.weighted(&[30, 60, 3]) {
        0 => d.range(1, 15),
        1 => d.range(20, 70),
        _ => d.range(100, 250),
    };
    let style = Style {
        clustered: d.pick(&[0, 300, 900]),
        slow: d.pick(&[50, 300, 600, 1_000]),
        failing: d.pick(&[0, 0, 100, 300, 600]),
        leaving: d.pick(&[0, 0, 100, 500]),
        denied: d.pick(&[0, 0, 30]),
    };
    let bursts: Vec<Time> = (0..3).map(|_| d.before(end)).collect();
    let mut all: Vec<Arrival> = (0..count)
        .map(|n| {
            let mut d = Draw::scenario(seed, 8, n);
            let at = if d.thousandth(style.clustered) {
                d.pick(&bursts) + d.near(anchors).saturating_sub(d.pick(anchors))
            } else {
                d.before(end)
            };
            let node = d.range(0, setting.nodes.len() as u64 - 1) as usize;
            arrival(
                &mut d,
                &style,
                setting.spec(&mut Draw::scenario(seed, 9, n)),
                at,
                node,
                anchors,
            )
        })
        .filter(|a| a.at < end)
        .collect();
    all.sort_by_key(|a| a.at);
    for (n, arrival) in (1..).zip(&mut all) {
        arrival.id = RequestId(n);
    }
    all
}

/// How a workload is inclined, in thousandths.
struct Style {
    clustered: u32,
    slow: u32,
    failing: u32,
    leaving: u32,
    denied: u32,
}

fn arrival(
    d: &mut Draw,
    style: &Style,
    spec: RequestSpec,
    at: Time,
    node: usize,
    anchors: &[Span],
) -> Arrival {
    let mut answers = Vec::new();
    while answers.len() < 4 && d.thousandth(style.failing) {
        answers.push(failure(d));
    }
    answers.push(success(d, style.slow, anchors));
    let leaves = d.thousandth(style.leaving).then(|| match d.range(0, 2) {
        0 => d.ms(0, 50),
        1 => d.ms(0, 8_000),
        _ => d.near(anchors),
    });
    Arrival {
        id: RequestId(0),
        at,
        node,
        spec,
        leaves,
        billing: if d.chance(1, 2) { Span::ZERO } else { d.ms(0, 30) },
        denial: d
            .thousandth(style.denied)
            .then(|| Denial { retry_after: d.chance(1, 2).then(|| d.ms(1_000, 60_000)) }),
        answers,
        cancel: match d.range(0, 3) {
            0 => CancelWay::After(d.ms(0, 20)),
            1 => CancelWay::Drained,
            _ => CancelWay::AtOnce,
        },
    }
}

fn success(d: &mut Draw, slow: u32, anchors: &[Span]) -> Answer {
    let end = if d.thousandth(slow) {
        match d.weighted(&[2, 4, 1]) {
            0 => d.near(anchors),
            1 => d.ms(300, 4_000),
            _ => d.ms(4_000, 15_000),
        }
    } else {
        d.ms(1, 400)
    };
    let first_byte = Some(Span(d.range(0, end.0)));
    let outcome = match d.range(0, 39) {
        0 => Outcome::Truncated,
        1 => Outcome::ClientError { status: 422 },
        _ => Outcome::Completed,
    };
    let early = matches!(outcome, Outcome::ClientError { .. });
    Answer { first_byte: first_byte.filter(|_| !early), end, outcome }
}

fn failure(d: &mut Draw) -> Answer {
    let retry_after = d.chance(1, 2).then(|| d.ms(0, 6_000));
    let scope = d.pick(&[Scope::Account, Scope::Model]);
    let outcome = match d.weighted(&[4, 2, 6, 2, 4, 2]) {
        0 => Outcome::RateLimited { scope, retry_after },
        1 => Outcome::Overloaded { retry_after },
        2 => Outcome::ServerError { status: 502 },
        3 => Outcome::Unauthorized { status: 401 },
        4 => Outcome::Unreachable,
        _ => Outcome::Truncated,
    };
    let end = if d.chance(1, 8) { d.ms(0, 5_000) } else { d.ms(0, 100) };
    // An error within a stream is classified like one before it.
    let begun = matches!(outcome, Outcome::Truncated) || d.chance(1, 8);
    Answer { first_byte: begun.then_some(Span(end.0 / 2)), end, outcome }
}

fn sick(seed: Seed, setting: &Setting, end: Time) -> Vec<Sick> {
    let mut d = Draw::scenario(seed, 10, 0);
    let spells = if d.chance(1, 3) { d.range(1, 3) } else { 0 };
    (0..spells)
        .map(|_| {
            let from = d.before(end);
            Sick {
                account: AccountId(d.range(1, setting.roster.accounts.len() as u64)),
                from,
                until: from + d.ms(100, 15_000),
                answer: failure(&mut d),
            }
        })
        .collect()
}

fn rosters(seed: Seed, setting: &Setting) -> Vec<Roster> {
    let mut all = vec![setting.roster.clone()];
    for n in 0..3 {
        let mut d = Draw::scenario(seed, 11, n);
        let next = setting.mutated(&mut d, &all[all.len() - 1]);
        all.push(next);
    }
    all
}

fn faults(
    seed: Seed,
    setting: &Setting,
    arrivals: &[Arrival],
    end: Time,
    anchors: &[Span],
    rosters: &[Roster],
) -> Vec<Fault> {
    let mut d = Draw::scenario(seed, 12, 0);
    let count = match d.weighted(&[2, 5, 5]) {
        0 => 0,
        1 => d.range(1, 4),
        _ => d.range(4, 14),
    };
    let weights = d.swarm(KINDS);
    let clustered = d.chance(1, 3);
    let first = d.before(end);
    let mut all = Vec::new();
    let mut clock_set = false;
    for n in 0..count {
        let mut d = Draw::scenario(seed, 13, n);
        let kind = d.weighted(&weights);
        // In the middle of a request's conversation with the store, around a deadline, or anywhere.
        let mut node = d.range(0, setting.nodes.len() as u64 - 1) as usize;
        let at = match d.range(0, 3) {
            0 | 1 if !arrivals.is_empty() => {
                let one = &arrivals[d.range(0, arrivals.len() as u64 - 1) as usize];
                node = one.node;
                one.at + if d.chance(1, 2) { d.ms(0, 40) } else { d.ms(0, 400) }
            }
            2 if clustered => first + d.near(anchors),
            _ => d.before(end),
        };
        // The store's clock is set once at most: a session promises no more than that.
        if kind == 6 && core::mem::replace(&mut clock_set, true) {
            continue;
        }
        fault(&mut d, kind, (at, node), setting, anchors, rosters, &mut all);
    }
    all.retain(|f: &Fault| f.at < end);
    all.sort_by_key(|f| f.at);
    all
}

fn fault(
    d: &mut Draw,
    kind: usize,
    (at, node): (Time, usize),
    setting: &Setting,
    anchors: &[Span],
    rosters: &[Roster],
    all: &mut Vec<Fault>,
) {
    let mut add = |at, kind| all.push(Fault { at, kind });
    match kind {
        0 | 1 => {
            let node = d.chance(1, 2).then_some(node);
            add(at, FaultKind::Rates { node, rates: bad_rates(d) });
            let well = Rates::healthy(Span::from_ms(2));
            add(at + d.ms(50, 12_000), FaultKind::Rates { node, rates: well });
        }
        2 => add(at, FaultKind::Crash { node, restart: pause(d, anchors) }),
        3 => add(at, FaultKind::Freeze { node, lasts: pause(d, anchors) }),
        4 | 5 => add(
            at,
            FaultKind::Away {
                lasts: pause(d, anchors),
                forget: kind == 5,
                refuses: d.chance(1, 2),
            },
        ),
        6 => {
            let far = if d.chance(1, 2) { d.near(anchors) } else { Span::from_secs(3_600) };
            let near = d.near(anchors).0.min(8_000_000) as i64;
            let step_us = if d.chance(1, 2) { far.0 as i64 } else { -near };
            add(at, FaultKind::Clock { step_us });
        }
        7 => {
            let roster = d.range(1, rosters.len() as u64 - 1) as usize;
            let skew = d.pick(&[0, 10, 5_000]);
            for node in 0..setting.nodes.len() {
                add(at + d.ms(0, skew), FaultKind::Reload { node, roster });
            }
        }
        8 => {
            let (lost, twice) = (d.range(0, 1_000) as u32, d.range(0, 500) as u32);
            let delay_max = d.pick(&[Span::ZERO, Span::from_ms(50), Span::from_secs(4)]);
            add(at, FaultKind::Grants { lost, twice, delay_max });
        }
        9 => add(at, FaultKind::Ticks { node, late_max: Span::from_ms(d.pick(&[5, 100, 1_500])) }),
        _ => {
            let account = AccountId(d.range(1, setting.roster.accounts.len() as u64));
            let change = d.pick(&[HealthChange::Drain, HealthChange::Disable]);
            add(at, FaultKind::Operator { account, change });
            let recover = FaultKind::Operator { account, change: HealthChange::Recover };
            add(at + d.ms(10, 10_000), recover);
        }
    }
}

/// How long something is away.
fn pause(d: &mut Draw, anchors: &[Span]) -> Span {
    match d.range(0, 3) {
        0 => d.ms(0, 300),
        1 => d.ms(2_000, 10_000),
        2 => d.ms(10_000, 20_000),
        _ => d.near(anchors),
    }
}

fn bad_rates(d: &mut Draw) -> Rates {
    let weights = d.swarm(4);
    let total = d.pick(&[50, 300, 900]);
    let share = |n: usize| (weights[n] * total / weights.iter().sum::<u64>()) as u32;
    Rates {
        refused: share(0),
        lost: share(1),
        late: share(2),
        twice: share(3),
        delay_max: d.pick(&[Span::from_ms(1), Span::from_ms(40), Span::from_ms(250)]),
        timeout: Span::from_ms(300),
        late_max: d.pick(&[Span::from_ms(500), Span::from_secs(5), Span::from_secs(12)]),
    }
}
