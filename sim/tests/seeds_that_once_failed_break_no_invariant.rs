//! Scenarios in which a bug of the engine, or of a checker, was found.

use sluice_engine::Preset;
use sluice_sim::scenario::Scenario;
use sluice_sim::swarm::{self, Care};

#[test]
fn seeds_that_once_failed() {
    let seeds = [
        // A line was told to be full while the session was being resumed.
        (Preset::Fair, 5_014),
        (Preset::Fair, 10_108),
        // A slot that ended by its ttl, and a late `Enter` that gave its lease another.
        (Preset::Seed, 220_396),
        // A fault that kept a request from asking was told as a wait for an account.
        (Preset::Fair, 237_583),
        // All the time there was went by with accounts that were full or shut.
        (Preset::Seed, 330_581),
        // The store said nothing until the wait was over, and an account was blamed.
        (Preset::Seed, 788_746_168),
        (Preset::Fair, 788_746_168),
        // The time for attempts was over while a slot was asked for, and not the last failure was told.
        (Preset::Fair, 788_005_001),
    ];
    for (preset, seed) in seeds {
        let scenario = Scenario::generate(seed, preset);
        let (_, violations) = swarm::run(&scenario, Care::default());
        assert!(violations.is_empty(), "seed {seed} of {preset:?}: {violations:#?}");
    }
}
