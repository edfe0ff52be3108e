//! Requests to a hub's REST.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_fuzz::hub::run_https(input));
