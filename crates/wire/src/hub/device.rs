//! Device identities, the JSON of the registry.
//!
//! One type serves requests and replies: members that only the hub sets are optional, and ignored in requests. Dates
//! are never `null`: the models of the C# SDK do not allow it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A device identity.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Device {
    /// The device ID: 1 to 128 characters, case-sensitive.
    pub device_id: String,
    /// An ID that the hub assigns when the identity is created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation_id: Option<String>,
    /// The etag of the identity, without quotes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Whether the device is connected now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_state: Option<ConnectionState>,
    /// Whether the device may connect; absent in a request means enabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// The reason of the status, at most 128 characters.
    pub status_reason: Option<String>,
    /// The time at which `connectionState` last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_state_updated_time: Option<String>,
    /// The time at which `status` last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_updated_time: Option<String>,
    /// The time at which the device last connected or sent a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_activity_time: Option<String>,
    /// The number of messages that are queued for the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud_to_device_message_count: Option<u64>,
    /// The credentials of the device; if absent in a request, the hub generates keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    /// The capabilities of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// The scope of an IoT Edge device; for other devices that of the parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_scope: Option<String>,
    /// The scopes of the parents of an IoT Edge device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_scopes: Option<Vec<String>>,
}

/// Whether a device may connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// The device may connect.
    #[default]
    #[serde(alias = "Enabled")]
    Enabled,
    /// The device may not connect.
    #[serde(alias = "Disabled")]
    Disabled,
}

/// Whether a device is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum ConnectionState {
    /// The device has an open connection.
    #[serde(alias = "connected")]
    Connected,
    /// The device has no open connection.
    #[serde(alias = "disconnected")]
    Disconnected,
}

/// The credentials of a device. `type` must be the last member: the C# SDK derives a type from each of the others when
/// it parses them, and would overwrite it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Authentication {
    /// The symmetric keys.
    pub symmetric_key: Option<SymmetricKeyPair>,
    /// The certificate thumbprints.
    #[serde(rename = "x509Thumbprint")]
    pub x509_thumbprint: Option<ThumbprintPair>,
    /// The credentials that count; if absent in a request, they follow from the members present.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<AuthenticationType>,
}

/// The kinds of credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AuthenticationType {
    /// A certificate chain to a CA that the hub trusts.
    #[serde(alias = "CertificateAuthority")]
    CertificateAuthority,
    /// No credentials; refused for devices.
    #[serde(alias = "None")]
    None,
    /// A symmetric key.
    #[serde(alias = "Sas")]
    Sas,
    /// A certificate, identified by its thumbprint.
    #[serde(alias = "SelfSigned")]
    SelfSigned,
}

/// Two symmetric keys in base64. The hub generates those that are absent, null or empty.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SymmetricKeyPair {
    /// The primary key.
    pub primary_key: Option<String>,
    /// The secondary key.
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
    /// The primary thumbprint.
    #[serde(alias = "PrimaryThumbprint")]
    pub primary_thumbprint: Option<String>,
    /// The secondary thumbprint.
    #[serde(alias = "SecondaryThumbprint")]
    pub secondary_thumbprint: Option<String>,
}

/// The capabilities of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Capabilities {
    /// Whether the device is an IoT Edge device.
    pub iot_edge: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_is_the_last_member_of_authentication() {
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
    fn identities_of_sdks_are_parsed() {
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
    fn debug_output_hides_keys() {
        let pair = SymmetricKeyPair { primary_key: Some("c2VjcmV0".into()), secondary_key: None };
        assert!(!format!("{pair:?}").contains("c2VjcmV0"));
    }
}
