//! How IDs begin that a search is for.

use super::SearchTerm;
use crate::DeviceId;

/// The longest prefix: as long as an ID.
const PREFIX_BYTES: usize = 128;

/// How the lower-case IDs begin that a search is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPrefix(String);

impl IdPrefix {
    /// Sorts after all IDs: none has such a letter.
    pub const AFTER_ALL: &str = "\u{7f}";

    /// Parses a prefix of IDs; `None` if no ID begins so.
    pub fn parse(text: &str) -> Option<IdPrefix> {
        let is_of_ids = |letter: char| letter.is_ascii_alphanumeric() || "-._:".contains(letter);
        let is_valid = (1..=PREFIX_BYTES).contains(&text.len()) && text.chars().all(is_of_ids);
        is_valid.then(|| IdPrefix(text.to_ascii_lowercase()))
    }

    /// Returns the prefix in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether a lower-case ID begins so.
    pub fn is_prefix_of(&self, key: &str) -> bool {
        key.starts_with(&self.0)
    }

    /// Returns a text that sorts before all IDs with the prefix, and after all before them.
    pub fn just_before(&self) -> String {
        let (last, rest) = self.0.as_bytes().split_last().unwrap_or((&b'-', b""));
        let mut before = String::from_utf8_lossy(rest).into_owned();
        before.push(char::from(last - 1));
        before.push_str(IdPrefix::AFTER_ALL);
        before
    }

    /// Returns a text that sorts after all IDs with the prefix, and before all after them.
    pub fn just_after(&self) -> String {
        format!("{}{}", self.0, IdPrefix::AFTER_ALL)
    }
}

/// How the device IDs begin that a search is for, in any case: hubs distinguish case, operators who search do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceIdPrefix(String);

impl DeviceIdPrefix {
    /// Parses a prefix of device IDs; `None` if no device ID begins so. Each prefix of a device ID is one, too.
    pub fn parse(text: &str) -> Option<DeviceIdPrefix> {
        DeviceId::parse(text).ok().map(|_| DeviceIdPrefix(text.to_ascii_lowercase()))
    }

    /// Returns the prefix in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn term(&self) -> SearchTerm {
        SearchTerm::device(&self.0)
    }
}
