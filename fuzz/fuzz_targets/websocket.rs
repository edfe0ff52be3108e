//! Clients of WebSockets.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_fuzz::websocket::run(input));
