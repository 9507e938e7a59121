//! A connection that speaks whatever it does.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| observer_fuzz::http1(bytes));
