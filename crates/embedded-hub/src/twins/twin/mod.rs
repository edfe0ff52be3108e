//! Device twins as pure values: their changes, and the notifications of devices.
//!
//! No IO and no clock: every function takes the old value and the time, and returns the new value or the reason of a refusal. A
//! twin that exists is within the limits.

mod merge;
mod section;

use model::{
    Carried, InitialTwin, Timestamp,
    twin_rules::{self as limits, DESIRED_BYTES, REPORTED_BYTES, TAG_BYTES},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wire::hub::{Part, TwinChange};

pub use model::twin_rules::TwinRefusal;
pub(crate) use model::with_exact_integers;
pub use section::{MetadataDetail, Section};

/// A device's twin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Twin {
    /// Tags, for services only.
    #[serde(rename = "t")]
    pub tags: Map<String, Value>,
    /// Desired properties, which services set and the device reads.
    #[serde(rename = "d")]
    pub desired: Section,
    /// Reported properties, which the device sets.
    #[serde(rename = "r")]
    pub reported: Section,
    /// Counts changes of tags and desired properties; the etag.
    #[serde(rename = "e")]
    pub etag: u64,
    /// Counts all changes.
    #[serde(rename = "v")]
    pub version: u64,
}

/// How a document changes a twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As a merge patch on the current content.
    Patch,
    /// As the new content of tags and desired properties.
    Replace,
}

/// A change of the desired properties that a subscribed device is notified of.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredChange {
    /// The section's new version.
    pub version: u64,
    /// A merge patch from the old to the new value.
    pub patch: Map<String, Value>,
}

impl DesiredChange {
    /// Returns the body of the notification: the patch with `$version` inside, where SDKs read it.
    pub fn body(&self) -> Vec<u8> {
        let mut body = self.patch.clone();
        body.insert("$version".to_owned(), self.version.into());
        Value::Object(body).to_string().into_bytes()
    }
}

impl Twin {
    /// Creates an empty twin.
    pub fn new(now: Timestamp) -> Twin {
        Twin {
            tags: Map::new(),
            desired: Section::new(now),
            reported: Section::new(now),
            etag: 1,
            version: FIRST_VERSION,
        }
    }

    /// Creates a twin with this content.
    pub fn seeded(seed: &InitialTwin, now: Timestamp) -> Result<Twin, TwinRefusal> {
        let part = |given: &Option<model::TwinCollection>| match given {
            Some(collection) if !collection.is_empty() => Part::Object(collection.as_map().clone()),
            _ => Part::Absent,
        };
        let mut change = TwinChange { tags: part(&seed.tags), ..TwinChange::default() };
        change.properties.desired = part(&seed.desired);
        let mut twin = Twin::new(now);
        twin.change(change, Mode::Patch, now)?;
        twin.etag = 1;
        twin.version = FIRST_VERSION;
        Ok(twin)
    }

    /// Creates a twin with the content that the device had at another hub, in the same versions.
    pub fn carried(carried: &Carried, now: Timestamp) -> Result<Twin, TwinRefusal> {
        let mut tags = Map::new();
        merge::merge(&mut tags, &limits::checked(carried.tags.clone())?);
        limits::check_size("tags", &tags, TAG_BYTES)?;
        let section = |name, properties: &model::Properties, most| {
            let value = limits::checked(without_annotations(properties.value.clone()))?;
            let section = Section::of(&value, properties.version, now);
            limits::check_size(name, &section.value, most).map(|()| section)
        };
        let desired = section("desired", &carried.desired, DESIRED_BYTES)?;
        let reported = section("reported", &carried.reported, REPORTED_BYTES)?;
        let version = desired.version + reported.version;
        Ok(Twin { tags, desired, reported, etag: 1, version })
    }

    /// Returns whether the content and its versions equal those of `initial`.
    pub fn is_unchanged_since(&self, initial: &Twin) -> bool {
        let same = |own: &Section, other: &Section| own.version == other.version && own.value == other.value;
        self.tags == initial.tags
            && same(&self.desired, &initial.desired)
            && same(&self.reported, &initial.reported)
    }

    /// Returns this twin with the content of `initial`; etag and version continue to count, so that none is used twice.
    pub fn restarted(&self, initial: Twin) -> Twin {
        Twin { etag: self.etag + 1, version: self.version + 1, ..initial }
    }

    /// Applies a service's change. After a refusal the twin must be discarded.
    pub fn change(
        &mut self,
        change: TwinChange,
        mode: Mode,
        now: Timestamp,
    ) -> Result<Option<DesiredChange>, TwinRefusal> {
        self.change_tags(change.tags, mode)?;
        let desired_change = self.change_desired(change.properties.desired, mode, now)?;
        self.etag += 1;
        self.version += 1;
        Ok(desired_change)
    }

    /// Applies the device's patch to its reported properties. After a refusal the twin must be discarded.
    pub fn report(&mut self, patch: Map<String, Value>, now: Timestamp) -> Result<u64, TwinRefusal> {
        let patch = limits::checked(without_annotations(patch))?;
        self.reported.patch(&patch, now);
        limits::check_size("reported", &self.reported.value, REPORTED_BYTES)?;
        self.version += 1;
        Ok(self.reported.version)
    }

    fn change_tags(&mut self, part: Part, mode: Mode) -> Result<(), TwinRefusal> {
        match (part, mode) {
            (Part::Absent, Mode::Patch) => return Ok(()),
            (Part::Absent | Part::Null, _) => self.tags = Map::new(),
            (Part::Object(tags), Mode::Patch) => merge::merge(&mut self.tags, &limits::checked(tags)?),
            (Part::Object(tags), Mode::Replace) => {
                self.tags = Map::new();
                merge::merge(&mut self.tags, &limits::checked(tags)?);
            }
        }
        limits::check_size("tags", &self.tags, TAG_BYTES)
    }

    fn change_desired(
        &mut self,
        part: Part,
        mode: Mode,
        now: Timestamp,
    ) -> Result<Option<DesiredChange>, TwinRefusal> {
        let patch = match (part, mode) {
            (Part::Absent, Mode::Patch) => return Ok(None),
            (Part::Absent | Part::Null, _) => self.desired.replace(&Map::new(), now),
            (Part::Object(desired), Mode::Patch) => {
                let patch = limits::checked(without_annotations(desired))?;
                self.desired.patch(&patch, now);
                patch
            }
            (Part::Object(desired), Mode::Replace) => {
                let desired = limits::checked(without_annotations(desired))?;
                self.desired.replace(&desired, now)
            }
        };
        limits::check_size("desired", &self.desired.value, DESIRED_BYTES)?;
        Ok(Some(DesiredChange { version: self.desired.version, patch }))
    }
}

/// Removes the annotations of the hub: SDKs send whole sections back.
fn without_annotations(mut section: Map<String, Value>) -> Map<String, Value> {
    section.shift_remove("$metadata");
    section.shift_remove("$version");
    section
}

/// The version of a new twin: the sum of those of its two sections.
const FIRST_VERSION: u64 = 2;

#[cfg(test)]
mod tests;
