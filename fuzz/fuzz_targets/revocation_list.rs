//! Revocation lists of CAs.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_fuzz::revocation::run(input));
