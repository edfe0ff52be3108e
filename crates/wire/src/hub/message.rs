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
