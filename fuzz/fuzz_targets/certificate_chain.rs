//! Certificate chains that devices present, and the rules for them.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_fuzz::certificates::run_chain(input));
