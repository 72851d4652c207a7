//! A scenario: everything that a run depends on, as plain data. A seed makes one, a run takes one,
//! and a failing one can be made smaller and kept as a file.

use serde::{Deserialize, Serialize};
use sluice_engine::rng::Seed;
use sluice_engine::store::{HealthChange, Instance};
use sluice_engine::{
    AccountId, Denial, Outcome, Policy, Preset, RequestId, RequestSpec, Roster, Span, Time,
};
use sluice_storage::fate::Rates;

mod courses;
mod draw;
mod extras;
mod generate;
mod network;
mod reload;
mod setting;

pub use draw::Draw;
pub use extras::Extras;
pub use network::{Network, Place, Reader};
pub(crate) use reload::generation;

/// One world and what happens to it. Times are simulated, from 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scenario {
    /// The root of what is drawn while running: fates of store operations, jitter.
    pub seed: Seed,
    /// Which preset `policy` comes from.
    pub preset: Preset,
    /// Every engine's knobs.
    pub policy: Policy,
    /// The nodes, by index.
    pub nodes: Vec<NodeSpec>,
    /// All rosters; nodes start with the first.
    pub rosters: Vec<Roster>,
    /// The requests, by time; ids increase.
    pub arrivals: Vec<Arrival>,
    /// Spells in which an account answers everything alike.
    pub sick: Vec<Sick>,
    /// What goes wrong, by time.
    pub faults: Vec<Fault>,
    /// The end of the safety phase: faults end, everything heals.
    pub safety_end: Time,
    /// What only a world on a simulated network has; without it the scenario is for the discrete-event
    /// one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
}

/// In which world a scenario happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Engines and a ledger, driven by an event heap.
    #[default]
    Des,
    /// Whole gateways on a simulated network.
    Turmoil,
}

impl Lane {
    /// The lane of this name.
    ///
    /// # Errors
    /// The names there are.
    pub fn named(name: &str) -> Result<Self, String> {
        let all = [Self::Des, Self::Turmoil];
        all.into_iter().find(|lane| lane.name() == name).ok_or_else(|| "des or turmoil".to_owned())
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Des => "des",
            Self::Turmoil => "turmoil",
        }
    }

    /// The scenario of a seed.
    #[must_use]
    pub fn scenario(self, seed: u64, preset: Preset) -> Scenario {
        match self {
            Self::Des => Scenario::generate(seed, preset),
            Self::Turmoil => Scenario::generate_network(seed, preset),
        }
    }
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Its name in the store.
    pub name: String,
    /// What its clock shows at the simulated time 0.
    pub offset: Span,
    /// The longest way to or from the store while all is well.
    pub delay_max: Span,
    /// Of thousand operations, so many are answered at once, as by a store in memory.
    pub instant: u32,
    /// After so many of thousand events comes a tick that nobody needs.
    pub spurious: u32,
}

impl NodeSpec {
    /// Its name as the store knows it.
    #[must_use]
    pub fn instance(&self) -> Instance {
        Instance(self.name.as_str().into())
    }
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// Its number, unique over all nodes.
    pub id: RequestId,
    /// When.
    pub at: Time,
    /// At which node.
    pub node: usize,
    /// What it asks for.
    pub spec: RequestSpec,
    /// The client goes away so long after; `None` stays to the end.
    pub leaves: Option<Span>,
    /// Billing answers so long after it is asked.
    pub billing: Span,
    /// Billing refuses.
    pub denial: Option<Denial>,
    /// What its attempts meet, in turn; the last again and again.
    pub answers: Vec<Answer>,
    /// How an upstream attempt of it ends once it is cancelled.
    pub cancel: CancelWay,
}

/// What one upstream attempt meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// From sending to the first semantic byte, if there is one.
    pub first_byte: Option<Span>,
    /// From sending to the end.
    pub end: Span,
    /// How it ends.
    pub outcome: Outcome,
}

/// How a cancelled attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CancelWay {
    /// At once.
    AtOnce,
    /// So much later.
    After(Span),
    /// As it would have ended anyway: it is drained for its usage.
    Drained,
}

/// A spell in which an account answers everything alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sick {
    /// Which.
    pub account: AccountId,
    /// From.
    pub from: Time,
    /// Until.
    pub until: Time,
    /// What it answers.
    pub answer: Answer,
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// When.
    pub at: Time,
    /// What.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultKind {
    /// The way to the store behaves like this from now on, for one node or all.
    Rates {
        /// Whose way.
        node: Option<usize>,
        /// How it behaves.
        rates: Rates,
    },
    /// Pushed grants behave like this from now on.
    Grants {
        /// Lost, in thousandths.
        lost: u32,
        /// Delivered twice, in thousandths.
        twice: u32,
        /// The longest way.
        delay_max: Span,
    },
    /// The process dies with all it knows.
    Crash {
        /// Which node.
        node: usize,
        /// Until a new one starts.
        restart: Span,
    },
    /// The process is told to leave: it drains, cuts off what does not end, and ends.
    Leave {
        /// Which node.
        node: usize,
        /// How long it may drain.
        drain: Span,
        /// From then until a new one starts.
        restart: Span,
    },
    /// An account's upstream dies and loses its connections.
    UpstreamDown {
        /// Whose.
        account: AccountId,
        /// Until it is back.
        restart: Span,
    },
    /// What is sent is lost, and streams with it for good.
    Cut {
        /// Sent from here.
        from: Place,
        /// To there.
        to: Place,
        /// And the other way.
        both: bool,
        /// For how long.
        lasts: Span,
    },
    /// What is sent is held up, and delivered in the end.
    Hold {
        /// Between here.
        a: Place,
        /// And there.
        b: Place,
        /// For how long.
        lasts: Span,
    },
    /// The process stands still; then everything that came meanwhile reaches it at once.
    Freeze {
        /// Which node.
        node: usize,
        /// For how long.
        lasts: Span,
    },
    /// The store is away.
    Away {
        /// For how long.
        lasts: Span,
        /// It comes back empty.
        forget: bool,
        /// Operations are refused at once; otherwise they time out.
        refuses: bool,
    },
    /// The store's machine clock is set.
    Clock {
        /// By so many microseconds.
        step_us: i64,
    },
    /// A roster reaches a node.
    Reload {
        /// Which node.
        node: usize,
        /// Index into [`Scenario::rosters`].
        roster: usize,
    },
    /// Ticks come late from now on.
    Ticks {
        /// At which node.
        node: usize,
        /// By at most this.
        late_max: Span,
    },
    /// The operator changes an account's health.
    Operator {
        /// Which account.
        account: AccountId,
        /// How; never `Proved`.
        change: HealthChange,
    },
}

impl Scenario {
    /// In which world it happens.
    #[must_use]
    pub const fn lane(&self) -> Lane {
        if self.network.is_some() { Lane::Turmoil } else { Lane::Des }
    }

    /// The arrival of a request.
    #[must_use]
    pub fn arrival(&self, req: RequestId) -> Option<&Arrival> {
        let index = self.arrivals.binary_search_by_key(&req, |a| a.id).ok()?;
        self.arrivals.get(index)
    }

    /// The node of this name.
    #[must_use]
    pub fn node_named(&self, name: &Instance) -> Option<usize> {
        self.nodes.iter().position(|n| *n.name == *name.0)
    }

    /// The longest that any upstream attempt takes.
    #[must_use]
    pub fn longest_answer(&self) -> Span {
        let scripted = self.arrivals.iter().flat_map(|a| a.answers.iter().map(|x| x.end));
        scripted.chain(self.sick.iter().map(|s| s.answer.end)).max().unwrap_or(Span::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_survives_its_file() {
        for (seed, preset) in [(1, Preset::Fair), (2, Preset::Seed), (77, Preset::Fair)] {
            let scenario = Scenario::generate(seed, preset);
            let text = serde_json::to_string(&scenario).expect("plain data");
            let back: Scenario = serde_json::from_str(&text).expect("what was just written");
            assert_eq!(scenario, back);
        }
    }

    #[test]
    fn every_seed_makes_a_scenario_that_can_be_run() {
        for seed in 0..2_000 {
            for preset in [Preset::Seed, Preset::Fair] {
                let s = Scenario::generate(seed, preset);
                assert_eq!(s.policy.validate(), Ok(()), "seed {seed}");
                assert!((1..=3).contains(&s.nodes.len()), "seed {seed}");
                assert!(s.arrivals.is_sorted_by(|a, b| a.id < b.id && a.at <= b.at));
                assert!(s.faults.is_sorted_by_key(|f| f.at), "seed {seed}");
                assert!(s.arrivals.iter().all(|a| a.at < s.safety_end && !a.answers.is_empty()));
                assert!(s.faults.iter().all(|f| f.at < s.safety_end), "seed {seed}");
            }
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_scenario() {
        let twice = [5, 5].map(|seed| Scenario::generate(seed, Preset::Fair));
        assert_eq!(twice[0], twice[1]);
        assert_ne!(twice[0], Scenario::generate(6, Preset::Fair));
    }
}
