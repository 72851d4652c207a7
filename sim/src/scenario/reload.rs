//! New configurations for the gateways of a scenario on a simulated network.

use sluice_engine::roster::{Account, User};
use sluice_engine::store::Limit;
use sluice_engine::{AccountId, Roster, UserId};

use super::{Draw, Fault, FaultKind, Scenario};

/// The most configurations after the first.
const LATER_MAX: u64 = 4;

/// In some scenarios: rosters after the first, and when each node is given them.
pub(super) fn add(s: &mut Scenario) {
    if !Draw::scenario(s.seed, 24, 0).chance(1, 3) {
        return;
    }
    for n in 1..=Draw::scenario(s.seed, 24, 1).range(1, LATER_MAX) {
        let mut d = Draw::scenario(s.seed, 25, n);
        let (roster, rotated) = changed(&mut d, &s.rosters[s.rosters.len() - 1], &s.rosters[0]);
        let index = s.rosters.len();
        s.rosters.push(roster);
        if let Some(network) = &mut s.network {
            network.rotated.extend(rotated.map(|account| (index, account)));
        }
        let mut at = d.before(s.safety_end);
        if d.chance(2, 3) && !s.arrivals.is_empty() {
            let one = d.range(0, s.arrivals.len() as u64 - 1) as usize;
            at = s.arrivals[one].at + d.ms(0, 400);
        }
        let skew = d.pick(&[0, 10, 2_000]);
        for node in 0..s.nodes.len() {
            let at = at + d.ms(0, skew);
            s.faults.push(Fault { at, kind: FaultKind::Reload { node, roster: index } });
        }
    }
    let end = s.safety_end;
    s.faults.retain(|fault| fault.at < end);
    s.faults.sort_by_key(|fault| fault.at);
}

/// A roster with some changes, and whose credential is another one besides.
fn changed(d: &mut Draw, before: &Roster, first: &Roster) -> (Roster, Option<AccountId>) {
    let mut roster = before.clone();
    roster.version.stamp += 1;
    roster.version.digest = d.range(1, 1 << 40);
    for _ in 0..d.range(0, 4) {
        let account = AccountId(d.range(1, first.accounts.len() as u64 + 1));
        let user = UserId(d.range(1, first.users.len() as u64 + 1));
        match d.range(0, 6) {
            0 => drop(roster.accounts.remove(&account)),
            1 => {
                let [oauth, intercept_warmup] = [false; 2];
                let (limit, priority) = (limit(d), d.range(0, 1) as u32);
                let new = Account { limit, priority, oauth, intercept_warmup };
                roster.accounts.insert(account, new);
            }
            2 => drop(roster.users.remove(&user)),
            3 => drop(roster.users.insert(user, User { limit: limit(d) })),
            4 => {
                let pool = d.range(0, roster.pools.len().max(1) as u64 - 1) as usize;
                if let Some(pool) = roster.pools.values_mut().nth(pool) {
                    match pool.members.iter().position(|&member| member == account) {
                        Some(at) => drop(pool.members.remove(at)),
                        None => pool.members.push(account),
                    }
                }
            }
            _ => {
                if let Some(known) = roster.accounts.get_mut(&account) {
                    known.limit = limit(d);
                }
            }
        }
    }
    let accounts: Vec<_> = roster.accounts.keys().copied().collect();
    let rotated = (d.chance(1, 2) && !accounts.is_empty()).then(|| d.pick(&accounts));
    (roster, rotated)
}

fn limit(d: &mut Draw) -> Limit {
    match d.weighted(&[2, 5, 3, 2, 1]) {
        0 => Limit::Closed,
        1 => Limit::Slots(1),
        2 => Limit::Slots(2),
        3 => Limit::Slots(5),
        _ => Limit::Unlimited,
    }
}

/// How often the account's credential has been another one up to this roster.
pub(crate) fn generation(s: &Scenario, roster: usize, account: AccountId) -> usize {
    let rotated = s.network.iter().flat_map(|network| &network.rotated);
    rotated.filter(|(since, of)| *since <= roster && *of == account).count()
}

#[cfg(test)]
mod tests {
    use sluice_engine::Preset;

    use super::*;

    #[test]
    fn what_a_seed_made_before_reloads_it_still_makes() {
        let (mut with, mut without) = (0, 0);
        for seed in 0..100 {
            let mut s = Scenario::generate_network(seed, Preset::Fair);
            let reloads = |f: &Fault| matches!(f.kind, FaultKind::Reload { .. });
            match s.rosters.len() {
                1 => without += 1,
                _ => with += 1,
            }
            s.faults.retain(|fault| !reloads(fault));
            s.rosters.truncate(1);
            if let Some(network) = &mut s.network {
                network.rotated.clear();
            }
            let again = serde_json::to_string(&s).expect("plain data");
            assert!(!again.contains("Reload") && !again.contains("rotated"), "seed {seed}");
        }
        assert!(with > 15 && without > 50, "{with} with reloads, {without} without");
    }

    #[test]
    fn generations_count_up() {
        let mut s = Scenario::generate_network(0, Preset::Fair);
        let network = s.network.as_mut().expect("of the network lane");
        network.rotated = [(1, AccountId(1)), (3, AccountId(1)), (2, AccountId(2))].into();
        let of_first: Vec<_> = (0..5).map(|n| generation(&s, n, AccountId(1))).collect();
        assert_eq!(of_first, [0, 1, 1, 2, 2]);
    }
}
