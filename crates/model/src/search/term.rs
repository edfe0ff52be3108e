//! Terms: what a record can be found by.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    fmt::{self, Display},
};

use serde_json::{Map, Value};

use super::Searchable;
use crate::{
    AttestedBy, DeviceId, EnrollmentGroup, EnrollmentGroupId, EnrollmentRef, EnrollmentSettings,
    FailureReason, HubName, IndividualEnrollment, KeySlot, KeyUse, Record, Registration, Status, Substatus,
    Timestamp, TwinCollection,
};

/// The longest term, in bytes. Longer tags of initial twins, and those with control characters, cannot be found.
pub const MAX_TERM_BYTES: usize = 256;

/// The most tags of an initial twin that a record is found by, in the order of the twin: 16 KiB of terms.
pub const MAX_TAGS: usize = 64;

pub(super) const CREATED: &str = "created";
pub(super) const UPDATED: &str = "updated";
const TAG: &str = "tag.";

/// What a record can be found by: `name=value`. IDs are in lower case; times sort in their order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SearchTerm(String);

impl SearchTerm {
    fn new(name: &str, value: impl Display) -> SearchTerm {
        SearchTerm(format!("{name}={value}"))
    }

    /// Returns the term of a desired device ID, or of how it begins.
    pub(super) fn device(id: &str) -> SearchTerm {
        SearchTerm::new("device", id.to_ascii_lowercase())
    }

    pub(super) fn group(id: &EnrollmentGroupId) -> SearchTerm {
        SearchTerm::new("group", id.key())
    }

    pub(super) fn hub(hub: &HubName) -> SearchTerm {
        SearchTerm::new("hub", hub)
    }

    pub(super) fn status(name: &str) -> SearchTerm {
        SearchTerm::new("status", name)
    }

    pub(super) fn substatus(substatus: Substatus) -> SearchTerm {
        SearchTerm::new("substatus", substatus.name())
    }

    pub(super) fn mechanism(mechanism: AttestedBy) -> SearchTerm {
        SearchTerm::new("mechanism", mechanism.name())
    }

    pub(super) fn key_slot(slot: KeySlot) -> SearchTerm {
        SearchTerm::new("key", slot.name())
    }

    /// Returns the term of a reason, by its stored name.
    pub(super) fn failure(reason: &FailureReason) -> SearchTerm {
        SearchTerm::new("failure", serde_json::to_value(reason).unwrap_or_default())
    }

    /// Returns the term of a time: its ticks, as hex digits that sort like the times.
    pub(super) fn of_time(name: &str, at: Timestamp) -> SearchTerm {
        SearchTerm::new(name, format_args!("{:016x}", at.ticks().cast_unsigned() ^ (1 << 63)))
    }

    /// Returns the last term that begins so: values are ASCII, or of tags, which are not searched by prefix.
    pub(super) fn end_of_prefix(&self) -> SearchTerm {
        SearchTerm(format!("{}\u{7f}", self.0))
    }

    /// Accepts the text of a term, as it was stored.
    pub fn from_text(text: String) -> SearchTerm {
        SearchTerm(text)
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether records are found by it: it is neither too long nor has control characters.
    fn is_findable(&self) -> bool {
        self.0.len() <= MAX_TERM_BYTES && !self.0.chars().any(char::is_control)
    }

    /// Whether it is a tag of an initial twin.
    pub fn is_tag(&self) -> bool {
        self.0.starts_with(TAG)
    }
}

/// A tag of the initial twin with its value: `location.building=43`. Numbers and truth values are compared by their JSON; in an
/// array, one element has the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagCondition {
    path: String,
    value: String,
}

impl TagCondition {
    /// Parses `path=value`; `None` if the path is empty, or no such tag can be found.
    pub fn parse(text: &str) -> Option<TagCondition> {
        let (path, value) = text.split_once('=')?;
        let is_path = path.split('.').all(|key| !key.is_empty());
        let tag = TagCondition { path: path.to_owned(), value: value.to_owned() };
        (is_path && tag.term().is_findable()).then_some(tag)
    }

    pub(super) fn term(&self) -> SearchTerm {
        SearchTerm::new(&format!("{TAG}{}", self.path), &self.value)
    }
}

impl Display for TagCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.path, self.value)
    }
}

impl Searchable for Registration {
    fn key(&self) -> Cow<'_, str> {
        self.registration_id.key()
    }

    fn terms(&self) -> Vec<SearchTerm> {
        let group = match &self.enrollment {
            EnrollmentRef::Group(group) => Some(SearchTerm::group(group)),
            EnrollmentRef::Individual => None,
        };
        let mut terms = vec![
            SearchTerm::status(self.status.kind().name()),
            SearchTerm::mechanism(self.attestation.mechanism()),
        ];
        terms.extend(group);
        terms.extend(self.attestation.key().map(KeyUse::slot).map(SearchTerm::key_slot));
        if let Some(at) = self.assignment() {
            terms.push(SearchTerm::hub(&at.hub));
            terms.push(SearchTerm::device(at.device_id.as_str()));
            terms.push(SearchTerm::substatus(at.substatus));
        }
        if let Status::Failed { failure, .. } = &self.status {
            terms.push(SearchTerm::failure(&failure.reason));
        }
        terms.extend(times(&self.record));
        terms
    }
}

impl Searchable for IndividualEnrollment {
    fn key(&self) -> Cow<'_, str> {
        self.registration_id.key()
    }

    fn terms(&self) -> Vec<SearchTerm> {
        let device = self.device_id.clone().unwrap_or_else(|| DeviceId::from(&self.registration_id));
        let mut terms =
            vec![SearchTerm::mechanism(self.attestation.mechanism()), SearchTerm::device(device.as_str())];
        terms.extend(settings(&self.settings));
        terms.extend(times(&self.record));
        terms
    }
}

impl Searchable for EnrollmentGroup {
    fn key(&self) -> Cow<'_, str> {
        self.group_id.key()
    }

    fn terms(&self) -> Vec<SearchTerm> {
        let mut terms = vec![SearchTerm::mechanism(self.attestation.mechanism())];
        terms.extend(settings(&self.settings));
        terms.extend(times(&self.record));
        terms
    }
}

fn settings(settings: &EnrollmentSettings) -> Vec<SearchTerm> {
    let mut terms = vec![SearchTerm::status(settings.provisioning_status.name())];
    terms.extend(settings.named_hubs().map(SearchTerm::hub));
    let tags = settings.initial_twin.as_ref().and_then(|twin| twin.tags.as_ref());
    if let Some(tags) = tags {
        terms.extend(tags_of(tags));
    }
    terms
}

/// Returns the terms of the first tags of an initial twin. Writing the twin has bounded their depth.
pub(super) fn tags_of(tags: &TwinCollection) -> BTreeSet<SearchTerm> {
    let mut terms = BTreeSet::new();
    add_tags(TAG, tags.as_map(), &mut terms);
    terms
}

fn times(record: &Record) -> [SearchTerm; 2] {
    [SearchTerm::of_time(CREATED, record.created), SearchTerm::of_time(UPDATED, record.last_updated)]
}

fn add_tags(path: &str, tags: &Map<String, Value>, terms: &mut BTreeSet<SearchTerm>) {
    for (key, value) in tags {
        add_tag(&format!("{path}{key}"), value, terms);
    }
}

fn add_tag(path: &str, value: &Value, terms: &mut BTreeSet<SearchTerm>) {
    // Whatever is below a path that is too long, or in a text that is, cannot be found: it is not even written.
    let text = value.as_str().unwrap_or_default();
    if terms.len() >= MAX_TAGS || path.len() + "=".len() + text.len() > MAX_TERM_BYTES {
        return;
    }
    let term = match value {
        Value::Object(tags) => return add_tags(&format!("{path}."), tags, terms),
        Value::Array(elements) => return elements.iter().for_each(|element| add_tag(path, element, terms)),
        Value::Null => return,
        Value::String(text) => SearchTerm::new(path, text),
        Value::Bool(_) | Value::Number(_) => SearchTerm::new(path, value),
    };
    if term.is_findable() {
        terms.insert(term);
    }
}
