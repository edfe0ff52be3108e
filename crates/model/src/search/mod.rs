//! Searches among enrollments and registrations: one form for the API, for command lines and for pages.

mod condition;
mod prefix;
mod progress;
mod term;

use std::borrow::Cow;

use crate::{
    AttestedBy, EnrollmentGroupId, FailureReason, HubName, KeySlot, ProvisioningStatus, StatusKind,
    Substatus, Timestamp,
};

pub use condition::Condition;
pub use prefix::{DeviceIdPrefix, IdPrefix};
pub use progress::{BuildPosition, SearchProgress, SearchedKind};
pub use term::{MAX_TAGS, MAX_TERM_BYTES, SearchTerm, TagCondition};

/// A record that can be searched for.
pub trait Searchable {
    /// Returns its lower-case ID.
    fn key(&self) -> Cow<'_, str>;

    /// Returns what it can be found by, besides its ID.
    fn terms(&self) -> Vec<SearchTerm>;
}

/// What a search asks of records, of whichever kind: how their IDs begin, and conditions on their terms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// How the ID begins.
    pub prefix: Option<IdPrefix>,
    /// The conditions, all of which must hold.
    pub conditions: Vec<Condition>,
}

impl Search {
    /// Returns whether a record meets the search.
    pub fn matches(&self, record: &impl Searchable) -> bool {
        let has_prefix = self.prefix.as_ref().is_none_or(|prefix| prefix.is_prefix_of(&record.key()));
        has_prefix && (self.conditions.is_empty() || self.holds_for(&record.terms()))
    }

    /// Returns whether the conditions hold for a record with these terms.
    pub fn holds_for(&self, terms: &[SearchTerm]) -> bool {
        self.conditions.iter().all(|condition| condition.holds_for(terms))
    }
}

/// A period of time, with both ends. An absent end is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Period {
    /// Not before this.
    pub since: Option<Timestamp>,
    /// Not after this.
    pub until: Option<Timestamp>,
}

impl Period {
    fn condition(self, name: &str) -> Option<Condition> {
        let is_open = self == Period::default();
        let (first, last) = (Timestamp::from_ticks(i64::MIN), Timestamp::from_ticks(i64::MAX));
        let time = |at| SearchTerm::of_time(name, at);
        let range = time(self.since.unwrap_or(first))..=time(self.until.unwrap_or(last));
        (!is_open).then(|| Condition::within(range))
    }
}

/// A search among registrations. An absent member is no condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistrationSearch {
    /// How the registration ID begins.
    pub prefix: Option<IdPrefix>,
    /// How the device ID at the hub begins.
    pub device: Option<DeviceIdPrefix>,
    /// The group that the device is registered through.
    pub group: Option<EnrollmentGroupId>,
    /// The hub that has the device.
    pub hub: Option<HubName>,
    /// The status.
    pub status: Option<StatusKind>,
    /// How the device got to its hub.
    pub substatus: Option<Substatus>,
    /// The mechanism of the last attestation.
    pub mechanism: Option<AttestedBy>,
    /// The key of its enrollment that the device used last.
    pub key: Option<KeySlot>,
    /// Why the registration failed: one of these.
    pub failures: Option<Vec<FailureReason>>,
    /// When it was created.
    pub created: Period,
    /// When it was last changed.
    pub updated: Period,
}

impl From<&RegistrationSearch> for Search {
    fn from(search: &RegistrationSearch) -> Search {
        let one = |term: SearchTerm| Condition::any_of(vec![term]);
        let failures = search.failures.as_ref();
        let conditions = [
            search.device.as_ref().map(|prefix| Condition::beginning(&prefix.term())),
            search.group.as_ref().map(|group| one(SearchTerm::group(group))),
            search.hub.as_ref().map(|hub| one(SearchTerm::hub(hub))),
            search.status.map(|status| one(SearchTerm::status(status.name()))),
            search.substatus.map(|substatus| one(SearchTerm::substatus(substatus))),
            search.mechanism.map(|mechanism| one(SearchTerm::mechanism(mechanism))),
            search.key.map(|slot| one(SearchTerm::key_slot(slot))),
            failures.map(|these| Condition::any_of(these.iter().map(SearchTerm::failure).collect())),
            search.created.condition(term::CREATED),
            search.updated.condition(term::UPDATED),
        ];
        Search { prefix: search.prefix.clone(), conditions: conditions.into_iter().flatten().collect() }
    }
}

/// A search among individual enrollments or enrollment groups. An absent member is no condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnrollmentSearch {
    /// How the ID begins.
    pub prefix: Option<IdPrefix>,
    /// How the device ID begins that the device gets at its hub. No group has one.
    pub device: Option<DeviceIdPrefix>,
    /// A hub that the enrollment names.
    pub hub: Option<HubName>,
    /// Whether it is enabled.
    pub status: Option<ProvisioningStatus>,
    /// The attestation mechanism.
    pub mechanism: Option<AttestedBy>,
    /// A tag of the initial twin.
    pub tag: Option<TagCondition>,
    /// When it was created.
    pub created: Period,
    /// When it was last changed.
    pub updated: Period,
}

impl From<&EnrollmentSearch> for Search {
    fn from(search: &EnrollmentSearch) -> Search {
        let one = |term: SearchTerm| Condition::any_of(vec![term]);
        let conditions = [
            search.device.as_ref().map(|prefix| Condition::beginning(&prefix.term())),
            search.hub.as_ref().map(|hub| one(SearchTerm::hub(hub))),
            search.status.map(|status| one(SearchTerm::status(status.name()))),
            search.mechanism.map(|mechanism| one(SearchTerm::mechanism(mechanism))),
            search.tag.as_ref().map(|tag| one(tag.term())),
            search.created.condition(term::CREATED),
            search.updated.condition(term::UPDATED),
        ];
        Search { prefix: search.prefix.clone(), conditions: conditions.into_iter().flatten().collect() }
    }
}

#[cfg(test)]
mod tests;
