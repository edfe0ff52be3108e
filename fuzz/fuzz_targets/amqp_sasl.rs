//! Frames of AMQP's SASL layer.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_fuzz::amqp::run_sasl(input));
