//! Message properties: in MQTT topics as `k=v&k=v`, percent-encoded, system keys after `$.`; over HTTP as headers.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The HTTP headers of system properties, with the properties' short names.
pub const SYSTEM_HEADERS: [(&str, &str); 6] = [
    ("iothub-messageid", "mid"),
    ("iothub-to", "to"),
    ("iothub-correlationid", "cid"),
    ("iothub-contenttype", "ct"),
    ("iothub-contentencoding", "ce"),
    ("iothub-userid", "uid"),
];

/// What stands before the name of an application property in the HTTP header that carries it.
pub const APPLICATION_HEADER: &str = "iothub-app-";

/// The properties of one message, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropertyBag(Vec<(String, String)>);

impl PropertyBag {
    /// Adds a pair.
    pub fn push(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.push((key.into(), value.into()));
    }

    /// The bag as the last segment of a topic.
    pub fn encode(&self) -> String {
        let pairs = self.0.iter().map(|(key, value)| {
            format!("{}={}", utf8_percent_encode(key, ENCODED), utf8_percent_encode(value, ENCODED))
        });
        pairs.collect::<Vec<_>>().join("&")
    }
}

/// The topic on which a device receives a cloud-to-device message.
pub fn devicebound_topic(device_id: &str, properties: &PropertyBag) -> String {
    format!("devices/{device_id}/messages/devicebound/{}", properties.encode())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bag_is_encoded_as_sdks_decode_it() {
        let mut bag = PropertyBag::default();
        bag.push("$.to", "/devices/d/messages/deviceBound");
        bag.push("a b", "c/d&");
        assert_eq!(
            devicebound_topic("d", &bag),
            "devices/d/messages/devicebound/%24.to=%2Fdevices%2Fd%2Fmessages%2FdeviceBound&a%20b=c%2Fd%26"
        );
    }
}
