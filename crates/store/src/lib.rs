//! The engines behind `provisioning::ports::Store`.
//!
//! One so far: [`EmbeddedStore`], a single SQLite file. Every engine passes the conformance suite in `testkit`, and none
//! has rules about what it keeps.

mod batch;
mod damage;
mod document;
mod embedded;
mod table;

pub use durable::{Depth, FileCheck};
pub use embedded::{EmbeddedStore, Inspection, OpenError, RecordName, RepairError};
use provisioning::ports::StoreError;

/// A failure, for the log.
fn broken(error: impl std::fmt::Display) -> StoreError {
    StoreError::Broken(error.to_string())
}
