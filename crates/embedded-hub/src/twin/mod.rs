//! Device twins as pure values: what a change makes of a twin, and what a device must hear of it.
//!
//! No IO and no clock: every function takes the old value and the time, and returns the new value or
//! the reason why not. A twin that exists is within the limits.

mod merge;
mod section;

use model::{Carried, InitialTwin, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wire::hub::{Part, TwinChange};

pub(crate) use model::check_integers;
pub use model::twin_rules::TwinRefusal;
pub use section::{Section, Shown};

use model::twin_rules::{self as limits, DESIRED_BYTES, REPORTED_BYTES, TAG_BYTES};

/// Everything the hub keeps of a device's twin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Twin {
    /// For operators only.
    #[serde(rename = "t")]
    pub tags: Map<String, Value>,
    /// What operators want; the device reads it.
    #[serde(rename = "d")]
    pub desired: Section,
    /// What the device says of itself.
    #[serde(rename = "r")]
    pub reported: Section,
    /// Counts changes of tags and desired properties; shown as the etag.
    #[serde(rename = "e")]
    pub etag: u64,
    /// Counts all changes.
    #[serde(rename = "v")]
    pub version: u64,
}

/// How a change that comes as a document is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As a merge patch on what is there.
    Patch,
    /// As all there shall be of tags and desired properties.
    Replace,
}

/// A change of the desired properties that a listening device must hear of.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredChange {
    /// The section's new version.
    pub version: u64,
    /// A merge patch from the old to the new value.
    pub patch: Map<String, Value>,
}

impl DesiredChange {
    /// What the device receives: the patch with `$version` inside, where SDKs look for it.
    pub fn body(&self) -> Vec<u8> {
        let mut body = self.patch.clone();
        body.insert("$version".to_owned(), self.version.into());
        Value::Object(body).to_string().into_bytes()
    }
}

impl Twin {
    /// The twin of a device that was just created.
    pub fn new(now: Timestamp) -> Twin {
        Twin {
            tags: Map::new(),
            desired: Section::new(now),
            reported: Section::new(now),
            etag: 1,
            version: FIRST_VERSION,
        }
    }

    /// A new twin that starts with this content.
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

    /// A new twin that holds what a device had at another hub, in the same versions.
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

    /// Whether nothing has happened since both twins began with the same content.
    pub fn stands_as(&self, begun: &Twin) -> bool {
        let same = |own: &Section, other: &Section| own.version == other.version && own.value == other.value;
        self.tags == begun.tags
            && same(&self.desired, &begun.desired)
            && same(&self.reported, &begun.reported)
    }

    /// This twin, begun again as `begun`; its etag and version go on counting, so that none is ever
    /// used twice.
    pub fn restarted(&self, begun: Twin) -> Twin {
        Twin { etag: self.etag + 1, version: self.version + 1, ..begun }
    }

    /// Applies an operator's change. On refusal the twin must be thrown away.
    pub fn change(
        &mut self,
        change: TwinChange,
        mode: Mode,
        now: Timestamp,
    ) -> Result<Option<DesiredChange>, TwinRefusal> {
        self.change_tags(change.tags, mode)?;
        let heard = self.change_desired(change.properties.desired, mode, now)?;
        self.etag += 1;
        self.version += 1;
        Ok(heard)
    }

    /// Applies the device's patch to its reported properties. On refusal the twin must be thrown away.
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

/// SDKs send whole sections back, with what the hub wrote into them.
fn without_annotations(mut section: Map<String, Value>) -> Map<String, Value> {
    section.shift_remove("$metadata");
    section.shift_remove("$version");
    section
}

/// A new twin's version is that of its two sections together.
const FIRST_VERSION: u64 = 2;

#[cfg(test)]
mod tests;
