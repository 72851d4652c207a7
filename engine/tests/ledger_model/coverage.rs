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

fn count_step(counts: &mut BTreeMap<&'static str, u32>, world: &World) {
    let mut count = |name| *counts.entry(name).or_default() += 1;
    for done in &world.done {
        done.notes.iter().copied().for_each(&mut count);
        details(done).into_iter().for_each(&mut count);
        if done.then.due_now() {
            count("due entries left over");
        }
        match done.then.discipline {
            Discipline::Poll => count("operations in Poll"),
            Discipline::Settle => count("operations in Settle"),
        }
    }
}

/// What must happen, and how often at least.
const FLOOR: &[(&str, u32)] = &[
    ("Lost", 6_000),
    ("Joined", 2_000),
    ("Taken", 300),
    ("Alive", 5_000),
    ("Done", 10_000),
    ("Held", 7_000),
    ("Held as a probe", 2_000),
    ("Waiting", 8_000),
    ("Waiting, opens_in", 1_000),
    ("Full", 800),
    ("Shut", 4_000),
    ("Shut, opens_in", 1_000),
    ("Left", 1_000),
    ("Surveyed", 900),
    ("Home", 500),
    ("Home, none", 400),
    ("Reaped", 800),
    ("Reaped, more", 20),
    ("Full with an old ticket", 80),
    ("Leave hands on", 300),
    ("Leave: Lost", 2_000),
    ("Resync: Lost", 100),
    ("Shut removed a ticket", 100),
    ("a closing lengthened", 9),
    ("a grant told as waiting", 30),
    ("a key gave way", 100),
    ("a lease that counts in a line moves", 40),
    ("a lesser tag was served first", 20),
    ("a model without a key", 7),
    ("a probe left Ok", 200),
    ("a probe proved", 30),
    ("a stale mark", 100),
    ("an older roster's user limit", 40),
    ("ask not above the known one", 700),
    ("claimed", 100),
    ("closed", 2_000),
    ("defined", 1_000),
    ("due entries left over", 600),
    ("entered by resync", 200),
    ("entered over the limit", 80),
    ("grant passed on", 300),
    ("granted", 800),
    ("health of an unknown account", 40),
    ("held elsewhere: given up", 1_000),
    ("home is another", 100),
    ("home: full", 10),
    ("home: gone", 30),
    ("home: room", 10),
    ("home: shut", 8),
    ("join dropped a lease", 500),
    ("join dropped a ticket", 200),
    ("lease renamed", 1_000),
    ("listed as waiting, but it holds", 20),
    ("opening", 1_000),
    ("orphaned", 90),
    ("patience ended", 5_000),
    ("probe ended unproved", 1_000),
    ("probing", 3_000),
    ("reaped", 50),
    ("several grants in one operation", 40),
    ("survey: first but no best", 200),
    ("survey: opens_in", 40),
    ("survey: several best", 50),
    ("ticket by resync", 200),
    ("ttl over", 800),
    ("operations in Poll", 10_000),
    ("operations in Settle", 20_000),
];

#[test]
fn the_sequences_get_everywhere() {
    let mut counts = BTreeMap::new();
    for (mut world, steps) in sequences(CASES) {
        count_step(&mut counts, &world);
        for step in steps {
            world.step(&step);
            count_step(&mut counts, &world);
        }
    }
    if std::env::var_os("SLUICE_COUNTS").is_some() {
        eprintln!("{counts:#?}");
    }
    let count_of = |name| counts.get(name).copied().unwrap_or(0);
    let rare: Vec<_> = FLOOR.iter().filter(|(name, floor)| count_of(*name) < *floor).collect();
    assert!(rare.is_empty(), "too rare: {rare:?} of {counts:#?}");
}
