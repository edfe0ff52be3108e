//! The topics between a device and its hub.
//!
//! Request IDs are echoed verbatim. In every reply, `?$rid=` follows the last slash: the C, C# and Java SDKs parse it
//! by position.

use std::fmt::Write;

use codec::mqtt::{filter_matches, filters_overlap, is_filter};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::hub::PropertyBag;

const TWIN_GET: &str = "$iothub/twin/GET/";
const TWIN_REPORT: &str = "$iothub/twin/PATCH/properties/reported/";
const TWIN_REPLY: &str = "$iothub/twin/res/";
const TWIN_DESIRED: &str = "$iothub/twin/PATCH/properties/desired/";
const METHOD_CALL: &str = "$iothub/methods/POST/";
const METHOD_REPLY: &str = "$iothub/methods/res/";

/// All characters but the unreserved ones of RFC 3986. Method names may contain any character, also slashes.
const METHOD_NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A message from a device, identified by its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DevicePublish<'a> {
    /// A reply to a direct method call.
    MethodReply {
        /// The status code, which the device defines.
        status: i32,
        /// The request ID of the method call.
        request_id: &'a str,
    },
    /// A patch of the reported properties.
    Report {
        /// The request ID, which the reply repeats.
        request_id: &'a str,
    },
    /// A device-to-cloud message.
    Telemetry {
        /// The device ID in the topic, not authenticated.
        device_id: &'a str,
        /// The module ID in the topic, not authenticated.
        module_id: Option<&'a str>,
    },
    /// A request for the twin.
    TwinRequest {
        /// The request ID, which the reply repeats.
        request_id: &'a str,
    },
}

/// The error for a topic that IoT Hub does not define.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a topic of the hub's device protocol")]
pub struct TopicError;

impl<'a> DevicePublish<'a> {
    /// Parses the topic of a PUBLISH from a device.
    pub fn parse(topic: &'a str) -> Result<DevicePublish<'a>, TopicError> {
        if let Some(rest) = topic.strip_prefix("devices/") {
            return telemetry(rest);
        }
        if let Some(query) = topic.strip_prefix(TWIN_GET) {
            return Ok(DevicePublish::TwinRequest { request_id: request_id(query)? });
        }
        if let Some(query) = topic.strip_prefix(TWIN_REPORT) {
            return Ok(DevicePublish::Report { request_id: request_id(query)? });
        }
        let rest = topic.strip_prefix(METHOD_REPLY).ok_or(TopicError)?;
        let (status, query) = rest.split_once('/').ok_or(TopicError)?;
        let status = status.parse().map_err(|_| TopicError)?;
        Ok(DevicePublish::MethodReply { status, request_id: request_id(query)? })
    }

    /// Returns the topic. Telemetry topics get no message properties.
    pub fn topic(&self) -> String {
        match self {
            DevicePublish::MethodReply { status, request_id } => {
                format!("{METHOD_REPLY}{status}/?$rid={request_id}")
            }
            DevicePublish::Report { request_id } => format!("{TWIN_REPORT}?$rid={request_id}"),
            DevicePublish::Telemetry { device_id, module_id: None } => {
                format!("devices/{device_id}/messages/events/")
            }
            DevicePublish::Telemetry { device_id, module_id: Some(module_id) } => {
                format!("devices/{device_id}/modules/{module_id}/messages/events/")
            }
            DevicePublish::TwinRequest { request_id } => format!("{TWIN_GET}?$rid={request_id}"),
        }
    }
}

/// A message from a hub, identified by its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HubPublish<'a> {
    /// A change of the desired properties.
    Desired,
    /// A direct method call.
    MethodCall {
        /// The name of the method, still percent-encoded.
        name: &'a str,
        /// The request ID, which the reply repeats.
        request_id: &'a str,
    },
    /// The reply to a twin request or to a patch of reported properties.
    TwinReply {
        /// The HTTP status.
        status: u16,
        /// The request ID of the request.
        request_id: &'a str,
    },
}

impl<'a> HubPublish<'a> {
    /// Parses the topic of a PUBLISH from a hub.
    pub fn parse(topic: &'a str) -> Result<HubPublish<'a>, TopicError> {
        if topic.starts_with(TWIN_DESIRED) {
            return Ok(HubPublish::Desired);
        }
        if let Some(rest) = topic.strip_prefix(TWIN_REPLY) {
            let (status, query) = rest.split_once('/').ok_or(TopicError)?;
            let status = status.parse().map_err(|_| TopicError)?;
            return Ok(HubPublish::TwinReply { status, request_id: request_id(query)? });
        }
        let rest = topic.strip_prefix(METHOD_CALL).ok_or(TopicError)?;
        let (name, query) = rest.split_once('/').ok_or(TopicError)?;
        Ok(HubPublish::MethodCall { name, request_id: request_id(query)? })
    }
}

/// The kinds of messages that a device may subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceFilter {
    /// Changes of desired properties.
    Desired,
    /// Cloud-to-device messages.
    Devicebound,
    /// Direct method calls.
    Methods,
    /// Replies to twin requests.
    TwinReplies,
}

impl DeviceFilter {
    /// All kinds.
    pub const ALL: [DeviceFilter; 4] =
        [DeviceFilter::Desired, DeviceFilter::Devicebound, DeviceFilter::Methods, DeviceFilter::TwinReplies];

    /// Returns the kinds of messages that a topic filter of the device `device_id` matches. By MQTT's rules of
    /// matching, the filter may be narrower or wider than [`DeviceFilter::topic`]. The result is empty for filters that
    /// are not limited to topics of devices, name another device, or match no messages of a hub.
    pub fn matching(filter: &str, device_id: &str) -> Vec<DeviceFilter> {
        if !is_filter(filter) || !is_own(filter, device_id) {
            return Vec::new();
        }
        DeviceFilter::ALL.into_iter().filter(|kind| kind.is_in(filter, device_id)).collect()
    }

    fn is_in(self, filter: &str, device_id: &str) -> bool {
        match self {
            // The messages of a device are in one queue, so a filter for some of them would block the others.
            DeviceFilter::Devicebound => {
                let mut any = PropertyBag::default();
                any.push("any", "");
                filter_matches(filter, &devicebound_topic(device_id, &any))
            }
            _ => filters_overlap(filter, &self.topic(device_id)),
        }
    }

    /// Returns the topic filter for this kind of messages.
    pub fn topic(self, device_id: &str) -> String {
        match self {
            DeviceFilter::Desired => format!("{TWIN_DESIRED}#"),
            DeviceFilter::Devicebound => format!("devices/{device_id}/messages/devicebound/#"),
            DeviceFilter::Methods => format!("{METHOD_CALL}#"),
            DeviceFilter::TwinReplies => format!("{TWIN_REPLY}#"),
        }
    }
}

/// Returns the topic of a reply to a twin request. After a patch of reported properties, `version` is their new
/// version.
pub fn twin_reply_topic(status: u16, request_id: &str, version: Option<u64>) -> String {
    let mut topic = format!("{TWIN_REPLY}{status}/?$rid={request_id}");
    if let Some(version) = version {
        // Writing to a string cannot fail.
        let _ = write!(topic, "&$version={version}");
    }
    topic
}

/// Returns the topic of a change of desired properties.
pub fn desired_topic(version: u64) -> String {
    format!("{TWIN_DESIRED}?$version={version}")
}

/// Returns the topic of a cloud-to-device message.
pub fn devicebound_topic(device_id: &str, properties: &PropertyBag) -> String {
    format!("devices/{device_id}/messages/devicebound/{}", properties.encode())
}

/// Returns the topic of a direct method call.
pub fn method_topic(name: &str, request_id: &str) -> String {
    format!("{METHOD_CALL}{}/?$rid={request_id}", utf8_percent_encode(name, METHOD_NAME))
}

/// Returns whether a filter matches only topics of devices, with this device's ID or a wildcard in place of it: the Azure
/// SDK for Embedded C subscribes to `devices/+/messages/devicebound/#`. Messages of other devices are never sent to it.
fn is_own(filter: &str, device_id: &str) -> bool {
    let mut levels = filter.split('/');
    match levels.next() {
        Some("$iothub") => true,
        Some("devices") => levels.next().is_some_and(|level| level == device_id || level == "+"),
        _ => false,
    }
}

/// Parses the request ID of a query; empty without `$rid`. Some clients send `?rid=1`, and get replies with an empty
/// ID.
fn request_id(query: &str) -> Result<&str, TopicError> {
    let pairs = query.strip_prefix('?').ok_or(TopicError)?;
    Ok(pairs.split('&').find_map(|pair| pair.strip_prefix("$rid=")).unwrap_or_default())
}

fn telemetry(rest: &str) -> Result<DevicePublish<'_>, TopicError> {
    let (device_id, rest) = rest.split_once('/').ok_or(TopicError)?;
    let (module_id, rest) = match rest.strip_prefix("modules/") {
        Some(rest) => {
            let (module_id, rest) = rest.split_once('/').ok_or(TopicError)?;
            (Some(module_id), rest)
        }
        None => (None, rest),
    };
    let properties = rest.strip_prefix("messages/events").ok_or(TopicError)?;
    if properties.is_empty() || properties.starts_with('/') {
        return Ok(DevicePublish::Telemetry { device_id, module_id });
    }
    Err(TopicError)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn topics_of_devices_are_parsed() {
        for (topic, expected) in [
            ("$iothub/twin/GET/?$rid=1a", Some(DevicePublish::TwinRequest { request_id: "1a" })),
            (
                "$iothub/twin/PATCH/properties/reported/?$rid=2&$version=7",
                Some(DevicePublish::Report { request_id: "2" }),
            ),
            (
                "$iothub/twin/PATCH/properties/reported/?$version=7&$rid=2",
                Some(DevicePublish::Report { request_id: "2" }),
            ),
            (
                "$iothub/methods/res/-1/?$rid=3",
                Some(DevicePublish::MethodReply { status: -1, request_id: "3" }),
            ),
            (
                "devices/reg-1/messages/events/%24.mid=1&a%20b=c",
                Some(DevicePublish::Telemetry { device_id: "reg-1", module_id: None }),
            ),
            ("devices/d/messages/events", Some(DevicePublish::Telemetry { device_id: "d", module_id: None })),
            (
                "devices/d/modules/m/messages/events/",
                Some(DevicePublish::Telemetry { device_id: "d", module_id: Some("m") }),
            ),
            ("devices/d/messages/eventsX", None),
            ("devices/d", None),
            ("devices/d/modules/m", None),
            ("$iothub/twin/GET/", None),
            ("$iothub/twin/GET/?rid=1", Some(DevicePublish::TwinRequest { request_id: "" })),
            ("$iothub/twin/PATCH/properties/desired/?$rid=1", None),
            ("$iothub/methods/res/x/?$rid=3", None),
            ("$iothub/methods/res/200", None),
            ("$dps/registrations/PUT/iotdps-register/?$rid=1", None),
            ("", None),
        ] {
            assert_eq!(DevicePublish::parse(topic).ok(), expected, "{topic}");
        }
    }

    #[test]
    fn topic_filters_match_kinds_of_messages() {
        for filter in [
            DeviceFilter::Desired,
            DeviceFilter::Devicebound,
            DeviceFilter::Methods,
            DeviceFilter::TwinReplies,
        ] {
            assert_eq!(DeviceFilter::matching(&filter.topic("d"), "d"), [filter]);
        }
        use DeviceFilter::{Desired, Devicebound, Methods, TwinReplies};
        for (filter, expected) in [
            ("$iothub/methods/#", vec![Methods]),
            ("$iothub/methods/POST/reboot/#", vec![Methods]),
            ("$iothub/methods/POST/+/+", vec![Methods]),
            ("$iothub/twin/#", vec![Desired, TwinReplies]),
            ("$iothub/twin/res/200/#", vec![TwinReplies]),
            ("$iothub/twin/PATCH/properties/desired/+", vec![Desired]),
            ("$iothub/#", vec![Desired, Methods, TwinReplies]),
            ("devices/d/#", vec![Devicebound]),
            ("devices/d/messages/devicebound/+", vec![Devicebound]),
            ("devices/+/messages/devicebound/#", vec![Devicebound]),
        ] {
            assert_eq!(DeviceFilter::matching(filter, "d"), expected, "{filter}");
        }
        for filter in [
            "#",
            "devices/other/messages/devicebound/#",
            "devices/#",
            "devices/+/messages/events/#",
            "+/d/messages/devicebound/#",
            "devices/d/messages/devicebound/%24.mid=1",
            "devices/d/messages/events/#",
            "$iothub/methods/res/#",
            "$iothub/twin/GET/#",
            "$iothub/twin#",
            "devices/dd/messages/devicebound/#",
        ] {
            assert_eq!(DeviceFilter::matching(filter, "d"), [], "{filter}");
        }
    }

    #[test]
    fn topics_of_the_hub_are_parsed_back() {
        for (topic, expected) in [
            (twin_reply_topic(204, "9", Some(3)), HubPublish::TwinReply { status: 204, request_id: "9" }),
            (twin_reply_topic(200, "u-1", None), HubPublish::TwinReply { status: 200, request_id: "u-1" }),
            (method_topic("re/boot", "4"), HubPublish::MethodCall { name: "re%2Fboot", request_id: "4" }),
            (desired_topic(5), HubPublish::Desired),
        ] {
            assert_eq!(HubPublish::parse(&topic), Ok(expected), "{topic}");
        }
        assert_eq!(twin_reply_topic(204, "9", Some(3)), "$iothub/twin/res/204/?$rid=9&$version=3");
    }

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

    proptest! {
        /// A parsed topic of a device is the same after it was written again.
        #[test]
        fn parsed_topics_read_back(rest in "\\PC{0,80}") {
            for prefix in ["", "devices/", TWIN_GET, TWIN_REPORT, METHOD_REPLY] {
                let topic = format!("{prefix}{rest}");
                if let Ok(publish) = DevicePublish::parse(&topic) {
                    let topic = publish.topic();
                    prop_assert_eq!(DevicePublish::parse(&topic), Ok(publish));
                }
            }
        }

        /// What is read of a hub's topic stands in it.
        #[test]
        fn what_a_hub_publishes_is_read_from_its_topic(rest in "([a-z0-9]{1,4}/\\?\\$rid=)?\\PC{0,80}") {
            for prefix in ["", TWIN_REPLY, METHOD_CALL, TWIN_DESIRED] {
                let topic = format!("{prefix}{rest}");
                match HubPublish::parse(&topic) {
                    Ok(HubPublish::Desired) => prop_assert!(topic.starts_with(TWIN_DESIRED)),
                    Ok(HubPublish::TwinReply { request_id, .. }) => {
                        prop_assert!(topic.starts_with(TWIN_REPLY) && topic.contains(request_id));
                    }
                    Ok(HubPublish::MethodCall { name, request_id }) => {
                        let start = format!("{METHOD_CALL}{name}/");
                        prop_assert!(topic.starts_with(&start));
                        prop_assert!(topic.contains(request_id));
                    }
                    Err(TopicError) => {}
                }
            }
        }
    }
}
