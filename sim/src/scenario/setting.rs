//! The setting of a scenario: who and what there is, and the knobs. Small and crowded by preference.

use sluice_engine::policy::{LineFull, OnSessionLost, StickyEnd};
use sluice_engine::rng::Seed;
use sluice_engine::roster::{Account, Platform, Pool, PoolKey, User};
use sluice_engine::store::{Limit, Version};
use sluice_engine::{
    AccountId, GroupId, ModelId, Policy, PoolId, Preset, RequestSpec, Roster, SessionKey, Span,
    UserId,
};

use super::{Draw, NodeSpec};

/// The dimensions of a world.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) policy: Policy,
    pub(super) nodes: Vec<NodeSpec>,
    pub(super) roster: Roster,
    users: u64,
    groups: Vec<(GroupId, Platform)>,
    models: u64,
    sessions: u64,
    session_thousandths: u32,
    warmup_thousandths: u32,
}

impl Setting {
    pub(super) fn draw(seed: Seed, preset: Preset) -> Self {
        let mut d = Draw::scenario(seed, 1, 0);
        let large = d.chance(1, 12);
        let users = if large { d.range(3, 12) } else { d.range(1, 3) };
        let accounts = if large { d.range(4, 16) } else { d.range(1, 4) };
        let models = d.range(1, 2);
        let groups = (1..=d.range(1, 2))
            .map(|g| {
                let platforms = [
                    Platform::Anthropic,
                    Platform::OpenAi,
                    Platform::Gemini,
                    Platform::Antigravity,
                ];
                (GroupId(g), d.pick(&platforms))
            })
            .collect::<Vec<_>>();
        let mut setting = Self {
            policy: knobs(&mut Draw::scenario(seed, 2, 0), preset),
            nodes: nodes(&mut Draw::scenario(seed, 3, 0)),
            roster: Roster { version: Version { stamp: 1, digest: 1 }, ..Roster::default() },
            users,
            groups,
            models,
            sessions: d.range(1, 4),
            session_thousandths: d.pick(&[0, 0, 300, 600, 1_000]),
            warmup_thousandths: d.pick(&[0, 0, 0, 100]),
        };
        setting.people(&mut Draw::scenario(seed, 4, 0), accounts);
        setting.pools(&mut Draw::scenario(seed, 5, 0));
        setting
    }

    /// What one request asks for.
    pub(super) fn spec(&self, d: &mut Draw) -> RequestSpec {
        // One of many is a user that nobody knows.
        let user = if d.chance(1, 200) { self.users + 9 } else { d.range(1, self.users) };
        let (group, platform) = d.pick(&self.groups);
        let session = d.thousandth(self.session_thousandths).then(|| {
            let mut key = [0; 16];
            key[0] = group.0 as u8;
            key[1] = user as u8;
            key[2] = d.range(1, self.sessions) as u8;
            SessionKey(key)
        });
        RequestSpec {
            user: UserId(user),
            group,
            platform,
            model: ModelId(d.range(1, self.models)),
            session,
            stream: d.chance(2, 3),
            warmup: d.thousandth(self.warmup_thousandths),
        }
    }

    /// The same roster a little later: some limits, members or accounts are other ones.
    pub(super) fn mutated(&self, d: &mut Draw, before: &Roster) -> Roster {
        let mut roster = before.clone();
        roster.version.stamp += 1;
        roster.version.digest = d.range(1, 1 << 40);
        for _ in 0..d.range(1, 4) {
            let account = AccountId(d.range(1, before.accounts.len() as u64 + 1));
            match d.range(0, 5) {
                0 => {
                    roster.accounts.remove(&account);
                }
                1 => {
                    roster.accounts.insert(account, self.account(d));
                }
                2 => {
                    if let Some(found) = roster.accounts.get_mut(&account) {
                        found.limit = limit(d, &ACCOUNT);
                    }
                }
                3 => {
                    let user = UserId(d.range(1, self.users));
                    roster.users.insert(user, User { limit: limit(d, &USER) });
                }
                _ => {
                    let index = d.range(0, roster.pools.len().max(1) as u64 - 1) as usize;
                    if let Some(pool) = roster.pools.values_mut().nth(index) {
                        match pool.members.iter().position(|&m| m == account) {
                            Some(at) => {
                                pool.members.remove(at);
                            }
                            None => pool.members.push(account),
                        }
                    }
                }
            }
        }
        roster
    }

    fn account(&self, d: &mut Draw) -> Account {
        Account {
            limit: limit(d, &ACCOUNT),
            priority: d.range(0, 1) as u32,
            oauth: d.chance(1, 4),
            intercept_warmup: self.warmup_thousandths > 0 && d.chance(1, 3),
        }
    }

    fn people(&mut self, d: &mut Draw, accounts: u64) {
        for user in 1..=self.users {
            self.roster.users.insert(UserId(user), User { limit: limit(d, &USER) });
        }
        for account in 1..=accounts {
            let account_drawn = self.account(d);
            self.roster.accounts.insert(AccountId(account), account_drawn);
        }
    }

    fn pools(&mut self, d: &mut Draw) {
        let accounts = self.roster.accounts.keys().copied().collect::<Vec<_>>();
        let mut next = 1;
        let groups = self.groups.clone();
        for (group, platform) in groups {
            let own = d.chance(1, 4).then(|| Some(ModelId(d.range(1, self.models))));
            for model in [Some(None), own].into_iter().flatten() {
                if d.chance(1, 40) {
                    continue; // Nothing serves these.
                }
                let most = d.chance(2, 3);
                let mut members = accounts.clone();
                members.retain(|_| most || d.chance(1, 2));
                let pool = Pool { id: PoolId(next), members };
                next += 1;
                self.roster.pools.insert(PoolKey { group, platform, model }, pool);
            }
        }
    }
}

/// Weights of the limits `Closed`, 1, 2, 3 to 5, `Unlimited`: users wait less for themselves than for
/// accounts.
const USER: [u64; 5] = [2, 15, 20, 35, 20];
const ACCOUNT: [u64; 5] = [3, 50, 25, 10, 3];

fn limit(d: &mut Draw, weights: &[u64; 5]) -> Limit {
    match d.weighted(weights) {
        0 => Limit::Closed,
        1 => Limit::Slots(1),
        2 => Limit::Slots(2),
        3 => Limit::Slots(d.range(3, 5) as u32),
        _ => Limit::Unlimited,
    }
}

fn nodes(d: &mut Draw) -> Vec<NodeSpec> {
    let count = [1, 2, 3][d.weighted(&[4, 4, 2])];
    let instant = d.pick(&[0, 0, 0, 300, 1_000]);
    let spurious = d.pick(&[0, 0, 50]);
    (0..count)
        .map(|index| NodeSpec {
            name: format!("node-{index}"),
            offset: Span::from_ms(d.pick(&[0, 1, 5_000, 86_400_000])),
            delay_max: Span::from_us(d.pick(&[0, 300, 3_000, 20_000, 100_000])),
            instant,
            spurious,
        })
        .collect()
}

/// The preset with some knobs turned, mostly so that what takes minutes takes seconds.
fn knobs(d: &mut Draw, preset: Preset) -> Policy {
    let mut p = Policy::preset(preset);
    let secs = |d: &mut Draw, of: &[u64]| Span::from_secs(d.pick(of));
    let turned = |d: &mut Draw| d.chance(1, 3);
    if turned(d) {
        p.user_patience = secs(d, &[1, 3, 10]);
    }
    if turned(d) {
        p.fallback_patience = secs(d, &[1, 3, 10]);
    }
    if turned(d) {
        p.sticky_patience = secs(d, &[1, 2, 5]);
    }
    if turned(d) {
        p.extra_wait_slots = d.pick(&[0, 1, 3]);
    }
    if turned(d) {
        p.fallback_line_max = d.pick(&[1, 2, 5]);
    }
    if turned(d) {
        p.sticky_line_max = d.pick(&[1, 2]);
    }
    if turned(d) {
        p.wait_total_max = secs(d, &[2, 8, 20]);
    }
    if turned(d) {
        p.failover_time_max = secs(d, &[1, 5, 30]);
    }
    if turned(d) {
        p.health.failures_to_eject = d.pick(&[1, 2, 3]);
        p.health.ejection = secs(d, &[1, 3]);
        p.health.quarantine = secs(d, &[2, 10]);
    }
    if turned(d) {
        p.rate_limit_guess = secs(d, &[1, 5]);
        p.overload_guess = secs(d, &[1, 5]);
    }
    if turned(d) {
        p.switches.anthropic_max = d.pick(&[0, 1, 2]);
        p.switches.openai_max = d.pick(&[0, 1]);
        p.switches.server_error_max = d.pick(&[0, 1]);
    }
    rarer(d, &mut p);
    p
}

/// Knobs that change the character of a run.
fn rarer(d: &mut Draw, p: &mut Policy) {
    let rare = |d: &mut Draw| d.chance(1, 8);
    if rare(d) {
        p.on_session_lost = OnSessionLost::Abort;
    }
    if rare(d) {
        p.sticky_end = d.pick(&[StickyEnd::Timeout, StickyEnd::Widen]);
    }
    if rare(d) {
        p.sticky_full = d.pick(&[LineFull::Reject, LineFull::NextLayer]);
    }
    if rare(d) {
        p.load_batch = false;
    }
    if rare(d) {
        p.audit_interval = Span::from_secs(d.pick(&[3, 7, 20]));
    }
    if rare(d) {
        p.session_ttl = Span::from_secs(d.pick(&[1, 5]));
    }
    if rare(d) {
        p.ping_interval = Span::from_secs(d.pick(&[1, 3]));
    }
    if rare(d) {
        p.requests_max = d.pick(&[2, 10]);
    }
    if rare(d) {
        p.debts_max = d.pick(&[1, 4]);
    }
    if p.lease_ttl.is_some() && rare(d) {
        p.lease_ttl = Some(Span::from_secs(d.pick(&[5, 20])));
    }
    if p.reap_interval.is_some() && rare(d) {
        p.reap_interval = Some(Span::from_secs(d.pick(&[2, 10])));
    }
}
