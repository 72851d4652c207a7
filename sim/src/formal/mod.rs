//! A formal model of the store protocol, checked exhaustively within bounds. It is written from
//! docs/scheduling.md and the store's contract, not from the code, so that both can be wrong only
//! independently; docs/invariants.md tells what it covers and what it found.

mod bounds;
mod config;
mod model;
mod node;
mod properties;
mod state;
mod store;

use std::fmt;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

pub use bounds::Bounds;
pub use config::{Budget, Config, Without};
use model::{Protocol, describe};

/// What several runs found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of the bounds.
    pub runs: Vec<Run>,
}

/// What one run found.
#[derive(Clone, Debug)]
pub struct Run {
    /// The configuration's name.
    pub name: &'static str,
    /// Steps taken, each leading to a state.
    pub states: usize,
    /// Different states.
    pub unique_states: usize,
    /// Steps from the beginning to the farthest state.
    pub depth: usize,
    /// Broken promises, each with a path that breaks it.
    pub violations: Vec<Violation>,
    /// Landmarks reached: the interesting states that the promises have been tried on.
    pub reached: Vec<&'static str>,
}

/// A broken promise.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which.
    pub property: &'static str,
    /// What happened, step by step, with the state after each.
    pub path: Vec<String>,
}

impl Report {
    /// Whether no run broke a promise.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.runs.iter().all(|run| run.violations.is_empty())
    }

    /// Landmarks that no run reached.
    #[must_use]
    pub fn missed(&self) -> Vec<&'static str> {
        let reached = |name: &&str| self.runs.iter().any(|run| run.reached.contains(name));
        landmarks().into_iter().filter(|name| !reached(name)).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.runs.iter().try_for_each(|run| run.fmt(f))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, states, unique_states, depth, .. } = self;
        writeln!(f, "{name}: {unique_states} states, {states} steps, depth {depth}")?;
        for violation in &self.violations {
            writeln!(f, "  broken: {}", violation.property)?;
            for line in &violation.path {
                writeln!(f, "    {line}")?;
            }
        }
        Ok(())
    }
}

/// Explores everything within the bounds, one configuration after the other; a run ends early only
/// when a promise is broken.
#[must_use]
pub fn check(bounds: &Bounds) -> Report {
    Report { runs: bounds.configs.iter().map(check_config).collect() }
}

/// Explores one configuration.
///
/// # Panics
///
/// If the model itself is wrong, for example takes more messages than it has room for.
#[must_use]
pub fn check_config(config: &Config) -> Run {
    let protocol = Protocol { config: config.clone() };
    let checker = protocol.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let mut violations = Vec::new();
    let mut reached = Vec::new();
    let mut found: Vec<_> = checker.discoveries().into_iter().collect();
    found.sort_by_key(|(name, _)| *name);
    for (property, path) in found {
        if checker.model().property(property).expectation == Expectation::Sometimes {
            reached.push(property);
            continue;
        }
        let steps = path.into_vec();
        let after = steps.iter().skip(1).map(|(state, _)| state);
        let path = steps
            .iter()
            .zip(after)
            .filter_map(|((before, step), after)| {
                step.map(|step| format!("{} -> {after}", describe(step, before)))
            })
            .collect();
        violations.push(Violation { property, path });
    }
    Run {
        name: config.name,
        states: checker.state_count(),
        unique_states: checker.unique_state_count(),
        depth: checker.max_depth(),
        violations,
        reached,
    }
}

fn landmarks() -> Vec<&'static str> {
    let sometimes =
        |property: &stateright::Property<Protocol>| property.expectation == Expectation::Sometimes;
    properties::all().iter().filter(|it| sometimes(it)).map(|it| it.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the checker finds without this rule, in small configurations.
    fn broken_without(rule: Without) -> Vec<&'static str> {
        let report = check(&Bounds::without(rule));
        eprintln!("without {rule:?}:\n{report}");
        let violations = report.runs.iter().flat_map(|run| &run.violations);
        violations.map(|violation| violation.property).collect()
    }

    const BACKED: &str = "I1: what runs holds the slot it runs on";
    const EXCESS: &str = "I1: excess comes only with a lost session";
    const AGREES: &str = "I2: at rest the store has what the nodes have";
    const REAPED: &str = "I3: a live node's claim is not reaped";
    const FORWARDED: &str = "I8: nothing is forwarded after its end";
    const GRANTED: &str = "I8: nothing is granted after its leave";

    const MISSED: [(Without, &str); 17] = [
        (Without::Tombstones, GRANTED),
        (Without::FenceForResync, AGREES),
        (Without::Busy, BACKED),
        (Without::OwedIsBusy, EXCESS),
        (Without::AsOf, BACKED),
        (Without::AskOrder, BACKED),
        (Without::AskOrderInResync, BACKED),
        (Without::NewestAsk, BACKED),
        (Without::LateHeldDropped, FORWARDED),
        (Without::Claim, BACKED),
        (Without::Belief, REAPED),
        (Without::Replaces, BACKED),
        (Without::StaleAskSeesNoGrant, BACKED),
        (Without::AskAgainAfterLost, BACKED),
        (Without::ResyncAfterResume, AGREES),
        (Without::PassBegunAnew, BACKED),
        (Without::NewestPass, BACKED),
    ];

    #[test]
    fn each_of_these_rules_is_missed_when_it_is_taken_away() {
        for (rule, property) in MISSED {
            let broken = broken_without(rule);
            assert!(broken.contains(&property), "without {rule:?}: {broken:?}");
        }
    }

    #[test]
    fn with_all_rules_the_same_configurations_break_nothing() {
        for (rule, _) in MISSED {
            for config in Bounds::without(rule).configs {
                let run = check_config(&Config { without: None, ..config });
                assert!(run.violations.is_empty(), "{run}");
            }
        }
    }

    #[test]
    fn in_small_configurations_asks_are_missed_only_where_wants_change() {
        for rule in [Without::AskOrder, Without::NewestAsk] {
            for config in Bounds::without(rule).configs {
                let owners = [Some(0), None, Some(1)];
                let wants = [[3, 3], [3, 3], [1, 1]];
                let budget = Budget { unknowns: 1, passes: 1, ..Budget::default() };
                let run = check_config(&Config { owners, wants, budget, ..config });
                eprintln!("without {rule:?}, wants unchanging: {run}");
                assert!(run.violations.is_empty(), "{run}");
            }
        }
    }

    #[test]
    fn a_violation_comes_with_the_steps_that_lead_to_it() {
        let report = check(&Bounds::without(Without::NewestAsk));
        let text = report.to_string();
        assert!(text.contains("hears Held"), "{text}");
        assert!(!report.holds());
    }

    #[test]
    #[cfg_attr(debug_assertions, ignore = "takes minutes when not optimised")]
    fn two_rules_are_not_missed_by_any_promise_checked_here() {
        for rule in [Without::QuietDuringResync, Without::TicketsFirst] {
            assert_eq!(broken_without(rule), Vec::<&str>::new(), "without {rule:?}");
        }
    }

    #[test]
    #[cfg_attr(debug_assertions, ignore = "takes minutes when not optimised")]
    fn the_quick_bounds_hold_and_reach_every_landmark() {
        holds_and_reaches_all(&Bounds::quick());
    }

    #[test]
    #[ignore = "takes minutes"]
    fn the_full_bounds_hold_and_reach_every_landmark() {
        holds_and_reaches_all(&Bounds::full());
    }

    fn holds_and_reaches_all(bounds: &Bounds) {
        let report = check(bounds);
        eprint!("{report}");
        assert!(report.holds());
        assert_eq!(report.missed(), Vec::<&str>::new());
    }
}
