//! Which SDK calls, as far as it makes a difference to its replies.

use std::time::Duration;

/// An SDK, known by how it presents itself: over MQTT by `ClientVersion` in the user name, over AMQP by the link property
/// `com.microsoft:client-version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    C,
    /// Honors short pauses alone, and misses a message that comes before it listens for it.
    Java,
    Muster,
    Node,
    Python,
    /// Presents itself in another way, or not at all.
    Unknown,
}

/// What stands in the client version of an SDK.
const NAMES: [(&str, Client); 4] = [
    ("com.microsoft.azure.sdk.iot", Client::Java),
    ("muster-fleet", Client::Muster),
    ("azure-iot-provisioning-device/", Client::Node),
    ("azure-iot-device-provisioning-py/", Client::Python),
];

impl Client {
    /// Returns the SDK that presents itself so.
    pub(crate) fn of(client_version: &str, api_version: &str) -> Client {
        let named = NAMES.into_iter().find(|(name, _)| client_version.contains(name));
        match named {
            Some((_, client)) => client,
            // By a quirk, Java sends its api-version as its client version over MQTT.
            None if !client_version.is_empty() && client_version == api_version => Client::Java,
            None if is_version_of_c(client_version) => Client::C,
            None => Client::Unknown,
        }
    }

    /// Whether it is known to take a result from the reply to its register call. The hosted service says `assigning`
    /// first, so there are clients that take an operation ID from nothing else and fail without one.
    pub(crate) fn reads_result_at_once(self) -> bool {
        self != Client::Unknown
    }

    /// Returns how long a message to it is held back, when `java_delay` is what Java needs.
    pub(crate) fn delay(self, java_delay: Duration) -> Duration {
        match self {
            Client::Java => java_delay,
            _ => Duration::ZERO,
        }
    }
}

/// The C SDK sends the number of its release alone; there is no 2.0.
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
