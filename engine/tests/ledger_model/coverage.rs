//! The random sequences must get everywhere, else the comparison is blind there: what happens in a
//! fixed set of them is counted. `SLUICE_COUNTS=1` with `--nocapture` shows the counts.

use std::collections::BTreeMap;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use proptest_state_machine::ReferenceStateMachine;
use sluice_engine::store::{Discipline, HomeState, StoreOp, StoreReply};

use crate::steps::Step;
use crate::world::{Done, World};

/// Sequences that are counted, each of up to 200 steps.
const CASES: u32 = 1_000;

/// The same sequences every time: a world at its beginning, and the steps in it.
pub(crate) fn sequences(cases: u32) -> impl Iterator<Item = (World, Vec<Step>)> {
    let config = Config { rng_seed: RngSeed::Fixed(7), ..Config::default() };
    let mut runner = TestRunner::new(config);
    let any = World::sequential_strategy(1..=200);
    (0..cases).map(move |_| {
        let (world, steps, _) = any.new_tree(&mut runner).expect("nothing is rejected").current();
        (world, steps)
    })
}

fn name_of(reply: &StoreReply) -> &'static str {
    match reply {
        StoreReply::Lost => "Lost",
        StoreReply::Joined { .. } => "Joined",
        StoreReply::Taken { .. } => "Taken",
        StoreReply::Alive { .. } => "Alive",
        StoreReply::Done => "Done",
        StoreReply::Held { probe: false, .. } => "Held",
        StoreReply::Held { probe: true, .. } => "Held as a probe",
        StoreReply::Waiting { opens_in: None, .. } => "Waiting",
        StoreReply::Waiting { opens_in: Some(_), .. } => "Waiting, opens_in",
        StoreReply::Full => "Full",
        StoreReply::Shut { opens_in: None } => "Shut",
        StoreReply::Shut { opens_in: Some(_) } => "Shut, opens_in",
        StoreReply::Left => "Left",
        StoreReply::Surveyed(_) => "Surveyed",
        StoreReply::Home(None) => "Home, none",
        StoreReply::Home(Some(_)) => "Home",
        StoreReply::Reaped { more: false } => "Reaped",
        StoreReply::Reaped { more: true } => "Reaped, more",
    }
}

fn details(done: &Done) -> Vec<&'static str> {
    let mut names = vec![name_of(&done.reply)];
    if done.grants.len() > 1 {
        names.push("several grants in one operation");
    }
    if let StoreReply::Surveyed(surveyed) = &done.reply {
        names.extend(surveyed.opens_in.map(|_| "survey: opens_in"));
        names.extend((surveyed.best.len() > 2).then_some("survey: several best"));
        let lazy = surveyed.best.is_empty() && surveyed.first.is_some();
        names.extend(lazy.then_some("survey: first but no best"));
        names.extend(surveyed.home.map(|home| match home.state {
            HomeState::Room => "home: room",
            HomeState::Full => "home: full",
            HomeState::Shut(_) => "home: shut",
            HomeState::Gone => "home: gone",
        }));
    }
    match (&done.op, &done.reply) {
        (StoreOp::Leave { .. }, StoreReply::Lost) => names.push("Leave: Lost"),
        (StoreOp::Resync(_), StoreReply::Lost) => names.push("Resync: Lost"),
        (StoreOp::Leave { .. }, _) if !done.grants.is_empty() => names.push("Leave hands on"),
        (_, _) => {}
    }
    names
}

fn count_step(counts: &mut BTreeMap<&'static str, u32>, world: &mut World) {
    let mut count = |name| *counts.entry(name).or_default() += 1;
    world.naive.notes.drain(..).for_each(&mut count);
    world.done.iter().flat_map(details).for_each(&mut count);
    if world.naive.due_now() {
        count("due entries left over");
    }
    match world.naive.discipline {
        Discipline::Poll => count("steps in Poll"),
        Discipline::Settle => count("steps in Settle"),
    }
}

/// What must happen, and how often at least.
const FLOOR: &[(&str, u32)] = &[];

#[test]
fn the_sequences_get_everywhere() {
    let mut counts = BTreeMap::new();
    for (mut world, steps) in sequences(CASES) {
        count_step(&mut counts, &mut world);
        for step in steps {
            world.step(&step);
            count_step(&mut counts, &mut world);
        }
    }
    if std::env::var_os("SLUICE_COUNTS").is_some() {
        eprintln!("{counts:#?}");
    }
    let count_of = |name| counts.get(name).copied().unwrap_or(0);
    let rare: Vec<_> = FLOOR.iter().filter(|(name, floor)| count_of(*name) < *floor).collect();
    assert!(rare.is_empty(), "too rare: {rare:?} of {counts:#?}");
}
