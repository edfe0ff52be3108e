//! Twin content that an enrollment carries to a hub.

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

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
