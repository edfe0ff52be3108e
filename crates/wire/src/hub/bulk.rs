//! Bulk requests of the registry: `POST /devices`.

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};

use super::{
    device::{Authentication, Capabilities, Status},
    twin::Part,
};

/// One device of a bulk request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkDevice {
    /// The device ID.
    pub id: String,
    /// The module ID, if a module of the device is meant.
    #[serde(default)]
    pub module_id: Option<String>,
    /// The etag of the identity, for the modes that compare it.
    #[serde(default, rename = "eTag", alias = "etag")]
    pub etag: Option<String>,
    /// The operation on the device.
    #[serde(default)]
    pub import_mode: BulkMode,
    /// Whether the device may connect.
    #[serde(default)]
    pub status: Option<Status>,
    /// The reason of the status, for people.
    #[serde(default)]
    pub status_reason: Option<String>,
    /// The credentials of the device.
    #[serde(default)]
    pub authentication: Option<Authentication>,
    /// The etag of the twin, for the mode that compares it.
    #[serde(default, rename = "twinETag", alias = "twinEtag")]
    pub twin_etag: Option<String>,
    /// The new tags.
    #[serde(default)]
    pub tags: Part,
    /// The new properties.
    #[serde(default)]
    pub properties: BulkProperties,
    /// The capabilities of the device.
    #[serde(default)]
    pub capabilities: Option<Capabilities>,
    /// The scope of an IoT Edge device; for other devices that of the parent.
    #[serde(default)]
    pub device_scope: Option<String>,
    /// The scopes of the parents of an IoT Edge device.
    #[serde(default)]
    pub parent_scopes: Option<Vec<String>>,
}

/// The properties of a device in a bulk request; null means absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BulkProperties {
    /// The desired properties.
    pub desired: Part,
    /// The reported properties at the hub that the device was exported from.
    pub reported: Part,
}

impl<'de> Deserialize<'de> for BulkProperties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<BulkProperties, D::Error> {
        let mut given = Option::<Map<String, Value>>::deserialize(deserializer)?.unwrap_or_default();
        let desired = Part::taken_from(&mut given, "desired")?;
        Ok(BulkProperties { desired, reported: Part::taken_from(&mut given, "reported")? })
    }
}

/// The operation on one device (`importMode`), parsed without regard to case: the SDK for Node mixes cases.
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

/// The reply to a bulk request.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkResult {
    /// Whether the operation succeeded for every device.
    pub is_successful: bool,
    /// The devices for which it failed.
    pub errors: Vec<BulkDeviceError>,
    /// Always empty: the embedded hub has no partial success.
    pub warnings: [(); 0],
}

/// A device for which the operation failed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkDeviceError {
    /// The device ID.
    pub device_id: String,
    /// The name of the error code; the C# SDK accepts a name or a number.
    pub error_code: &'static str,
    /// The reason, for people.
    pub error_status: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn import_modes_are_parsed_in_any_case() {
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
