//! A connection of HTTP/2, after its preface.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| observer_fuzz::http2(bytes));
