//! The ledger against a naive model that was written from the store's contract and nothing else:
//! `naive` is the model, `world` and `steps` make random sequences of operations, `compare` demands
//! the same answers, `coverage` that the sequences get everywhere.
//!
//! `SLUICE_CASES` sets the number of sequences, `SLUICE_SEED` which ones, `SLUICE_SHRINK` how many
//! attempts at most to make a sequence that failed shorter (20 000).
#![expect(clippy::tests_outside_test_module, reason = "this is a test")]

mod compare;
mod coverage;
mod menu;
mod naive;
mod names;
mod steps;
mod tampered;
mod world;

use std::sync::Once;

use proptest::test_runner::{Config, RngSeed};
use proptest_state_machine::prop_state_machine;
use sluice_engine::Ledger;

use compare::{Compare, DIFFERENT};
use tampered::Shifted;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("it is a number"))
}

/// Sequences are the same every time, unless asked for others; those that failed are printed, not
/// kept in a file.
fn config(cases: u32) -> Config {
    static QUIET: Once = Once::new();
    // Shrinking panics hundreds of times; only the last one, which proptest repeats, is worth
    // reading.
    QUIET.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = payload(info);
            if !text.starts_with(DIFFERENT) {
                usual(info);
            }
        }));
    });
    Config {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(number("SLUICE_SEED").unwrap_or(1)),
        max_shrink_iters: number("SLUICE_SHRINK").map_or(20_000, |most| most as u32),
        ..Config::default()
    }
}

fn cases() -> u32 {
    number("SLUICE_CASES").map_or(256, |cases| cases as u32)
}

prop_state_machine! {
    #![proptest_config(config(cases()))]

    #[test]
    fn the_ledger_answers_as_the_naive_model(sequential 1..=200 => Compare<Ledger>);
}

prop_state_machine! {
    #![proptest_config(config(32))]

    #[test]
    fn drawing_other_numbers_is_no_difference(sequential 1..=200 => Compare<Shifted>);
}

/// What a panic says.
fn payload<'a>(info: &'a std::panic::PanicHookInfo<'_>) -> &'a str {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or_default()
}
