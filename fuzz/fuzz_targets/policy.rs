//! A policy's text, to tables or problems.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| observer_fuzz::policy(bytes));
