//! Clients of the device endpoint over AMQP.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_fuzz::service::run_device_amqp(input));
