//! A direct method call as service SDKs post it, and its answer.

use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::value::RawValue;

/// `POST /twins/{id}/methods`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MethodCall {
    /// The method's name.
    pub method_name: String,
    /// What the device receives, as it was sent; nothing when absent.
    #[serde(default, deserialize_with = "given")]
    pub payload: Option<Box<RawValue>>,
    /// How long to wait for the answer, in seconds.
    #[serde(default, deserialize_with = "number")]
    pub response_timeout_in_seconds: Option<u64>,
    /// How long to wait for an absent device, in seconds.
    #[serde(default, deserialize_with = "number")]
    pub connect_timeout_in_seconds: Option<u64>,
}

/// A member that is there, if only as `null`.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// A whole number, perhaps as text: Azure's command line sends its default timeout so.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Plain(u64),
        Text(String),
    }
    match Option::<Number>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Number::Plain(number)) => Ok(Some(number)),
        Some(Number::Text(text)) => text.trim().parse().map(Some).map_err(D::Error::custom),
    }
}

/// What the device answered.
#[derive(Debug, Deserialize, Serialize)]
pub struct MethodReply {
    /// The device's own status code.
    pub status: i32,
    /// The device's answer, as it was sent.
    pub payload: Box<RawValue>,
}
