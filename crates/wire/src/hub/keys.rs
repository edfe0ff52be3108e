//! Key rotation for many devices in one request: `POST /devices/keys/regenerate`.

use serde::{Deserialize, Serialize};

use super::bulk::BulkDeviceError;

/// The keys to regenerate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum PolicyKey {
    /// The primary key.
    #[serde(rename = "primaryKey", alias = "primary")]
    Primary,
    /// The secondary key.
    #[serde(rename = "secondaryKey", alias = "secondary")]
    Secondary,
    /// Both keys.
    #[serde(rename = "both")]
    Both,
}

/// A request to regenerate keys.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegenerateKeys {
    /// The keys to regenerate.
    pub policy_key: PolicyKey,
    /// The devices and modules that get new keys.
    pub devices: Vec<DeviceOrModule>,
}

/// A device or module with symmetric keys.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceOrModule {
    /// The device ID.
    pub id: String,
    /// The module ID, if a module is meant.
    #[serde(default)]
    pub module_id: Option<String>,
}

/// The reply to [`RegenerateKeys`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegeneratedKeys {
    /// The keys that were regenerated.
    pub policy_key: PolicyKey,
    /// The devices that got new keys.
    pub rotated_keys: Vec<RotatedKeys>,
    /// The devices for which the request failed.
    pub errors: Vec<KeyError>,
}

/// The keys of a device after the rotation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RotatedKeys {
    /// The device ID.
    pub id: String,
    /// The primary key in base64.
    pub primary_key: String,
    /// The secondary key in base64.
    pub secondary_key: String,
}

/// A device for which the request failed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyError {
    /// The device ID.
    pub id: String,
    /// The name of the error code.
    pub error_code: &'static str,
    /// The reason, for people.
    pub error_status: String,
}

impl From<BulkDeviceError> for KeyError {
    fn from(error: BulkDeviceError) -> KeyError {
        KeyError { id: error.device_id, error_code: error.error_code, error_status: error.error_status }
    }
}
