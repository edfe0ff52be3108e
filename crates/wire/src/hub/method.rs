//! Direct method calls of service SDKs, and the replies to them.

use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::value::RawValue;

/// A direct method call: `POST /twins/{id}/methods`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MethodCall {
    /// The method's name.
    pub method_name: String,
    /// The payload as sent, which may be `null`; `None` if absent.
    #[serde(default, deserialize_with = "given")]
    pub payload: Option<Box<RawValue>>,
    /// The maximum time until the device replies, in seconds.
    #[serde(default, deserialize_with = "number")]
    pub response_timeout_in_seconds: Option<u64>,
    /// The maximum time until a disconnected device connects, in seconds.
    #[serde(default, deserialize_with = "number")]
    pub connect_timeout_in_seconds: Option<u64>,
}

/// Deserializes a member that is present, even if it is `null`.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// Deserializes a whole number or its text: Azure CLI sends its default timeout as text.
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

/// The device's reply to a direct method call.
#[derive(Debug, Deserialize, Serialize)]
pub struct MethodReply {
    /// The status code, which the device defines.
    pub status: i32,
    /// The payload as sent.
    pub payload: Box<RawValue>,
}
