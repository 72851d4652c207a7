//! See `sluice_fuzz::translate_stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_fuzz::translate_stream::run(data));
