//! `POST /devices/keys/regenerate`: new keys for many devices in one request.

use serde::{Deserialize, Serialize};

use super::bulk::BulkDeviceError;

/// Which keys are made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum PolicyKey {
    /// The first.
    #[serde(rename = "primaryKey", alias = "primary")]
    Primary,
    /// The second.
    #[serde(rename = "secondaryKey", alias = "secondary")]
    Secondary,
    /// Both.
    #[serde(rename = "both")]
    Both,
}

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegenerateKeys {
    /// Which keys.
    pub policy_key: PolicyKey,
    /// Of which devices.
    pub devices: Vec<KeyHolder>,
}

/// A device, or a module of one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyHolder {
    /// The device.
    pub id: String,
    /// The module.
    #[serde(default)]
    pub module_id: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegeneratedKeys {
    /// Which keys were made anew.
    pub policy_key: PolicyKey,
    /// The devices that have new ones.
    pub rotated_keys: Vec<RotatedKeys>,
    /// Those that have not.
    pub errors: Vec<KeyError>,
}

/// The keys of a device after the request.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RotatedKeys {
    /// The device.
    pub id: String,
    /// Base64.
    pub primary_key: String,
    /// Base64.
    pub secondary_key: String,
}

/// A device without new keys.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyError {
    /// The device.
    pub id: String,
    /// The name of the error code.
    pub error_code: &'static str,
    /// Why, for people.
    pub error_status: String,
}

impl From<BulkDeviceError> for KeyError {
    fn from(error: BulkDeviceError) -> KeyError {
        KeyError { id: error.device_id, error_code: error.error_code, error_status: error.error_status }
    }
}
