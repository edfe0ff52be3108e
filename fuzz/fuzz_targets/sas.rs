//! Shared access signatures and connection strings.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_fuzz::tokens::run(input));
