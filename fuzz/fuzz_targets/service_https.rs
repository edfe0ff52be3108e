//! Requests to the service endpoint.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_fuzz::service::run_service_https(input));
