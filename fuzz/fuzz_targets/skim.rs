//! See `sluice_fuzz::skim`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_fuzz::skim::run(data));
