//! See `sluice_fuzz::engine_events`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_fuzz::engine_events::run(data));
