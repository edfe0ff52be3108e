//! Searches among enrollments and registrations. IDs, groups and statuses are found by index; other conditions are applied to each page,
//! so that one request examines no more records than a page has.

use model::{
    EnrollmentGroupId, FailureReason, HubName, KeySlot, KeyUse, Registration, Status, StatusKind, Timestamp,
};

use crate::ports::{Page, PageRequest};

/// The longest prefix: as long as an ID.
const PREFIX_BYTES: usize = 128;

/// How the lower-case IDs begin that a search is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPrefix(String);

impl IdPrefix {
    /// Parses a prefix of IDs; `None` if no ID begins so.
    pub fn parse(text: &str) -> Option<IdPrefix> {
        let is_of_ids = |letter: char| letter.is_ascii_alphanumeric() || "-._:".contains(letter);
        let is_valid = (1..=PREFIX_BYTES).contains(&text.len()) && text.chars().all(is_of_ids);
        is_valid.then(|| IdPrefix(text.to_ascii_lowercase()))
    }

    /// Returns a text that sorts before all IDs with the prefix, and after all before them.
    fn just_before(&self) -> String {
        let (last, rest) = self.0.as_bytes().split_last().unwrap_or((&b'-', b""));
        let mut before = String::from_utf8_lossy(rest).into_owned();
        before.push(char::from(last - 1));
        // No ID has such a letter.
        before.push('\u{7f}');
        before
    }
}

/// Begins a listing at a prefix, if it does not continue.
pub(super) fn begin(prefix: Option<&IdPrefix>, page: PageRequest) -> PageRequest {
    let after = page.after.or_else(|| prefix.map(IdPrefix::just_before));
    PageRequest { after, ..page }
}

/// Ends a page where the IDs do not have the prefix any more.
pub(super) fn end<T>(prefix: Option<&IdPrefix>, page: &mut Page<T>, key: impl Fn(&T) -> String) {
    let Some(IdPrefix(prefix)) = prefix else { return };
    let count = page.items.len();
    page.items.retain(|item| key(item).starts_with(prefix));
    if page.items.len() < count {
        page.next = None;
    }
}

/// A search among registrations. An absent member is no condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistrationSearch {
    /// The status.
    pub status: Option<StatusKind>,
    /// The group that the device is registered through.
    pub group: Option<EnrollmentGroupId>,
    /// How the registration ID begins.
    pub prefix: Option<IdPrefix>,
    /// The hub that has the device.
    pub hub: Option<HubName>,
    /// Why the registration failed: one of these.
    pub failures: Option<Vec<FailureReason>>,
    /// The key of its enrollment that the device used last.
    pub key: Option<KeySlot>,
    /// Not changed before this.
    pub since: Option<Timestamp>,
    /// Not changed after this.
    pub until: Option<Timestamp>,
}

impl RegistrationSearch {
    /// Whether a registration meets the search, but for its prefix.
    pub(super) fn admits(&self, registration: &Registration) -> bool {
        let updated = registration.record.last_updated;
        let hub = || registration.assignment().map(|at| &at.hub);
        let key = || registration.attestation.key().map(KeyUse::slot);
        self.status.is_none_or(|status| registration.status.kind() == status)
            && self.hub.as_ref().is_none_or(|wanted| hub() == Some(wanted))
            && self.key.is_none_or(|wanted| key() == Some(wanted))
            && self.failures.as_ref().is_none_or(|wanted| is_failed_by(registration, wanted))
            && self.since.is_none_or(|since| updated >= since)
            && self.until.is_none_or(|until| updated <= until)
    }
}

fn is_failed_by(registration: &Registration, wanted: &[FailureReason]) -> bool {
    matches!(&registration.status, Status::Failed { failure, .. } if wanted.contains(&failure.reason))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Of two IDs, the one with the prefix follows the begin of the listing; one that sorts before the prefix does not.
        #[test]
        fn a_listing_begins_with_the_first_id_that_has_the_prefix(
            prefix in "[a-z0-9._:-]{1,4}", rest in "[a-z0-9._:-]{0,3}", other in "[a-z0-9._:-]{1,6}",
        ) {
            let before = IdPrefix::parse(&prefix).unwrap().just_before();
            let longer = format!("{prefix}{rest}");
            prop_assert!(before < longer);
            prop_assert_eq!(other > before, other >= prefix);
        }
    }

    #[test]
    fn prefixes_have_letters_of_ids() {
        assert_eq!(IdPrefix::parse("Line-1."), Some(IdPrefix("line-1.".to_owned())));
        for wrong in ["", "a b", "a/", "\u{e9}", &"x".repeat(129)] {
            assert_eq!(IdPrefix::parse(wrong), None, "{wrong}");
        }
    }
}
