//! What the fuzz targets run: one function per target, each taking the fuzzer's bytes.
//!
//! A target fails by panicking, as the fuzzer expects: either because the code under test does, or because an assertion
//! here does not hold. The seeds in `corpus/` are made by `examples/seeds.rs`.

pub mod amqp;
pub mod answers;
pub mod bodies;
pub mod certificates;
pub mod conversation;
pub mod hub;
pub mod login;
pub mod names;
pub mod packets;
pub mod request;
pub mod revocation;
pub mod service;
pub mod tls;
pub mod tokens;
pub mod tpm;
pub mod twin;
pub mod websocket;
