//! What an OpenID provider and a browser send to a login.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_fuzz::login::run(input));
