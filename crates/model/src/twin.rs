//! Twins: the initial twin of an enrollment, and the data of a device that moves.

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::twin_rules::{self, TwinRefusal};

/// A JSON object that is stored and returned exactly as it was sent. Clones share it, because every device spec of an enrollment
/// has its initial twin.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Map<String, Value>")]
pub struct TwinCollection(Arc<Map<String, Value>>);

impl TwinCollection {
    /// Returns the object.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Whether the object has no members.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Map<String, Value>> for TwinCollection {
    fn from(object: Map<String, Value>) -> TwinCollection {
        TwinCollection(Arc::new(object))
    }
}

impl Serialize for TwinCollection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_map().serialize(serializer)
    }
}

/// The initial twin of a device: tags and desired properties.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InitialTwin {
    /// The tags, which only operators see. `None` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<TwinCollection>,
    /// The desired properties, which the device reads. `None` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired: Option<TwinCollection>,
}

impl InitialTwin {
    /// Makes an initial twin, if a hub would accept it. `$metadata` and `$version`, which exported twins have, are removed, as the hosted
    /// service's own tools need it.
    pub fn checked(
        tags: Option<Map<String, Value>>,
        desired: Option<Map<String, Value>>,
    ) -> Result<InitialTwin, TwinRefusal> {
        let part = |name, part: Option<Map<String, Value>>, most| {
            let part = part.map(without_annotations).map(twin_rules::checked).transpose()?;
            part.iter().try_for_each(|part| twin_rules::check_size(name, part, most))?;
            Ok(part.map(TwinCollection::from))
        };
        Ok(InitialTwin {
            tags: part("tags", tags, twin_rules::TAG_BYTES)?,
            desired: part("desired", desired, twin_rules::DESIRED_BYTES)?,
        })
    }
}

fn without_annotations(mut part: Map<String, Value>) -> Map<String, Value> {
    part.shift_remove("$metadata");
    part.shift_remove("$version");
    part
}

/// The data of a device that moves from one hub to another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Carried {
    /// Tags.
    pub tags: Map<String, Value>,
    /// Desired properties.
    pub desired: Properties,
    /// Reported properties.
    pub reported: Properties,
    /// The reason, which may be empty, if an operator disabled the device at its hub: it stays disabled.
    pub disabled: Option<String>,
}

/// One half of a twin's properties.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties {
    /// Without the hub's annotations.
    pub value: Map<String, Value>,
    /// The number of changes.
    pub version: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without the `float_roundtrip` feature of serde_json each reading moves some numbers by a digit.
    #[test]
    fn numbers_are_stored_as_they_are() {
        let text = r#"{"n":1.2345678901234568e+20,"small":5e-324,"tenth":0.1}"#;
        let twin: TwinCollection = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&twin).unwrap(), text);
    }
}
