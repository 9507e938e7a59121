//! A WebSocket, after its handshake.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| observer_fuzz::websocket(bytes));
