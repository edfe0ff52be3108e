//! Clients of a hub over AMQP.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_fuzz::hub::run_amqp(input));
