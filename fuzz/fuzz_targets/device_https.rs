//! Requests to the device endpoint over HTTPS.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_fuzz::service::run_device_https(input));
