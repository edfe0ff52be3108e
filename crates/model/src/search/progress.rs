//! How far the search table follows the change log.

use serde::{Deserialize, Serialize};

use crate::LogCursor;

/// The kinds of records that the search table has. Enrollment groups are in memory anyhow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SearchedKind {
    /// Individual enrollments.
    Enrollment,
    /// Registrations.
    Registration,
}

impl SearchedKind {
    /// Returns the number in the store.
    pub const fn code(self) -> i16 {
        match self {
            SearchedKind::Enrollment => 0,
            SearchedKind::Registration => 1,
        }
    }
}

/// How far the search table of an instance follows the change log. Each portion that is written changes it, so that of two
/// writers one writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SearchProgress {
    /// The changes up to here are in the table.
    pub position: LogCursor,
    /// Until which record the table was filled, while it is built; absent once it has all records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub building: Option<BuildPosition>,
    /// Whether it has the tags of initial twins.
    pub has_tags: bool,
}

/// Which records are read next while the table is built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildPosition {
    /// Their kind.
    pub kind: SearchedKind,
    /// The lower-case ID that they come after.
    pub after: Option<String>,
}

impl BuildPosition {
    /// Before the first record.
    pub const START: BuildPosition = BuildPosition { kind: SearchedKind::Enrollment, after: None };
}
