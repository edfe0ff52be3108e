//! Stores of sealed documents: the `Store` port over engines.
//!
//! ```text
//!   ports ──► documents sealed and opened (caller's thread) ──► Engine: rows, listings, batches, log, leases
//!         ──► snapshot in memory, which follows the change log
//! ```
//!
//! [`SealedStore`] does what all engines have in common; an [`Engine`](engine::Engine) keeps rows. Two are here: an SQLite
//! file for one process, [`EmbeddedStore`], and a PostgreSQL database for several, [`PostgresStore`]. Every engine passes the conformance suite in `testkit`, and none has rules about what it keeps.

pub mod batch;
mod clock;
mod damage;
mod document;
pub mod engine;
mod listing;
mod log_row;
mod ports;
pub mod postgres;
mod refresh;
mod search;
mod snapshot;
mod sqlite;
mod store;
pub mod table;

pub use clock::SystemClock;
pub use durable::{Depth, FileCheck, FileSnapshot, Migration};
pub use postgres::PostgresStore;
use provisioning::ports::StoreError;
pub use sqlite::{EmbeddedStore, Inspection, NewestChange, OpenError, RecordName, RepairError};
pub use store::SealedStore;

/// A failure, for the log.
fn broken(error: impl std::fmt::Display) -> StoreError {
    StoreError::Broken(error.to_string())
}
