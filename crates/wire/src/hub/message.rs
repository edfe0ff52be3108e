//! Message properties. In MQTT topics they are percent-encoded pairs (`k=v&k=v`), in which names of system properties
//! begin with `$.`; over HTTP they are headers.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// All characters but the unreserved ones of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The HTTP headers of system properties, with the short names of the properties.
pub const SYSTEM_HEADERS: [(&str, &str); 6] = [
    ("iothub-messageid", "mid"),
    ("iothub-to", "to"),
    ("iothub-correlationid", "cid"),
    ("iothub-contenttype", "ct"),
    ("iothub-contentencoding", "ce"),
    ("iothub-userid", "uid"),
];

/// The prefix of the HTTP headers of application properties.
pub const APPLICATION_HEADER: &str = "iothub-app-";

/// The properties of one message, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropertyBag(Vec<(String, String)>);

impl PropertyBag {
    /// Adds a property.
    pub fn push(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.push((key.into(), value.into()));
    }

    /// Returns the bag as the last level of a topic.
    pub fn encode(&self) -> String {
        let pairs = self.0.iter().map(|(key, value)| {
            format!("{}={}", utf8_percent_encode(key, ENCODED), utf8_percent_encode(value, ENCODED))
        });
        pairs.collect::<Vec<_>>().join("&")
    }
}

/// Returns the topic of a cloud-to-device message.
pub fn devicebound_topic(device_id: &str, properties: &PropertyBag) -> String {
    format!("devices/{device_id}/messages/devicebound/{}", properties.encode())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_encoded_as_sdks_decode_them() {
        let mut bag = PropertyBag::default();
        bag.push("$.to", "/devices/d/messages/deviceBound");
        bag.push("a b", "c/d&");
        assert_eq!(
            devicebound_topic("d", &bag),
            "devices/d/messages/devicebound/%24.to=%2Fdevices%2Fd%2Fmessages%2FdeviceBound&a%20b=c%2Fd%26"
        );
    }
}
