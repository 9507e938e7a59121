//! Files that may have a TLS library, to places for probes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| observer_fuzz::elf(bytes));
