//! Test support for several crates, and for the load of `make bench`. Never part of the product.
//!
//! * [`store_suite`]: the conformance suite of the `Store` port, for every engine.
//! * [`sample`]: records with every field set, in every variant.
//! * [`hub`], [`webhook`]: fake hubs and a fake webhook, with scripted failures and replies.
//! * [`ca`]: certificate authorities and device certificates, also unusual ones.
//! * [`server_certificate`]: certificates of servers.
//! * [`crl`]: revocation lists of the certificate authorities.
//! * [`revocation_lists`]: fake servers that publish them.
//! * [`documents`]: the encodings of certificates, revocation lists and keys in files.
//! * [`token_issuer`]: an issuer of bearer tokens.
//! * [`tpm`]: a TPM in software; [`swtpm`]: the TPM emulator swtpm, in a process of its own.
//! * [`postgres`]: PostgreSQL servers, in processes of their own.
//! * [`node`]: the configuration of a node that links hubs.
//! * [`clock`], [`entropy`]: reproducible time and randomness.
//! * [`log`]: the log events of a test.

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
pub mod log;
pub mod node;
pub mod postgres;
pub mod revocation_lists;
pub mod sample;
pub mod server_certificate;
pub mod store_suite;
pub mod swtpm;
pub mod token_issuer;
pub mod tpm;
pub mod webhook;
