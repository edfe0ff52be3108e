//! A device twin as service SDKs read it, and the changes they send.

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};

use super::device::{AuthenticationType, Capabilities, ConnectionState, Status, ThumbprintPair};

/// A twin with the parts of the identity that the service shows beside it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Twin {
    /// The device.
    pub device_id: String,
    /// The twin's version: base64 of an eight-byte big-endian counter.
    pub etag: String,
    /// The identity's version.
    pub device_etag: String,
    /// Whether the device may connect.
    pub status: Status,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// When `status` last changed.
    pub status_update_time: String,
    /// Whether the device is connected now.
    pub connection_state: ConnectionState,
    /// When the device was last heard of.
    pub last_activity_time: String,
    /// Messages waiting for the device.
    pub cloud_to_device_message_count: u64,
    /// The kind of credentials.
    pub authentication_type: AuthenticationType,
    /// The thumbprints, null where there are none.
    pub x509_thumbprint: ThumbprintPair,
    /// The digital twin model that the device said it follows; empty when it said none.
    pub model_id: String,
    /// Counts every write to the twin.
    pub version: u64,
    /// For operators only: the device never sees them. Left out when there are none, as at the hosted hub.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub tags: Map<String, Value>,
    /// What the device sees.
    pub properties: TwinProperties,
    /// What the device can do.
    pub capabilities: Capabilities,
}

/// The two halves of a twin, each with `$metadata` and `$version` inside.
#[derive(Debug, Serialize)]
pub struct TwinProperties {
    /// What operators want.
    pub desired: Map<String, Value>,
    /// What the device says.
    pub reported: Map<String, Value>,
}

/// The writable parts of a twin in a PATCH or PUT body; everything else in it is ignored, because
/// SDKs send back whole twins.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TwinChange {
    /// New tags.
    pub tags: Part,
    /// New properties.
    pub properties: PropertiesChange,
}

/// The writable half of `properties`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PropertiesChange {
    /// New desired properties.
    pub desired: Part,
}

/// A part of a twin that a body may leave out, set to null, or give.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Part {
    /// Left out: a patch keeps what is there, a replacement wipes it.
    #[default]
    Absent,
    /// Null: wiped, as in any merge patch.
    Null,
    /// Given.
    Object(Map<String, Value>),
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Part, D::Error> {
        let given = Option::<Map<String, Value>>::deserialize(deserializer)?;
        Ok(given.map_or(Part::Null, Part::Object))
    }
}

impl<'de> Deserialize<'de> for PropertiesChange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PropertiesChange, D::Error> {
        let mut properties = Option::<Map<String, Value>>::deserialize(deserializer)?.unwrap_or_default();
        Ok(PropertiesChange { desired: Part::taken_from(&mut properties, "desired")? })
    }
}

impl Part {
    /// Takes a part out of `properties`.
    pub(super) fn taken_from<E: de::Error>(
        properties: &mut Map<String, Value>,
        name: &'static str,
    ) -> Result<Part, E> {
        match properties.shift_remove(name) {
            None => Ok(Part::Absent),
            Some(Value::Null) => Ok(Part::Null),
            Some(Value::Object(part)) => Ok(Part::Object(part)),
            Some(_) => Err(de::Error::custom(format!("properties.{name} must be an object"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, tags: &Part, desired: &Part) {
        let change: TwinChange = serde_json::from_str(body).unwrap();
        assert_eq!((&change.tags, &change.properties.desired), (tags, desired), "{body}");
    }

    #[test]
    fn absent_null_and_given_are_told_apart() {
        let one = Part::Object(Map::from_iter([("a".to_owned(), Value::from(1))]));
        check("{}", &Part::Absent, &Part::Absent);
        check(r#"{"tags":null}"#, &Part::Null, &Part::Absent);
        check(r#"{"tags":{"a":1},"deviceId":"d","version":4}"#, &one, &Part::Absent);
        check(r#"{"properties":null}"#, &Part::Absent, &Part::Absent);
        check(r#"{"properties":{"desired":{"a":1},"reported":{"b":2}}}"#, &Part::Absent, &one);
        check(r#"{"properties":{"desired":null}}"#, &Part::Absent, &Part::Null);
    }

    #[test]
    fn other_kinds_of_value_are_refused() {
        for body in [
            r#"{"tags":[]}"#,
            r#"{"tags":1}"#,
            r#"{"properties":{"desired":"x"}}"#,
            r#"{"properties":[]}"#,
            "[1]",
        ] {
            assert!(serde_json::from_str::<TwinChange>(body).is_err(), "{body}");
        }
    }
}
