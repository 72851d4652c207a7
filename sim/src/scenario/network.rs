//! What a world on a simulated network has beside what the discrete-event one has, and how a seed
//! makes one: the same world, in less time, with its faults on links and hosts.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sluice_engine::roster::{Platform, PoolKey};
use sluice_engine::store::HealthChange;
use sluice_engine::{AccountId, Outcome, Preset, RequestId, Span, Time};

use super::generate::anchors;
use super::{Answer, Arrival, CancelWay, Draw, Extras, Fault, FaultKind, Scenario, reload};
use crate::world;

/// The network, and what is configured for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The grain of time.
    pub tick: Span,
    /// The shortest way of a segment.
    pub latency_min: Span,
    /// The longest.
    pub latency_max: Span,
    /// Hosts take turns in an order drawn anew at each tick.
    pub random_order: bool,
    /// How long gateways wait for an upstream's head.
    pub header_timeout: Span,
    /// And for each piece after it.
    pub idle_timeout: Span,
    /// And for a client to take what it is sent.
    pub stall_timeout: Span,
    /// Gateways read on after a client has left.
    pub drain: bool,
    /// Upstreams write so many bytes at once.
    pub shred: Option<usize>,
    /// Clients that do not just read as fast as they can.
    pub readers: BTreeMap<RequestId, Reader>,
    /// What most have not.
    #[serde(default)]
    pub extras: Extras,
    /// From which roster on which account has another credential than before.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub rotated: BTreeSet<(usize, AccountId)>,
}

/// How a client reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reader {
    /// It pauses so long after each read.
    pub pace: Span,
    /// So many bytes at once.
    pub bytes: Option<usize>,
    /// It goes away after so many.
    pub leaves_after: Option<usize>,
}

/// A host or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// Where all clients are.
    Clients,
    /// The store.
    Store,
    /// A gateway.
    Node(usize),
    /// An account's upstream.
    Upstream(AccountId),
}

/// Kinds of faults that a seed chooses among.
const KINDS: usize = 11;
/// How long faults last in short runs and in long ones; see [`pause`].
const SHORT: [u64; 4] = [4, 4, 1, 1];
const LONG: [u64; 4] = [1, 2, 4, 1];
/// The most requests of a run, but for the last ones.
const ARRIVALS_MAX: usize = 50;

impl Scenario {
    /// The scenario of a seed for a world on a simulated network.
    #[must_use]
    pub fn generate_network(seed: u64, preset: Preset) -> Self {
        let mut s = Self::generate(seed, preset);
        let mut d = Draw::scenario(s.seed, 20, 0);
        s.policy = world::expressible(&s.policy, preset);
        s.only_what_gateways_do();
        // In a long one sessions end while their requests run.
        let long = d.chance(1, 4);
        let (end, quicker) = if long {
            (d.ms(15_000, 30_000), 1)
        } else {
            (d.ms(2_000, 12_000), d.pick(&[1, 4, 10]))
        };
        s.shorten(Time::ZERO + end, quicker);
        let network = network(&mut d, &s);
        s.network = Some(network);
        s.faults = faults(&s, if long { &LONG } else { &SHORT });
        s.knock();
        s.canaries();
        reload::add(&mut s);
        s
    }

    /// Takes out what the gateway does not have.
    fn only_what_gateways_do(&mut self) {
        self.rosters.truncate(1);
        for node in &mut self.nodes {
            // A worker's name in the store.
            node.name += "/0";
        }
        let roster = &mut self.rosters[0];
        let pools = std::mem::take(&mut roster.pools);
        for (key, pool) in pools.into_iter().filter(|(key, _)| key.model.is_none()) {
            roster.pools.insert(PoolKey { platform: Platform::Anthropic, ..key }, pool);
        }
        for account in roster.accounts.values_mut() {
            account.oauth = false;
            account.intercept_warmup = false;
        }
        for arrival in &mut self.arrivals {
            arrival.spec.platform = Platform::Anthropic;
            arrival.spec.warmup = false;
            arrival.billing = Span::ZERO;
            arrival.denial = None;
            arrival.cancel = CancelWay::AtOnce;
        }
        let known = roster.users.clone();
        self.arrivals.retain(|arrival| known.contains_key(&arrival.spec.user));
    }

    /// Puts everything into less time; upstreams are so many times as quick.
    fn shorten(&mut self, end: Time, quicker: u64) {
        let (from, to) = (self.safety_end.0.max(1), end.0.min(self.safety_end.0));
        let scaled = |at: Time| {
            let scaled = u128::from(at.0) * u128::from(to) / u128::from(from);
            Time(u64::try_from(scaled).unwrap_or(u64::MAX))
        };
        let answers = self.arrivals.iter_mut().flat_map(|arrival| &mut arrival.answers);
        for answer in answers.chain(self.sick.iter_mut().map(|spell| &mut spell.answer)) {
            answer.end = Span(answer.end.0 / quicker);
            answer.first_byte = answer.first_byte.map(|Span(us)| Span(us / quicker));
        }
        self.arrivals.truncate(ARRIVALS_MAX);
        for arrival in &mut self.arrivals {
            arrival.at = scaled(arrival.at) + START;
        }
        for spell in &mut self.sick {
            (spell.from, spell.until) = (scaled(spell.from), scaled(spell.until));
        }
        self.safety_end = Time(to) + START;
    }

    /// A client comes to each node that is leaving, if there is one to come.
    fn knock(&mut self) {
        for fault in &self.faults {
            let FaultKind::Leave { node, drain, restart } = fault.kind else { continue };
            let leaving = fault.at + LEFT..fault.at + drain + restart;
            if let Some(late) = self.arrivals.iter_mut().find(|a| leaving.contains(&a.at)) {
                late.node = node;
            }
        }
    }

    /// After the faults each node is asked once more, and must answer.
    fn canaries(&mut self) {
        let Some(like) = self.arrivals.last().cloned() else { return };
        for node in 0..self.nodes.len() {
            let id = RequestId(like.id.0 + 1 + node as u64);
            let answers = vec![WELL];
            let at = self.safety_end + CALM;
            self.arrivals.push(Arrival { id, at, node, answers, leaves: None, ..like.clone() });
        }
    }
}

/// Until all hosts listen.
const START: Span = Span::from_ms(100);
/// From the end of the faults to the last requests.
const CALM: Span = Span::from_secs(5);
/// From the word to leave until nobody is on the way to a node any more.
const LEFT: Span = Span::from_ms(700);
/// What these meet.
const WELL: Answer = Answer {
    first_byte: Some(Span::from_ms(5)),
    end: Span::from_ms(20),
    outcome: Outcome::Completed,
};

fn network(d: &mut Draw, s: &Scenario) -> Network {
    let latency_min = d.pick(&[0, 1, 1, 5]);
    let slow = d.pick(&[0, 0, 100, 500]);
    let leaving = d.pick(&[0, 0, 100, 400]);
    let mut readers = BTreeMap::new();
    for arrival in &s.arrivals {
        let mut d = Draw::scenario(s.seed, 21, arrival.id.0);
        let mut reader = Reader::default();
        if d.thousandth(slow) {
            let (bytes, pace) = d.pick(&[(1, 1), (1, 10), (16, 50), (256, 200)]);
            (reader.bytes, reader.pace) = (Some(bytes), Span::from_ms(pace));
        }
        if d.thousandth(leaving) {
            reader.leaves_after = Some(d.range(1, 1_200) as usize);
        }
        if reader != Reader::default() {
            readers.insert(arrival.id, reader);
        }
    }
    Network {
        tick: Span::from_ms(d.pick(&[1, 2, 5, 10])),
        latency_min: Span::from_ms(latency_min),
        latency_max: Span::from_ms(latency_min + d.pick(&[1, 3, 20, 100])),
        random_order: d.chance(1, 2),
        header_timeout: Span::from_ms(d.pick(&[1_000, 4_000, 20_000])),
        idle_timeout: Span::from_ms(d.pick(&[600, 2_000, 5_000])),
        stall_timeout: Span::from_ms(d.pick(&[1_000, 5_000])),
        drain: d.chance(1, 3),
        shred: d.chance(1, 4).then(|| d.pick(&[1, 7, 100])),
        readers,
        extras: Extras::of(s),
        rotated: BTreeSet::new(),
    }
}

fn faults(s: &Scenario, pauses: &[u64; 4]) -> Vec<Fault> {
    let mut d = Draw::scenario(s.seed, 22, 0);
    let count = match d.weighted(&[2, 5, 5]) {
        0 => 0,
        1 => d.range(1, 3),
        _ => d.range(3, 9),
    };
    let weights = d.swarm(KINDS);
    let anchors = anchors(&s.policy);
    let mut all: Vec<Fault> = Vec::new();
    for n in 0..count {
        let mut d = Draw::scenario(s.seed, 23, n);
        let kind = d.weighted(&weights);
        let mut node = d.range(0, s.nodes.len() as u64 - 1) as usize;
        let mut at = d.before(s.safety_end);
        if d.chance(2, 3) && !s.arrivals.is_empty() {
            let one = &s.arrivals[d.range(0, s.arrivals.len() as u64 - 1) as usize];
            node = one.node;
            at = one.at + if d.chance(1, 2) { d.ms(0, 40) } else { d.ms(0, 400) };
        }
        let lasts = pause(&mut d, pauses, &anchors);
        let kind = fault(&mut d, kind, node, lasts, s, &anchors);
        // The store's clock is set once at most: a session promises no more than that.
        let clock = |f: &FaultKind| matches!(f, FaultKind::Clock { .. });
        if at < s.safety_end && !(clock(&kind) && all.iter().any(|f| clock(&f.kind))) {
            if let FaultKind::Operator { account, .. } = kind {
                let change = HealthChange::Recover;
                let recover = at + d.ms(10, 3_000);
                all.push(Fault { at: recover, kind: FaultKind::Operator { account, change } });
            }
            all.push(Fault { at, kind });
        }
    }
    all.retain(|f| f.at < s.safety_end);
    all.sort_by_key(|f| f.at);
    all
}

fn fault(
    d: &mut Draw,
    kind: usize,
    node: usize,
    lasts: Span,
    s: &Scenario,
    anchors: &[Span],
) -> FaultKind {
    let account = AccountId(d.range(1, s.rosters[0].accounts.len() as u64));
    let pairs = [
        (Place::Node(node), Place::Store),
        (Place::Node(node), Place::Upstream(account)),
        (Place::Clients, Place::Node(node)),
    ];
    let (a, b) = d.pick(&pairs);
    match kind {
        0 => FaultKind::Crash { node, restart: lasts },
        1 => FaultKind::Freeze { node, lasts },
        2 | 3 => FaultKind::Away { lasts, forget: kind == 3, refuses: d.chance(1, 2) },
        4 => {
            let far = if d.chance(1, 2) { d.near(anchors) } else { Span::from_secs(3_600) };
            let near = d.near(anchors).0.min(8_000_000) as i64;
            let step_us = if d.chance(1, 2) { far.0 as i64 } else { -near };
            FaultKind::Clock { step_us }
        }
        5 => FaultKind::Operator {
            account,
            change: d.pick(&[HealthChange::Drain, HealthChange::Disable]),
        },
        6 => FaultKind::Cut { from: a, to: b, both: true, lasts },
        7 if d.chance(1, 2) => FaultKind::Cut { from: a, to: b, both: false, lasts },
        7 => FaultKind::Cut { from: b, to: a, both: false, lasts },
        8 => FaultKind::Hold { a, b, lasts },
        9 => FaultKind::UpstreamDown { account, restart: lasts },
        _ => FaultKind::Leave { node, drain: d.ms(0, 2_000), restart: d.ms(1_500, 4_000) },
    }
}

/// How long something lasts, by weights: a moment, a while, longer than a session, or about as long as
/// something else.
fn pause(d: &mut Draw, weights: &[u64; 4], anchors: &[Span]) -> Span {
    match d.weighted(weights) {
        0 => d.ms(0, 300),
        1 => d.ms(300, 3_000),
        2 => d.ms(8_000, 15_000),
        _ => d.near(anchors),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_makes_a_scenario_that_can_be_run() {
        for seed in 0..500 {
            for preset in [Preset::Seed, Preset::Fair] {
                let s = Scenario::generate_network(seed, preset);
                assert_eq!(s.policy.validate(), Ok(()), "seed {seed}");
                assert_eq!(s.policy, world::expressible(&s.policy, preset), "seed {seed}");
                assert!(s.arrivals.is_sorted_by(|a, b| a.id < b.id && a.at <= b.at));
                assert!(s.faults.is_sorted_by_key(|f| f.at), "seed {seed}");
                assert!(s.faults.iter().all(|f| f.at < s.safety_end), "seed {seed}");
                assert!(s.arrivals.iter().all(|a| a.node < s.nodes.len()), "seed {seed}");
            }
        }
    }

    #[test]
    fn a_scenario_survives_its_file() {
        for seed in 0..50 {
            let scenario = Scenario::generate_network(seed, Preset::Fair);
            let text = serde_json::to_string(&scenario).expect("plain data");
            let back: Scenario = serde_json::from_str(&text).expect("what was just written");
            assert_eq!(scenario, back);
        }
    }

    #[test]
    fn seeds_make_all_kinds_of_faults() {
        let kinds: BTreeSet<_> = (0..200)
            .flat_map(|seed| Scenario::generate_network(seed, Preset::Fair).faults)
            .map(|fault| format!("{:?}", fault.kind).split(' ').next().unwrap_or("").to_owned())
            .collect();
        assert_eq!(kinds.len(), 10, "{kinds:?}");
    }
}
