//! User names, topics, IDs and other short texts.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_fuzz::names::run(input));
