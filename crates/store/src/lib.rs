//! The engines behind `provisioning::ports::Store`.
//!
//! One so far: [`EmbeddedStore`], a single SQLite file. Every engine passes the conformance suite in `testkit`, and none
//! has rules about what it keeps.

mod embedded;

pub use durable::{Depth, FileCheck};
pub use embedded::{EmbeddedStore, Inspection, OpenError, RecordName, RepairError};
