//! Device twins as service SDKs parse them, and the changes that SDKs send.

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};

use super::device::{AuthenticationType, Capabilities, ConnectionState, Status, ThumbprintPair};

/// A twin, with the members of the device's identity that the service API includes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Twin {
    /// The device ID.
    pub device_id: String,
    /// The etag of the twin: base64 of an eight-byte big-endian counter.
    pub etag: String,
    /// The etag of the identity.
    pub device_etag: String,
    /// Whether the device may connect.
    pub status: Status,
    /// The reason of the status, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// The time at which `status` last changed.
    pub status_update_time: String,
    /// Whether the device is connected now.
    pub connection_state: ConnectionState,
    /// The time at which the device last connected or sent a message.
    pub last_activity_time: String,
    /// The number of messages that are queued for the device.
    pub cloud_to_device_message_count: u64,
    /// The kind of credentials.
    pub authentication_type: AuthenticationType,
    /// The certificate thumbprints; null where there are none.
    pub x509_thumbprint: ThumbprintPair,
    /// The digital twin model that the device announced; empty if there is none.
    pub model_id: String,
    /// The number of writes to the twin.
    pub version: u64,
    /// The tags, which the device never gets. Omitted if there are none, as Azure IoT Hub does.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub tags: Map<String, Value>,
    /// The properties, which the device gets.
    pub properties: TwinProperties,
    /// The capabilities of the device.
    pub capabilities: Capabilities,
}

/// The properties of a twin, each kind with its `$metadata` and `$version`.
#[derive(Debug, Serialize)]
pub struct TwinProperties {
    /// The desired properties, which operators set.
    pub desired: Map<String, Value>,
    /// The reported properties, which the device sets.
    pub reported: Map<String, Value>,
}

/// The writable members of a twin in the body of a PATCH or PUT. Other members are ignored: SDKs send whole twins.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TwinChange {
    /// The new tags.
    pub tags: Part,
    /// The new properties.
    pub properties: PropertiesChange,
}

/// The writable members of `properties`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PropertiesChange {
    /// The new desired properties.
    pub desired: Part,
}

/// A part of a twin in the body of a change.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Part {
    /// The part is absent: a patch keeps the stored part, a replacement clears it.
    #[default]
    Absent,
    /// The part is null, which clears it, as in any merge patch (RFC 7396).
    Null,
    /// The part has members.
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
    /// Removes the part `name` from `properties`, and returns it.
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
    fn absent_parts_differ_from_null() {
        let one = Part::Object(Map::from_iter([("a".to_owned(), Value::from(1))]));
        check("{}", &Part::Absent, &Part::Absent);
        check(r#"{"tags":null}"#, &Part::Null, &Part::Absent);
        check(r#"{"tags":{"a":1},"deviceId":"d","version":4}"#, &one, &Part::Absent);
        check(r#"{"properties":null}"#, &Part::Absent, &Part::Absent);
        check(r#"{"properties":{"desired":{"a":1},"reported":{"b":2}}}"#, &Part::Absent, &one);
        check(r#"{"properties":{"desired":null}}"#, &Part::Absent, &Part::Null);
    }

    #[test]
    fn parts_that_are_not_objects_are_refused() {
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
