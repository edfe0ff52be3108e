//! Bodies of a hub's REST.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_fuzz::bodies::run_hub(input));
