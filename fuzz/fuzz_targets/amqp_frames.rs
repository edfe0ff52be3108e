//! AMQP protocol headers and frames.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_fuzz::amqp::run_frames(input));
