//! The section `[search]`.

use provisioning::search::SearchSettings;
use serde::Deserialize;

/// The search tables.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SearchConfig {
    /// Whether searches use a table that follows the change log and stands in clear. Without it, records are examined one after another.
    pub table: bool,
    /// Whether the table has the tags of initial twins, in clear.
    pub tags: bool,
}

impl SearchConfig {
    /// Returns the settings; `None` if the table is off.
    pub(crate) fn settings(&self) -> Option<SearchSettings> {
        self.table.then_some(SearchSettings { with_tags: self.tags })
    }
}
