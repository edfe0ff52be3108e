//! What tests of several crates share, and the load of `make bench`. Never part of the product.
//!
//! * [`store_suite`]: what every engine behind the `Store` port must pass.
//! * [`sample`]: records with every field filled, in every variant.
//! * [`hub`]: hubs in memory that fail on command; [`webhook`]: a webhook that answers on command.
//! * [`ca`]: certificate authorities and device certificates, tidy and untidy; [`server_certificate`] for servers.
//! * [`crl`]: their revocation lists.
//! * [`tpm`]: a TPM in software; [`swtpm`]: a real one, emulated by another program.
//! * [`clock`], [`entropy`]: time and randomness that repeat.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "it serves tests, which fail by panicking"
)]

pub mod ca;
pub mod clock;
pub mod crl;
pub mod documents;
pub mod entropy;
pub mod hub;
pub mod sample;
pub mod server_certificate;
pub mod store_suite;
pub mod swtpm;
pub mod tpm;
pub mod webhook;
