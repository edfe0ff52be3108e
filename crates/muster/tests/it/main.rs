//! Tests of the `muster` binary against a running emulator or service.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod apply;
mod attest;
mod audit;
mod audit_trail;
mod backup;
mod cert;
mod certificate;
mod database_tls;
mod day;
mod demo;
mod device;
mod documents;
mod enrollment;
mod faulty_hub;
mod fleet;
mod full_disk;
mod help;
mod hostile_text;
mod import;
mod instance;
mod linked_hub;
mod log;
mod metrics;
mod program;
mod quick_start;
mod registration;
mod reload;
mod serve;
mod shared_store;
mod storage;
mod store_copy;
mod tokens;
mod tpm;
mod upgrade;
