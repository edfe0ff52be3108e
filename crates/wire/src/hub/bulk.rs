//! `POST /devices`: many devices in one request.

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};

use super::device::{Authentication, Capabilities, Status};
use super::twin::Part;

/// One device of a bulk request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkDevice {
    /// The device ID.
    pub id: String,
    /// A module of the device.
    #[serde(default)]
    pub module_id: Option<String>,
    /// The identity's version, for the modes that compare it.
    #[serde(default, rename = "eTag", alias = "etag")]
    pub etag: Option<String>,
    /// What to do.
    #[serde(default)]
    pub import_mode: BulkMode,
    /// Whether the device may connect.
    #[serde(default)]
    pub status: Option<Status>,
    /// Why.
    #[serde(default)]
    pub status_reason: Option<String>,
    /// How the device proves who it is.
    #[serde(default)]
    pub authentication: Option<Authentication>,
    /// The twin's version, for the mode that compares it.
    #[serde(default, rename = "twinETag", alias = "twinEtag")]
    pub twin_etag: Option<String>,
    /// New tags.
    #[serde(default)]
    pub tags: Part,
    /// New properties.
    #[serde(default)]
    pub properties: BulkProperties,
    /// What the device can do.
    #[serde(default)]
    pub capabilities: Option<Capabilities>,
    /// The edge device's scope, or the parent's.
    #[serde(default)]
    pub device_scope: Option<String>,
    /// The scopes of the parents of an edge device.
    #[serde(default)]
    pub parent_scopes: Option<Vec<String>>,
}

/// The properties of a device in a bulk request; null is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BulkProperties {
    /// Desired ones.
    pub desired: Part,
    /// What the device said at the hub from which it was exported.
    pub reported: Part,
}

impl<'de> Deserialize<'de> for BulkProperties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<BulkProperties, D::Error> {
        let mut given = Option::<Map<String, Value>>::deserialize(deserializer)?.unwrap_or_default();
        let desired = Part::taken_from(&mut given, "desired")?;
        Ok(BulkProperties { desired, reported: Part::taken_from(&mut given, "reported")? })
    }
}

/// What to do with one device; read without regard to case, as Node mixes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the protocol's own")]
pub enum BulkMode {
    Create,
    #[default]
    CreateOrUpdate,
    CreateOrUpdateIfMatchEtag,
    Delete,
    DeleteIfMatchEtag,
    Update,
    UpdateIfMatchEtag,
    UpdateTwin,
    UpdateTwinIfMatchEtag,
}

impl<'de> Deserialize<'de> for BulkMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<BulkMode, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        match text.to_ascii_lowercase().as_str() {
            "create" => Ok(BulkMode::Create),
            "" | "createorupdate" => Ok(BulkMode::CreateOrUpdate),
            "createorupdateifmatchetag" => Ok(BulkMode::CreateOrUpdateIfMatchEtag),
            "delete" => Ok(BulkMode::Delete),
            "deleteifmatchetag" => Ok(BulkMode::DeleteIfMatchEtag),
            "update" => Ok(BulkMode::Update),
            "updateifmatchetag" => Ok(BulkMode::UpdateIfMatchEtag),
            "updatetwin" => Ok(BulkMode::UpdateTwin),
            "updatetwinifmatchetag" => Ok(BulkMode::UpdateTwinIfMatchEtag),
            _ => Err(de::Error::custom(format!("unknown importMode '{text}'"))),
        }
    }
}

/// The outcome of a bulk request.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkResult {
    /// Whether every device was done.
    pub is_successful: bool,
    /// Those that were not.
    pub errors: Vec<BulkDeviceError>,
    /// Always empty here.
    pub warnings: [(); 0],
}

/// One device that was not done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkDeviceError {
    /// The device.
    pub device_id: String,
    /// The name of the error code; C# reads a name or a number.
    pub error_code: &'static str,
    /// Why, for people.
    pub error_status: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_in_any_case() {
        for (text, mode) in [
            ("create", BulkMode::Create),
            ("Update", BulkMode::Update),
            ("UpdateIfMatchETag", BulkMode::UpdateIfMatchEtag),
            ("deleteIfMatchETag", BulkMode::DeleteIfMatchEtag),
        ] {
            let body = format!(r#"{{"id":"d","importMode":"{text}","eTag":"x"}}"#);
            let device: BulkDevice = serde_json::from_str(&body).unwrap();
            assert_eq!((device.import_mode, device.etag.as_deref()), (mode, Some("x")), "{text}");
        }
        assert!(serde_json::from_str::<BulkDevice>(r#"{"id":"d","importMode":"destroy"}"#).is_err());
    }
}
