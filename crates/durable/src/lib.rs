//! SQLite with one writer thread, group commit and sealed values.
//!
//! ```text
//!   write(op) ─┐
//!   write(op) ─┼─► bounded queue ─► writer thread ─► BEGIN, op, op, op, COMMIT ─► outcome of every op
//!   write(op) ─┘                                     (one fsync for all of them)
//!   read(q)   ────────────────────► pooled read-only connection on the calling thread
//! ```
//!
//! * [`Database`]: a write resolves only after its COMMIT is on disk; whatever queued up during one fsync shares the next.
//! * [`Schema`]: what the file must contain; a newer or foreign file is refused.
//! * [`FileSnapshot`]: the file as it was at one moment, to be copied while others write.
//! * [`Epoch`]: distinguishes a database that continues from one that was restored or copied.
//! * [`Sealer`]: AES-256-GCM for values that must not be on disk in clear.
//!
//! Nothing here knows what is stored. A commit is delayed only to let others join it, by 2 ms at most, and only while
//! writes come in bursts.

mod database;
mod directory;
mod epoch;
mod file_check;
mod file_snapshot;
mod job;
mod key_file;
mod lock;
mod log_size;
mod readers;
mod schema;
mod seal;
mod writer;

pub use database::{Database, KeyCheckError, QUEUE_WAIT, WriteError};
pub use directory::{make_private_directory, sync as sync_directory};
pub use epoch::{Continuity, Epoch};
pub use file_check::{Depth, FileCheck};
pub use file_snapshot::{FileSnapshot, begin_epoch_of_copy};
pub use key_file::{KeyFile, KeyFileError};
/// The SQLite binding whose `Connection` the closures of [`Database`] receive.
pub use rusqlite;
pub use schema::{Migration, OpenError, Schema};
pub use seal::{SealError, Sealer};
