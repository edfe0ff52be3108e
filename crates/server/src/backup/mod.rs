//! Backups of the files of a service, taken while it runs.
//!
//! ```text
//! backup   = magic (8) · length of the manifest (4, big endian) · manifest (JSON) · files
//! files    = the bytes of the files, one after the other, in the order and with the lengths of the manifest
//! ```
//!
//! The caller seals this stream. It has the store, the stores of all embedded hubs, and the key that they are sealed with, unless
//! the operator keeps that elsewhere.
//!
//! **Order.** A device is created at its hub before its registration is acknowledged. So the snapshot of the store is taken
//! first, and those of the hubs after it: each hub then has every device that the store says is there. Devices that registered in
//! between are at their hub and not in the store, and register again. The other way round, the store would name devices that
//! their hubs do not have.

mod create;
mod manifest;
mod reader;
mod restore;
mod staging;

pub use create::{Backup, StagedBackup};
pub use manifest::{BackupFile, FileName, Manifest};
pub use reader::BackupReader;
pub use restore::RestoreTarget;
pub use staging::Staging;

/// How the stream begins: a name, and the version of the format.
const MAGIC: &[u8; 8] = b"BACKUP\x00\x01";
