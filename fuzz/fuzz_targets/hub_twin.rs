//! Changes of a device twin.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_fuzz::twin::run(input));
