//! Tests of paths: vectors of others, hostile chains, and what a search costs.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod authorities;
mod ca;
mod cost;
mod hostile;
mod names;
mod pss;
mod vectors;
