//! See `sluice_fuzz::ledger_ops`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sluice_fuzz::ledger_ops::run(data));
