//! Tests of the provisioning crate that need a store, hubs or certificates.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod attest;
mod register;
