//! A formal model of the store protocol, checked exhaustively within bounds. It is written from
//! docs/scheduling.md and the store's contract, not from the code, so that both can be wrong only
//! independently; docs/invariants.md tells what it covers and what it found.

mod config;
mod model;
mod properties;
mod state;
mod store;
mod node;

use std::fmt;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

pub use config::{Bounds, Budget, Config, Without};
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
    let checker =
        protocol.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
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
    let sometimes = |property: &stateright::Property<Protocol>| {
        property.expectation == Expectation::Sometimes
    };
    properties::all().iter().filter(|it| sometimes(it)).map(|it| it.name).collect()
}
