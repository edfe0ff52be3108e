//! A device identity as the registry reads and writes it.
//!
//! One type for both directions: what only the hub sets is optional and ignored on the way in.
//! Dates are never `null`: the C# models cannot hold one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A device identity.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Device {
    /// 1 to 128 characters; case-sensitive.
    pub device_id: String,
    /// Set by the hub, new for every creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation_id: Option<String>,
    /// The identity's version, unquoted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Whether the device is connected now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_state: Option<ConnectionState>,
    /// Whether the device may connect; absent on the way in is enabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Why, at most 128 characters.
    pub status_reason: Option<String>,
    /// When `connectionState` last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_state_updated_time: Option<String>,
    /// When `status` last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_updated_time: Option<String>,
    /// When the device was last heard of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_activity_time: Option<String>,
    /// Messages waiting for the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud_to_device_message_count: Option<u64>,
    /// How the device proves who it is; absent on the way in has the hub make keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    /// What the device can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// The edge device's scope, or the parent's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_scope: Option<String>,
    /// The scopes of the parents of an edge device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_scopes: Option<Vec<String>>,
}

/// Whether a device may connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// It may.
    #[default]
    #[serde(alias = "Enabled")]
    Enabled,
    /// It may not.
    #[serde(alias = "Disabled")]
    Disabled,
}

/// Whether a device is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum ConnectionState {
    /// A live connection exists.
    #[serde(alias = "connected")]
    Connected,
    /// None exists.
    #[serde(alias = "disconnected")]
    Disconnected,
}

/// How a device proves who it is. `type` stays the last field: C# overwrites its type as it meets
/// the other two.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Authentication {
    /// Keys in base64.
    pub symmetric_key: Option<SymmetricKeyPair>,
    /// Thumbprints in hex.
    #[serde(rename = "x509Thumbprint")]
    pub x509_thumbprint: Option<ThumbprintPair>,
    /// Which of them counts; absent on the way in is told by what is given.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<AuthenticationType>,
}

/// The kinds of credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AuthenticationType {
    /// A certificate chain up to a CA that the hub knows.
    #[serde(alias = "CertificateAuthority")]
    CertificateAuthority,
    /// Nothing: refused for devices.
    #[serde(alias = "None")]
    None,
    /// A symmetric key.
    #[serde(alias = "Sas")]
    Sas,
    /// A certificate by its thumbprint.
    #[serde(alias = "SelfSigned")]
    SelfSigned,
}

/// Two symmetric keys in base64. Absent, null and empty all have the hub make them.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SymmetricKeyPair {
    /// The first key.
    pub primary_key: Option<String>,
    /// The second key.
    pub secondary_key: Option<String>,
}

impl fmt::Debug for SymmetricKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SymmetricKeyPair(..)")
    }
}

/// Two certificate thumbprints in hex, SHA-1 or SHA-256.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ThumbprintPair {
    /// The first thumbprint.
    #[serde(alias = "PrimaryThumbprint")]
    pub primary_thumbprint: Option<String>,
    /// The second thumbprint.
    #[serde(alias = "SecondaryThumbprint")]
    pub secondary_thumbprint: Option<String>,
}

/// What a device can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Capabilities {
    /// Whether it is an IoT Edge device.
    pub iot_edge: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_is_the_last_field_of_authentication() {
        let authentication = Authentication {
            symmetric_key: Some(SymmetricKeyPair::default()),
            x509_thumbprint: Some(ThumbprintPair::default()),
            kind: Some(AuthenticationType::SelfSigned),
        };
        assert_eq!(
            serde_json::to_string(&authentication).unwrap(),
            r#"{"symmetricKey":{"primaryKey":null,"secondaryKey":null},"x509Thumbprint":{"primaryThumbprint":null,"secondaryThumbprint":null},"type":"selfSigned"}"#
        );
    }

    #[test]
    fn what_sdks_send_is_read() {
        for body in [
            r#"{"deviceId":"d"}"#,
            r#"{"deviceId":"d","status":"enabled","authentication":{"symmetricKey":{"primaryKey":"","secondaryKey":""}}}"#,
            r#"{"deviceId":"d","authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"AA","secondaryThumbprint":null}},"unknown":1}"#,
            r#"{"deviceId":"d","authentication":null,"capabilities":{"iotEdge":true},"lastActivityTime":"0001-01-01T00:00:00"}"#,
        ] {
            let device: Device = serde_json::from_str(body).unwrap();
            assert_eq!(device.device_id, "d", "{body}");
        }
    }

    #[test]
    fn keys_are_not_shown() {
        let pair = SymmetricKeyPair { primary_key: Some("c2VjcmV0".into()), secondary_key: None };
        assert!(!format!("{pair:?}").contains("c2VjcmV0"));
    }
}
