//! Desired or reported properties: a document, its version, and when each part of it last changed.

use std::collections::BTreeMap;

use model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::merge;

/// Desired or reported properties.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// The properties, without the hub's annotations.
    #[serde(rename = "p")]
    pub value: Map<String, Value>,
    /// Starts at 1; every accepted change adds one.
    #[serde(rename = "v")]
    pub version: u64,
    #[serde(rename = "m")]
    metadata: Metadata,
}

/// When and in which version a property last changed, and the same for the properties inside it. Stored as an array, because there
/// is one for each property.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Metadata(Timestamp, u64, BTreeMap<String, Metadata>);

/// Whether `$metadata` has versions besides times, as only desired properties have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataDetail {
    /// `$lastUpdated`.
    Times,
    /// `$lastUpdated` and `$lastUpdatedVersion`.
    TimesAndVersions,
}

impl Section {
    /// Creates an empty section in version 1.
    pub fn new(now: Timestamp) -> Section {
        Section { value: Map::new(), version: 1, metadata: Metadata(now, 1, BTreeMap::new()) }
    }

    /// Creates a section with this content, in this version, but at least in version 1.
    pub fn of(content: &Map<String, Value>, version: u64, now: Timestamp) -> Section {
        let mut section = Section::new(now);
        section.version = version.max(1);
        section.metadata.1 = section.version;
        merge::merge(&mut section.value, content);
        section.metadata.stamp(content, &section.value, (now, section.version));
        section
    }

    /// Applies a merge patch.
    pub fn patch(&mut self, patch: &Map<String, Value>, now: Timestamp) {
        self.version += 1;
        merge::merge(&mut self.value, patch);
        self.metadata.stamp(patch, &self.value, (now, self.version));
    }

    /// Replaces the content with `new`; returns the merge patch that does the same.
    pub fn replace(&mut self, new: &Map<String, Value>, now: Timestamp) -> Map<String, Value> {
        let old = std::mem::take(&mut self.value);
        self.version += 1;
        self.metadata = Metadata(now, self.version, BTreeMap::new());
        merge::merge(&mut self.value, new);
        self.metadata.stamp(new, &self.value, (now, self.version));
        merge::replacement(&old, &self.value)
    }

    /// Returns the section for the device: with `$version`.
    pub fn for_device(&self) -> Map<String, Value> {
        let mut section = self.value.clone();
        section.insert("$version".to_owned(), self.version.into());
        section
    }

    /// Returns the section for services: with `$metadata` and `$version`.
    pub fn for_service(&self, detail: MetadataDetail) -> Map<String, Value> {
        let mut section = self.value.clone();
        section.insert("$metadata".to_owned(), Value::Object(self.metadata.json(detail)));
        section.insert("$version".to_owned(), self.version.into());
        section
    }
}

impl Metadata {
    /// Records that `patch` led to `value`: every part in the patch changed now.
    fn stamp(&mut self, patch: &Map<String, Value>, value: &Map<String, Value>, now: (Timestamp, u64)) {
        (self.0, self.1) = now;
        let nothing = Map::new();
        for (key, change) in patch {
            let Some(now_there) = value.get(key) else {
                self.2.remove(key);
                continue;
            };
            let child = self.2.entry(key.clone()).or_insert_with(|| Metadata(now.0, now.1, BTreeMap::new()));
            match (change, now_there) {
                (Value::Object(change), Value::Object(object)) => child.stamp(change, object, now),
                _ => {
                    child.2.clear();
                    child.stamp(&nothing, &nothing, now);
                }
            }
        }
    }

    fn json(&self, detail: MetadataDetail) -> Map<String, Value> {
        let mut object = Map::new();
        object.insert("$lastUpdated".to_owned(), self.0.to_string().into());
        if detail == MetadataDetail::TimesAndVersions {
            object.insert("$lastUpdatedVersion".to_owned(), self.1.into());
        }
        for (key, child) in &self.2 {
            object.insert(key.clone(), Value::Object(child.json(detail)));
        }
        object
    }

    #[cfg(test)]
    pub(super) fn mirrors(&self, value: &Map<String, Value>) -> bool {
        self.2.len() == value.len()
            && value.iter().all(|(key, value)| {
                self.2.get(key).is_some_and(|child| match value {
                    Value::Object(object) => child.mirrors(object),
                    _ => child.2.is_empty(),
                })
            })
    }
}

#[cfg(test)]
impl Section {
    /// Returns whether the metadata has the shape of the value.
    pub(super) fn is_mirrored(&self) -> bool {
        self.metadata.mirrors(&self.value)
    }
}
