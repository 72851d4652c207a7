//! The judges: one file an invariant of the design, each looking at a run's history and nothing else.
//!
//! A checker sees every record once, in order, next to the [`Books`]: what the records so far amount
//! to. The first thing that it finds wrong ends its work.

mod books;
mod i01;
mod i02;
mod i03;
mod i04;
mod i05;
mod i06;
mod i07;
mod i08;
mod i09;
mod i10;
mod i11;
mod i12;
mod i13;
mod i15;
mod rest;
#[cfg(test)]
mod testkit;

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use sluice_engine::Time;

pub use books::Books;

use crate::history::{History, Record};
use crate::scenario::Scenario;
use crate::world;

/// Something that must not have happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which invariant.
    pub id: Cow<'static, str>,
    /// When it was seen.
    pub at: Time,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = self.at.0;
        write!(f, "{} at {}.{:03} ms: {}", self.id, us / 1_000, us % 1_000, self.what)
    }
}

/// Judges one invariant.
pub trait Checker {
    /// The invariant's number in the design.
    fn id(&self) -> &'static str;

    /// Sees one record; `books` are as before it.
    ///
    /// # Errors
    /// What is wrong with it.
    fn see(&mut self, books: &Books<'_>, record: &Record) -> Result<(), String>;
}

/// One checker of every kind.
#[must_use]
pub fn all() -> Vec<Box<dyn Checker>> {
    vec![
        Box::<i01::Limits>::default(),
        Box::<i02::GrantsEnd>::default(),
        Box::<i03::KeepsLease>::default(),
        Box::<i04::DeadAreFreed>::default(),
        Box::<i05::WorkConserved>::default(),
        Box::<i06::InOrder>::default(),
        Box::<i07::FinishOnce>::default(),
        Box::<i08::NeverAfter>::default(),
        Box::<i09::WaitsEnd>::default(),
        Box::<i10::Budgets>::default(),
        Box::<i11::NotAfterStart>::default(),
        Box::<i12::HomeOrWhy>::default(),
        Box::<i13::ClosingsAndProbes>::default(),
        Box::<i15::Owners>::default(),
        Box::<rest::ComesToRest>::default(),
        Box::<rest::SelfContent>::default(),
    ]
}

/// What every checker finds first.
#[must_use]
pub fn judge(scenario: &Scenario, history: &History) -> Vec<Violation> {
    let mut checkers = all();
    if scenario.network.is_some() {
        // Sessions have keys there that only the gateways know.
        checkers.retain(|checker| checker.id() != "I12");
        checkers.extend(world::judges(scenario));
    }
    judge_by(checkers, scenario, history)
}

pub(crate) fn judge_by(
    checkers: Vec<Box<dyn Checker>>,
    scenario: &Scenario,
    history: &History,
) -> Vec<Violation> {
    let mut books = Books::new(scenario);
    let mut checkers: Vec<_> = checkers.into_iter().map(Some).collect();
    let mut violations = Vec::new();
    for record in &history.records {
        books.begin(record);
        for slot in &mut checkers {
            let Some(checker) = slot else { continue };
            if let Err(what) = checker.see(&books, record) {
                violations.push(Violation { id: checker.id().into(), at: record.at, what });
                *slot = None;
            }
        }
        books.apply(record);
    }
    violations
}
