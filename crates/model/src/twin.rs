//! Twin content that an enrollment carries to a hub.

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::twin_rules::{self, TwinRefusal};

/// A JSON object of an enrollment's or a twin's author: kept and returned exactly as it was given. Clones share it,
/// because every order for a device of an enrollment carries its initial twin.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Map<String, Value>")]
pub struct TwinCollection(Arc<Map<String, Value>>);

impl TwinCollection {
    /// The object.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// True when there is nothing in it.
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

/// What a device's twin starts with: tags, and desired properties.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InitialTwin {
    /// Tags, seen by the operator only. `None` when the author left them out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<TwinCollection>,
    /// Desired properties, read by the device. `None` when the author left them out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired: Option<TwinCollection>,
}

impl InitialTwin {
    /// The initial twin with these parts, if a hub would take it. What an export of a twin leaves behind (`$metadata`,
    /// `$version`) is removed, as the hosted service's own tools need it.
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

/// What a device takes along from one hub to another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Carried {
    /// Tags.
    pub tags: Map<String, Value>,
    /// Desired properties.
    pub desired: Properties,
    /// Reported properties.
    pub reported: Properties,
    /// Set when an operator has disabled the device at its hub, with the reason that was given: it stays disabled.
    pub disabled: Option<String>,
}

/// One half of a twin's properties.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties {
    /// Without the hub's annotations.
    pub value: Map<String, Value>,
    /// Counts changes.
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
