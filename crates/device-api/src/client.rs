//! The SDKs whose quirks change their replies.

use std::time::Duration;

/// An SDK, detected by its client version: over HTTPS `User-Agent`, over MQTT `ClientVersion` in the user name, over AMQP the link
/// property `com.microsoft:client-version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    C,
    /// Honors only a short Retry-After, and misses messages that arrive before it listens.
    Java,
    Muster,
    Node,
    Python,
    /// Sends another client version, or none.
    Unknown,
}

/// Parts of client versions that identify an SDK.
const NAMES: [(&str, Client); 4] = [
    ("com.microsoft.azure.sdk.iot", Client::Java),
    ("muster-fleet", Client::Muster),
    ("azure-iot-provisioning-device/", Client::Node),
    ("azure-iot-device-provisioning-py/", Client::Python),
];

impl Client {
    /// Detects the SDK that sends this client version.
    pub(crate) fn of(client_version: &str, api_version: &str) -> Client {
        let named = NAMES.into_iter().find(|(name, _)| client_version.contains(name));
        match named {
            Some((_, client)) => client,
            // Over MQTT, Java sends its api-version as its client version.
            None if !client_version.is_empty() && client_version == api_version => Client::Java,
            None if is_version_of_c(client_version) => Client::C,
            None => Client::Unknown,
        }
    }

    /// Whether it is known to read a result from the reply to its register call. The hosted service always replies `assigning`
    /// first, so other clients may fail without an operation ID in it.
    pub(crate) fn reads_result_at_once(self) -> bool {
        self != Client::Unknown
    }

    /// Returns how long messages to it are delayed: for Java by `java_delay`.
    pub(crate) fn delay(self, java_delay: Duration) -> Duration {
        match self {
            Client::Java => java_delay,
            _ => Duration::ZERO,
        }
    }
}

/// Whether the text is a version of the C SDK, which sends only the number of its release, 1.x.y.
fn is_version_of_c(text: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = text.split('.');
    parts.next() == Some("1") && parts.clone().count() == 2 && parts.all(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_by_what_they_send() {
        for (client_version, api_version, expected) in [
            ("com.microsoft.azure.sdk.iot.dps.dps-device-client/2.1.0", "2019-03-31", Client::Java),
            ("2019-03-31", "2019-03-31", Client::Java),
            ("azure-iot-provisioning-device/1.9.1", "2019-03-31", Client::Node),
            ("azure-iot-device-provisioning-py/2.14.0(3.11.7;Linux;x86_64)", "2019-03-31", Client::Python),
            ("1.15.0", "2021-06-01", Client::C),
            ("1.2.1", "2017-11-15", Client::C),
            ("muster-fleet", "2021-06-01", Client::Muster),
            (
                "Microsoft.Azure.Devices.Provisioning.Client/2.0.0-preview (.NET 8)",
                "2019-03-31",
                Client::Unknown,
            ),
            ("azsdk-c/1.5.0", "2019-03-31", Client::Unknown),
            ("2.0.0", "2021-06-01", Client::Unknown),
            ("1.15", "2021-06-01", Client::Unknown),
            ("1.15.0-beta", "2021-06-01", Client::Unknown),
            ("", "2019-03-31", Client::Unknown),
            ("", "", Client::Unknown),
        ] {
            assert_eq!(Client::of(client_version, api_version), expected, "{client_version:?}");
        }
    }
}
