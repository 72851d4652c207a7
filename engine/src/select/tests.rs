//! Tables of selection.

use super::*;
use crate::store::{Candidate, Home};

const HOME: AccountId = AccountId(7);

fn candidate(id: u64) -> Candidate {
    Candidate { account: AccountId(id), priority: 50, load_pct: 0, last_assigned: 0 }
}

fn surveyed(best: &[u64], first: Option<u64>, home: Option<HomeState>) -> Surveyed {
    Surveyed {
        best: best.iter().copied().map(candidate).collect(),
        first: first.map(AccountId),
        home: home.map(|state| Home { account: HOME, state, line: 0 }),
        open: if first.is_some() { 3 } else { 0 },
        opens_in: None,
    }
}

/// One line an aim: layer, target, line, and what follows the end of patience and a full line.
fn told(plan: &Plan) -> Vec<String> {
    let line = |aim: &Aim| {
        let target = match &aim.target {
            Target::Account(account) => format!("{account}"),
            Target::Pool(best) => format!("pool{:?}", best.iter().map(|a| a.0).collect::<Vec<_>>()),
        };
        let line = aim.line_max.map_or_else(|| "no line".into(), |n| format!("line {n}"));
        let patience = aim.patience.0 / 1_000_000;
        let ends = if aim.widens { "widens" } else { "ends" };
        let full = if aim.full_passes { "passes" } else { "ends" };
        format!("{:?} {target} {line} {patience}s {ends} {full}", aim.layer)
    };
    plan.aims.iter().map(line).collect()
}

fn plan_of(policy: &Policy, survey: &Surveyed) -> Plan {
    plan(policy, survey, |_| false)
}

#[test]
fn fair_asks_the_home_first_and_then_the_pool_in_one_question() {
    let survey = surveyed(&[1, 2], Some(1), Some(HomeState::Full));
    assert_eq!(
        told(&plan_of(&Policy::fair(), &survey)),
        ["Sticky account-7 line 3 2s widens passes", "Load pool[1, 2] line 1000 30s ends ends",]
    );
}

#[test]
fn fair_waits_for_the_pool_when_nothing_has_room() {
    let survey = surveyed(&[], Some(1), None);
    assert_eq!(
        told(&plan_of(&Policy::fair(), &survey)),
        ["Fallback pool[] line 1000 30s ends ends"]
    );
}

#[test]
fn seed_goes_through_the_charts_three_layers() {
    let survey = surveyed(&[1, 2], Some(2), Some(HomeState::Room));
    assert_eq!(
        told(&plan_of(&Policy::seed(), &survey)),
        [
            "Sticky account-7 line 3 45s ends passes",
            "Load pool[1, 2] no line 30s ends passes",
            "Fallback account-2 line 100 30s ends ends",
        ]
    );
}

#[test]
fn without_load_batching_the_home_or_the_first_is_taken() {
    let policy = Policy { load_batch: false, ..Policy::seed() };
    let with_home = surveyed(&[1], Some(2), Some(HomeState::Full));
    assert_eq!(
        told(&plan_of(&policy, &with_home)),
        ["Sticky account-7 line 3 45s ends passes", "Legacy account-7 line 100 30s ends ends"]
    );
    let without = surveyed(&[1], Some(2), None);
    assert_eq!(told(&plan_of(&policy, &without)), ["Legacy account-2 line 100 30s ends ends"]);
    let pooled = Policy { load_batch: false, ..Policy::fair() };
    assert_eq!(told(&plan_of(&pooled, &without)), ["Legacy pool[2] line 1000 30s ends ends"]);
}

#[test]
fn a_home_that_cannot_serve_is_passed_over_with_the_reason() {
    let passed = |state, failed| {
        let survey = surveyed(&[1], Some(1), Some(state));
        plan(&Policy::fair(), &survey, |_| failed).passed
    };
    assert_eq!(passed(HomeState::Shut(Span(1)), false), Some((HOME, Passed::Shut)));
    assert_eq!(passed(HomeState::Gone, false), Some((HOME, Passed::Gone)));
    assert_eq!(passed(HomeState::Gone, true), Some((HOME, Passed::Failed)));
    assert_eq!(passed(HomeState::Full, false), None);
}

#[test]
fn when_all_is_shut_it_waits_for_an_opening_within_patience_and_else_says_when() {
    let shut = |opens_in| Surveyed { opens_in, ..surveyed(&[], None, None) };
    let soon = shut(Some(Span::from_secs(30)));
    assert_eq!(told(&plan_of(&Policy::fair(), &soon)), ["Fallback pool[] line 1000 30s ends ends"]);
    assert_eq!(told(&plan_of(&Policy::seed(), &soon)), ["Fallback pool[] line 100 30s ends ends"]);
    let late = plan_of(&Policy::fair(), &shut(Some(Span::from_secs(31))));
    assert!(late.aims.is_empty());
    assert_eq!(late.opens_in, Some(Span::from_secs(31)));
    assert!(plan_of(&Policy::fair(), &shut(None)).aims.is_empty());
}
