//! I17 in one process, and I18: twenty seeds, run twice, journalled and replayed.

use sluice_engine::Preset;
use sluice_sim::history::History;
use sluice_sim::scenario::Scenario;
use sluice_sim::{des, report};

#[test]
fn twenty_seeds_give_the_same_bytes_twice() {
    for seed in 0..20 {
        for preset in [Preset::Seed, Preset::Fair] {
            let scenario = Scenario::generate(seed, preset);
            let logs = [false, true].map(|journal| {
                let mut history = History::default();
                des::run(&scenario, journal, &mut history);
                report::short_log(&history)
            });
            assert_eq!(logs[0], logs[1], "seed {seed}");
            assert!(!logs[0].contains("I18"), "seed {seed}");
        }
    }
}

#[test]
fn different_seeds_give_different_bytes() {
    let digests = [1, 2].map(|seed| {
        let mut history = History::default();
        des::run(&Scenario::generate(seed, Preset::Fair), false, &mut history);
        report::digest(&history)
    });
    assert_ne!(digests[0], digests[1]);
}
