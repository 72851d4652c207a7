//! A small swarm on every change; the large ones are run by the command line.

use sluice_engine::Preset;
use sluice_sim::scenario::Scenario;
use sluice_sim::swarm::{self, Care};

fn swarm_of(preset: Preset) {
    for seed in 0..100 {
        let scenario = Scenario::generate(seed, preset);
        let (_, violations) = swarm::run(&scenario, Care::default());
        assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
    }
}

#[test]
fn a_hundred_seeds_of_fair_break_no_invariant() {
    swarm_of(Preset::Fair);
}

#[test]
fn a_hundred_seeds_of_seed_break_no_invariant() {
    swarm_of(Preset::Seed);
}
