//! Public keys of TPMs.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_fuzz::tpm::run(input));
