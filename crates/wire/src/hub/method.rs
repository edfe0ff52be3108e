//! A direct method call as service SDKs post it, and its answer.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `POST /twins/{id}/methods`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MethodCall {
    /// The method's name.
    pub method_name: String,
    /// What the device receives; absent is JSON `null`.
    #[serde(default)]
    pub payload: Value,
    /// How long to wait for the answer.
    #[serde(default)]
    pub response_timeout_in_seconds: Option<u64>,
    /// How long to wait for an absent device.
    #[serde(default)]
    pub connect_timeout_in_seconds: Option<u64>,
}

/// What the device answered.
#[derive(Debug, Deserialize, Serialize)]
pub struct MethodReply {
    /// The device's own status code.
    pub status: i32,
    /// The device's answer.
    pub payload: Value,
}
