//! Many seeds: runs them on several threads and says which fail, and how to see them again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use serde::Serialize;
use sluice_engine::{Preset, Time};

use crate::check::{Violation, judge};
use crate::des;
use crate::history::History;
use crate::report;
use crate::scenario::Scenario;

/// How closely a run is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Care {
    /// Run twice and compare the logs (I17).
    pub twice: bool,
    /// Journal every engine and replay the journals (I18).
    pub journal: bool,
}

/// What one seed came to.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The preset.
    pub preset: Preset,
    /// What was wrong.
    pub violations: Vec<Violation>,
    /// The records of the run.
    pub records: usize,
    /// The requests in it.
    pub requests: usize,
}

impl Outcome {
    /// The command that shows it again.
    #[must_use]
    pub fn command(&self) -> String {
        format!("sluice-sim run --seed {} --preset {}", self.seed, name(self.preset))
    }
}

/// A preset's name on the command line.
#[must_use]
pub const fn name(preset: Preset) -> &'static str {
    match preset {
        Preset::Seed => "seed",
        Preset::Fair => "fair",
    }
}

/// Runs a scenario and judges it. A panic is a violation like any other.
#[must_use]
pub fn run(scenario: &Scenario, care: Care) -> (History, Vec<Violation>) {
    let (history, mut violations) = run_once(scenario, care.journal);
    if care.twice {
        let (again, _) = run_once(scenario, false);
        violations.extend(difference(&history, &again));
    }
    (history, violations)
}

fn run_once(scenario: &Scenario, journal: bool) -> (History, Vec<Violation>) {
    let mut history = History::default();
    let ran = catch_unwind(AssertUnwindSafe(|| des::run(scenario, journal, &mut history)));
    let judged = catch_unwind(AssertUnwindSafe(|| judge(scenario, &history)));
    let at = history.records.last().map_or(Time::ZERO, |r| r.at);
    let panicked = |why: Box<dyn std::any::Any + Send>| {
        let text = why.downcast_ref::<String>().cloned();
        let text = text.or_else(|| why.downcast_ref::<&str>().map(|&s| s.to_owned()));
        Violation { id: "panic", at, what: text.unwrap_or_else(|| "of unknown kind".into()) }
    };
    let mut violations = Vec::new();
    match judged {
        Ok(found) => violations.extend(found),
        Err(why) => violations.push(panicked(why)),
    }
    if let Err(why) = ran {
        violations.insert(0, panicked(why));
    }
    (history, violations)
}

/// I17: the first line in which two runs of one scenario differ.
fn difference(one: &History, other: &History) -> Option<Violation> {
    if report::digest(one) == report::digest(other) {
        return None;
    }
    let lines = |h: &History| h.records.iter().map(report::line).collect::<Vec<_>>();
    let (one_lines, other_lines) = (lines(one), lines(other));
    let same = one_lines.iter().zip(&other_lines).take_while(|(a, b)| a == b).count();
    let at = one.records.get(same).map_or(Time::ZERO, |r| r.at);
    let show = |of: &[String]| of.get(same).cloned().unwrap_or_else(|| "the end".into());
    let what = format!("two runs differ: {:?} and {:?}", show(&one_lines), show(&other_lines));
    Some(Violation { id: "I17", at, what })
}

/// Runs seeds `from..to` of these presets on `jobs` threads; each outcome is reported as it comes.
pub fn swarm(
    (from, to): (u64, u64),
    presets: &[Preset],
    jobs: usize,
    care: impl Fn(u64) -> Care + Sync,
    mut report: impl FnMut(Outcome),
) {
    let next = AtomicU64::new(from);
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (tell, next, care) = (tell.clone(), &next, &care);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= to {
                        return;
                    }
                    for &preset in presets {
                        if tell.send(one(seed, preset, care(seed))).is_err() {
                            return;
                        }
                    }
                }
            });
        }
        drop(tell);
        for outcome in told {
            report(outcome);
        }
    });
}

fn one(seed: u64, preset: Preset, care: Care) -> Outcome {
    let scenario = Scenario::generate(seed, preset);
    let (history, violations) = run(&scenario, care);
    let (records, requests) = (history.records.len(), scenario.arrivals.len());
    Outcome { seed, preset, violations, records, requests }
}
