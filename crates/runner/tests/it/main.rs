//! Two runners on one store.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod jobs;
mod leases;
mod runs;
mod world;
