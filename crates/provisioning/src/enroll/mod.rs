//! Reads, queries, creates, replaces and deletes enrollments and registrations for operators.
//!
//! Every verb takes the service instance first, and touches no other. [`merge`] decides what a draft becomes, as a pure function;
//! the rest reads, commits by compare-and-set, and counts one operation per success.

mod bulk;
mod change;
mod deletion;
mod import;
mod instance;
mod keys;
mod kind;
mod merge;
mod read;
mod settings;
mod warnings;

pub use bulk::{ChangedItem, MAX_BULK_ITEMS};
pub use change::Written;
pub use deletion::{EnrollmentChanges, ends_with_individual};
pub use import::{ImportOutcome, ImportedItem, MAX_IMPORT_ITEMS};
pub use instance::MAX_USAGE_DAYS;
pub use keys::{KeysReplaced, UnchangedKeys};
pub use kind::{Enrollment, MAX_SYMMETRIC_KEY_GROUPS, MAX_X509_GROUPS};
pub use merge::Stamp;
pub use warnings::Entered;

#[cfg(test)]
pub(crate) mod samples;
