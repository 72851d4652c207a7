//! Many seeds: runs them on several threads and says which fail, and how to see them again.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use serde::{Deserialize, Serialize};
use sluice_engine::{Preset, Time};

use crate::check::{Violation, judge};
use crate::des;
use crate::history::History;
use crate::report;
use crate::scenario::{Lane, Scenario};
use crate::world;

pub mod child;

/// How closely a run is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Care {
    /// Run twice and compare the logs (I17).
    pub twice: bool,
    /// Journal every engine and replay the journals (I18).
    pub journal: bool,
}

/// What one seed came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The preset.
    pub preset: Preset,
    /// In which world.
    pub lane: Lane,
    /// What was wrong.
    pub violations: Vec<Violation>,
    /// The records of the run.
    pub records: usize,
    /// The requests in it.
    pub requests: usize,
    /// The SHA-256 of the run's log.
    pub digest: String,
}

impl Outcome {
    /// What a run of this scenario came to.
    #[must_use]
    pub fn of(scenario: &Scenario, care: Care) -> (Self, History) {
        let (history, violations) = run(scenario, care);
        let outcome = Self {
            seed: scenario.seed.0,
            preset: scenario.preset,
            lane: scenario.lane(),
            violations,
            records: history.records.len(),
            requests: scenario.arrivals.len(),
            digest: report::digest(&history),
        };
        (outcome, history)
    }

    /// The command that shows it again.
    #[must_use]
    pub fn command(&self) -> String {
        let (preset, lane) = (name(self.preset), self.lane.name());
        format!("sluice-sim run --lane {lane} --seed {} --preset {preset}", self.seed)
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

thread_local! {
    /// What panicked on this thread since it was last looked at.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// From now on panics are kept for the run in which they happen, also those that a runtime swallows
/// with its task, and told nowhere else.
pub fn keep_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(String::new, |at| format!(" ({at})"));
        let what = words(info.payload());
        PANICS.with_borrow_mut(|all| all.push(format!("{what}{place}")));
    }));
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
    PANICS.take();
    let ran = catch_unwind(AssertUnwindSafe(|| match scenario.lane() {
        Lane::Des => des::run(scenario, journal, &mut history),
        Lane::Turmoil => world::run(scenario, &mut history),
    }));
    let judged = catch_unwind(AssertUnwindSafe(|| judge(scenario, &history)));
    let at = history.records.last().map_or(Time::ZERO, |r| r.at);
    let panicked = |what: String| Violation { id: "panic".into(), at, what };
    let mut violations: Vec<_> = PANICS.take().into_iter().map(panicked).collect();
    let (judged, broken) = match judged {
        Ok(judged) => (judged, None),
        Err(why) => (Vec::new(), Some(why)),
    };
    // Nothing was kept if nobody asked for it.
    if let Some(why) = ran.err().or(broken).filter(|_| violations.is_empty()) {
        violations.push(panicked(words(&*why)));
    }
    violations.extend(judged);
    (history, violations)
}

/// What a panic said.
fn words(why: &(dyn Any + Send)) -> String {
    let text = why.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| why.downcast_ref::<&str>().copied());
    text.unwrap_or("of unknown kind").to_owned()
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
    Some(Violation { id: "I17".into(), at, what })
}

/// What a seed is a seed of.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// Of a scenario of this world.
    Lane(Lane),
    /// Of what is drawn in the course of the scenario in this file, for this world.
    File(&'a Path, Lane),
}

impl Source<'_> {
    /// In which world.
    #[must_use]
    pub const fn lane(self) -> Lane {
        match self {
            Self::Lane(lane) | Self::File(_, lane) => lane,
        }
    }

    /// The command that shows an outcome of it again.
    #[must_use]
    pub fn command(self, outcome: &Outcome) -> String {
        match self {
            Self::Lane(_) => outcome.command(),
            Self::File(path, _) => {
                format!("sluice-sim run {} --seed {}", path.display(), outcome.seed)
            }
        }
    }
}

/// Which seeds are run, and how.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// From, and up to which, without it.
    pub seeds: (u64, u64),
    /// With which presets each.
    pub presets: &'a [Preset],
    /// Of what.
    pub source: Source<'a>,
    /// On so many threads.
    pub jobs: usize,
}

/// Runs the seeds of a plan until `enough`; each outcome is reported as it comes.
///
/// Whole gateways run in a process of their own for each seed: what ends a gateway's process must not
/// end the swarm, and what a process leaves behind must not reach the next seed.
pub fn swarm(
    plan: Plan<'_>,
    care: impl Fn(u64) -> Care + Sync,
    enough: impl Fn() -> bool + Sync,
    mut report: impl FnMut(Outcome),
) {
    let next = AtomicU64::new(plan.seeds.0);
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..plan.jobs.max(1) {
            let (tell, next, care, enough) = (tell.clone(), &next, &care, &enough);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= plan.seeds.1 || enough() {
                        return;
                    }
                    for &preset in plan.presets {
                        let outcome = match plan.source {
                            Source::Lane(Lane::Des) => {
                                Outcome::of(&Scenario::generate(seed, preset), care(seed)).0
                            }
                            source @ (Source::Lane(Lane::Turmoil) | Source::File(..)) => {
                                child::run(source, seed, preset, care(seed))
                            }
                        };
                        if tell.send(outcome).is_err() {
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
