//! The tests are not blind: with fixed seeds, every situation that matters is met.

use std::cell::RefCell;

use super::faulty::{Chart, Fair, Faulty, STEPS_MAX, Which, play};
use super::run::draw;
use super::seen::Seen;

/// Sequences that are looked at.
const SEQUENCES: u32 = 400;

/// What both presets must meet.
const EXPECTED: [&str; 37] = [
    "abandoned at billing",
    "abandoned before an account's slot",
    "abandoned before the user's slot",
    "abandoned in an account's line",
    "abandoned in the user's line",
    "abandoned when finished",
    "abandoned when forwarded",
    "abandoned when streaming",
    "crash",
    "enter answered left",
    "enter answered shut",
    "enter lost",
    "failover",
    "fenced leave",
    "first forward",
    "healed",
    "join taken",
    "late enter after its leave",
    "late enter finds a slot",
    "late operation of a lost session",
    "leave lost",
    "ping",
    "session lost",
    "session rejoined",
    "slot for a finished request",
    "verdict: abandoned",
    "verdict: account line full",
    "verdict: account wait timeout",
    "verdict: all shut",
    "verdict: billing denied",
    "verdict: intercepted",
    "verdict: no accounts",
    "verdict: overloaded",
    "verdict: store unavailable",
    "verdict: upstream",
    "verdict: user closed",
    "verdict: user wait timeout",
];

/// What only the `fair` preset meets: `seed` makes no grants.
const EXPECTED_FAIR: [&str; 2] = ["hint to a lease that waits no more", "hint to a waiting lease"];

fn meets<P: Which>(expected: &[&str]) {
    let seen = RefCell::new(Seen::default());
    for (shape, steps) in draw::<Faulty<P>>(SEQUENCES, STEPS_MAX) {
        let report = play(&shape, &steps, &|| (), false, &seen);
        assert_eq!(report.complaints, Vec::<String>::new());
    }
    let seen = seen.into_inner().0;
    let missed = |what: &&&str| !seen.contains_key(**what);
    let missed: Vec<_> = expected.iter().filter(missed).collect();
    assert!(missed.is_empty(), "never met: {missed:#?}\nmet: {seen:#?}");
}

#[test]
fn fair_sequences_meet_every_situation() {
    let expected: Vec<&str> = EXPECTED.into_iter().chain(EXPECTED_FAIR).collect();
    meets::<Fair>(&expected);
}

#[test]
fn seed_sequences_meet_every_situation() {
    meets::<Chart>(&EXPECTED);
}
