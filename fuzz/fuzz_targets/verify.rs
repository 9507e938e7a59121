//! A ledger's lines, to a verdict.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| observer_fuzz::verify(bytes));
