//! Courses of things that faults drawn one by one hardly ever take. Each is drawn from a stream of its
//! own, so that all other seeds stay as they are.

use sluice_engine::store::{Limit, Scope};
use sluice_engine::{AccountId, Outcome, Policy, RequestId, Span, Time};

use super::{Answer, Arrival, Draw, Fault, FaultKind, Scenario, Sick};

/// How long anybody waits for an account.
const PATIENCE: Span = Span::from_secs(3);
/// How long the upstreams want to be left alone.
const CLOSED: Span = Span::from_ms(2_500);

/// More falls due at once than one operation works off, openings of accounts among it, so that whoever
/// asks next finds slots that are free while others wait for them.
///
/// All accounts are rate limited; a crowd queues up at one node, which dies; then the store is away
/// until the crowd's patience is over and the accounts have opened again. At another node some wait all
/// the while, and some arrive as the store comes back.
pub(super) fn pile_up(d: &mut Draw, scenario: &mut Scenario) {
    if !d.chance(1, 25) || scenario.nodes.len() < 2 || scenario.arrivals.is_empty() {
        return;
    }
    let policy = &mut scenario.policy;
    policy.fallback_patience = PATIENCE;
    policy.fallback_line_max = Policy::fair().fallback_line_max;
    // Those at the node that dies keep their users' slots; nobody is to wait for these.
    for user in scenario.rosters.iter_mut().flat_map(|roster| roster.users.values_mut()) {
        user.limit = Limit::Unlimited;
    }
    let start = Time::ZERO + d.ms(500, 2_000);
    let accounts = scenario.rosters[0].accounts.len() as u64;
    scenario.sick = (1..=accounts).map(|id| rate_limited(AccountId(id), start)).collect();
    let away = (start + d.ms(1_800, 2_400), d.ms(1_200, 2_000));
    let back = away.0 + away.1;
    let mut at = |from: Time, to: Time| from + Span(d.range(0, to.since(from).0));
    let crowd = (0..80).map(|_| (0, at(start + Span::from_ms(50), start + Span::from_ms(400))));
    let mut times: Vec<(usize, Time)> = crowd.collect();
    times.extend((0..2 * accounts).map(|_| (1, start)));
    times.extend((0..12).map(|_| (1, at(start + Span::from_ms(400), away.0))));
    times.extend((0..8).map(|_| (1, at(away.0, back + Span::from_ms(100)))));
    times.sort_by_key(|&(_, at)| at);
    let like: Vec<Arrival> = std::mem::take(&mut scenario.arrivals);
    scenario.arrivals = (1..)
        .zip(times)
        .zip(like.iter().cycle())
        .map(|((id, (node, at)), like)| {
            let id = RequestId(id);
            Arrival { id, at, node, leaves: None, denial: None, ..like.clone() }
        })
        .collect();
    let restart = Span::from_secs(20);
    let gone = FaultKind::Away { lasts: away.1, forget: false, refuses: d.chance(1, 2) };
    scenario.faults = vec![
        Fault { at: start + Span::from_ms(600), kind: FaultKind::Crash { node: 0, restart } },
        Fault { at: away.0, kind: gone },
    ];
    scenario.safety_end = scenario.safety_end.max(back + PATIENCE);
}

/// The store gives way to an empty one while answers are on their way: what a node is told may be of a
/// session that is over, and the next one has begun.
pub(super) fn forget(d: &mut Draw, scenario: &mut Scenario) {
    if !d.chance(1, 10) || scenario.arrivals.is_empty() {
        return;
    }
    for node in &mut scenario.nodes {
        (node.delay_max, node.instant) = (Span::from_ms(100), 300);
    }
    for _ in 0..d.range(4, 12) {
        let one = &scenario.arrivals[d.range(0, scenario.arrivals.len() as u64 - 1) as usize];
        let kind = FaultKind::Away { lasts: d.ms(0, 5), forget: true, refuses: d.chance(1, 2) };
        scenario.faults.push(Fault { at: one.at + d.ms(100, 400), kind });
    }
    scenario.faults.retain(|fault| fault.at < scenario.safety_end);
    scenario.faults.sort_by_key(|fault| fault.at);
}

fn rate_limited(account: AccountId, from: Time) -> Sick {
    let outcome = Outcome::RateLimited { scope: Scope::Account, retry_after: Some(CLOSED) };
    let answer = Answer { first_byte: None, end: Span::from_ms(5), outcome };
    Sick { account, from, until: from + CLOSED, answer }
}
