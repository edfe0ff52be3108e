//! MQTT packets.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_fuzz::packets::run(input));
