//! Client certificates in TLS handshakes.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_fuzz::tls::run(input));
