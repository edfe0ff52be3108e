//! Certificates that operators upload.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_fuzz::certificates::run_certificate(input));
