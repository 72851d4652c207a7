//! What the judges' own tests have in common.

use sluice_engine::{Preset, Time};

use crate::check::{Checker, judge_by};
use crate::history::{History, What};
use crate::scenario::{Extras, Scenario};

/// A scenario of one seed in which nothing goes wrong, and nobody is slow.
pub(super) fn calm() -> Scenario {
    let mut scenario = Scenario::generate_network(1, Preset::Fair);
    scenario.faults.clear();
    if let Some(network) = &mut scenario.network {
        network.readers.clear();
        network.extras = Extras::default();
        network.drain = false;
    }
    scenario
}

/// Whether a checker finds nothing wrong with these records, one a millisecond.
pub(super) fn accepts(
    checker: impl Checker + 'static,
    scenario: &Scenario,
    records: Vec<What>,
) -> bool {
    let timed = (1..).map(|n| n * 1_000).zip(records);
    accepts_at(checker, scenario, timed.collect())
}

/// The same with their times in microseconds.
pub(super) fn accepts_at(
    checker: impl Checker + 'static,
    scenario: &Scenario,
    records: Vec<(u64, What)>,
) -> bool {
    let mut history = History::default();
    for (at, what) in records {
        history.push(Time(at), what);
    }
    judge_by(vec![Box::new(checker)], scenario, &history).is_empty()
}
