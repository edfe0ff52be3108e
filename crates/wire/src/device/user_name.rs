//! The user name of a device over MQTT.

use std::fmt;

use model::{IdScope, RegistrationId};
use percent_encoding::percent_decode_str;

use crate::sas::encode_component;

use super::address::DeviceAddress;

/// The MQTT user name of a device:
/// `{idScope}/registrations/{registrationId}/api-version={version}&ClientVersion={agent}`, with any further parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttUserName {
    /// The ID scope of the instance.
    pub id_scope: IdScope,
    /// The registration ID of the device.
    pub registration_id: RegistrationId,
    /// The API version as sent; empty if absent.
    pub api_version: String,
    /// The client's name and version, percent-decoded; empty if absent.
    pub client_version: String,
    /// Whether the device has no token yet and asks for a TPM challenge (`attestation=tpm`). This parameter is an
    /// addition of Muster; see `docs/tpm.md`.
    pub asks_for_challenge: bool,
}

impl MqttUserName {
    /// Parses a user name; returns `None` for a text of another form.
    pub fn parse(text: &str) -> Option<Self> {
        let (DeviceAddress { id_scope, registration_id }, query) = DeviceAddress::split(text)?;
        let query = query.trim_start_matches('?');
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| percent_decode_str(value).decode_utf8_lossy().into_owned())
                .unwrap_or_default()
        };
        let (api_version, client_version) = (value("api-version"), value("ClientVersion"));
        let asks_for_challenge = value("attestation").eq_ignore_ascii_case("tpm");
        Some(MqttUserName { id_scope, registration_id, api_version, client_version, asks_for_challenge })
    }

    /// Returns the registration.
    pub fn address(&self) -> DeviceAddress {
        let (id_scope, registration_id) = (self.id_scope.clone(), self.registration_id.clone());
        DeviceAddress { id_scope, registration_id }
    }
}

impl fmt::Display for MqttUserName {
    /// Writes the user name in its standard form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = encode_component(&self.api_version);
        let client = encode_component(&self.client_version);
        let attestation = if self.asks_for_challenge { "&attestation=tpm" } else { "" };
        write!(f, "{}/api-version={version}&ClientVersion={client}{attestation}", self.address())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn user_names_of_sdks_are_parsed() {
        let names = [
            (
                "0ne00000001/registrations/reg-1/api-version=2019-03-31&ClientVersion=azure-iot-provisioning-device%2F1.9.1",
                "2019-03-31",
                "azure-iot-provisioning-device/1.9.1",
            ),
            ("0ne00000001/registrations/reg-1/api-version=2019-03-31", "2019-03-31", ""),
            ("0ne00000001/registrations/reg-1/api-version=2021-06-01&DeviceClientType=x", "2021-06-01", ""),
            ("0ne00000001/registrations/reg-1", "", ""),
        ];
        for (text, version, client) in names {
            let name = MqttUserName::parse(text).unwrap();
            assert_eq!(
                (name.id_scope.as_str(), name.registration_id.as_str()),
                ("0ne00000001", "reg-1"),
                "{text}"
            );
            assert_eq!(
                (name.api_version.as_str(), name.client_version.as_str()),
                (version, client),
                "{text}"
            );
        }
        let asks = |query: &str| {
            MqttUserName::parse(&format!("0ne/registrations/r/{query}")).unwrap().asks_for_challenge
        };
        assert!(asks("api-version=2021-06-01&attestation=tpm") && asks("Attestation=TPM"));
        assert!(!asks("api-version=2021-06-01") && !asks("attestation=x509"));
        for text in ["", "reg-1", "a/b/c", "0ne/registrations/", "0ne/registrations/a b/api-version=x"] {
            assert_eq!(MqttUserName::parse(text), None, "{text}");
        }
    }

    #[test]
    fn user_names_are_written_as_sdks_do() {
        for text in [
            "0ne00000001/registrations/reg-1/api-version=2019-03-31&ClientVersion=azure-iot-provisioning-device%2F1.9.1",
            "0ne00000001/registrations/reg-1/api-version=2021-06-01&ClientVersion=muster-fleet&attestation=tpm",
        ] {
            assert_eq!(MqttUserName::parse(text).unwrap().to_string(), text);
        }
    }

    proptest! {
        /// The address is the one that other transports read, and the parameters read back from their standard form.
        #[test]
        fn user_names_read_back(text in "0ne/registrations/[a-z0-9-]{1,6}/\\??\\PC{0,40}|\\PC{0,100}") {
            if let Some(name) = MqttUserName::parse(&text) {
                prop_assert_eq!(MqttUserName::parse(&name.to_string()), Some(name));
            }
        }

        #[test]
        fn parameters_are_found_in_any_order(version in "[0-9-]{1,10}", client in "[^&%]{1,20}", first: bool) {
            let (version_part, client_part) = (format!("api-version={version}"), format!("clientversion={client}"));
            let parts = if first { [&version_part, &client_part] } else { [&client_part, &version_part] };
            let name = MqttUserName::parse(&format!("0ne/registrations/r/{}", parts.map(String::as_str).join("&")));
            prop_assert_eq!(name.map(|name| (name.api_version, name.client_version)), Some((version, client)));
        }
    }
}
