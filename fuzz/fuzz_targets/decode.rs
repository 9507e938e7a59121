//! Events of the kernel's, to calls.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| observer_fuzz::decode(bytes));
