//! Bodies of register calls.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_fuzz::bodies::run_device(input));
