//! The MQTT topics between a device and its hub.
//!
//! Request IDs are echoed verbatim, and `?$rid=` comes first after the last slash in every reply,
//! because the C, C# and Java SDKs read it by position.

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::message::{PropertyBag, devicebound_topic};
use codec::mqtt::{filter_matches, filters_overlap, is_filter};

const TWIN_GET: &str = "$iothub/twin/GET/";
const TWIN_REPORT: &str = "$iothub/twin/PATCH/properties/reported/";
const TWIN_REPLY: &str = "$iothub/twin/res/";
const TWIN_DESIRED: &str = "$iothub/twin/PATCH/properties/desired/";
const METHOD_CALL: &str = "$iothub/methods/POST/";
const METHOD_REPLY: &str = "$iothub/methods/res/";

/// A method name may hold anything; the topic levels around it may not shift.
const METHOD_NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What a device says by publishing on a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DevicePublish<'a> {
    /// A reply to a direct method call.
    MethodReply {
        /// The device's own status code.
        status: i32,
        /// The request ID of the call.
        request_id: &'a str,
    },
    /// A patch to the reported properties.
    Report {
        /// To be echoed.
        request_id: &'a str,
    },
    /// A message to the cloud.
    Telemetry {
        /// Whom it claims to be from.
        device_id: &'a str,
        /// The module it claims to be from.
        module_id: Option<&'a str>,
    },
    /// A request for the twin.
    TwinRequest {
        /// To be echoed.
        request_id: &'a str,
    },
}

/// A topic that means nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a topic of the hub's device protocol")]
pub struct TopicError;

impl<'a> DevicePublish<'a> {
    /// Reads the topic of a PUBLISH from a device.
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

    /// The topic for it. Telemetry carries no properties here.
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

/// What a hub says to a device, as the device's side reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HubPublish<'a> {
    /// The desired properties changed.
    Desired,
    /// A direct method is called.
    MethodCall {
        /// The method, still percent-encoded.
        name: &'a str,
        /// To be echoed.
        request_id: &'a str,
    },
    /// The answer to a twin request or report.
    TwinReply {
        /// An HTTP status.
        status: u16,
        /// The request's.
        request_id: &'a str,
    },
}

impl<'a> HubPublish<'a> {
    /// Reads the topic of a PUBLISH from a hub.
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

/// What a device may subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceFilter {
    /// Changes of the desired properties.
    Desired,
    /// Cloud-to-device messages.
    Devicebound,
    /// Direct method calls.
    Methods,
    /// Answers to twin requests.
    TwinReplies,
}

impl DeviceFilter {
    /// All of them.
    pub const ALL: [DeviceFilter; 4] =
        [DeviceFilter::Desired, DeviceFilter::Devicebound, DeviceFilter::Methods, DeviceFilter::TwinReplies];

    /// Returns what a topic filter of the device `device_id` asks for, matched as MQTT matches: it may be narrower or
    /// wider than [`DeviceFilter::topic`], within the device's own topics. Empty for a filter that reaches beyond them, or
    /// for nothing that a hub sends.
    pub fn asked_for(filter: &str, device_id: &str) -> Vec<DeviceFilter> {
        if !is_filter(filter) || !is_own(filter, device_id) {
            return Vec::new();
        }
        DeviceFilter::ALL.into_iter().filter(|kind| kind.is_in(filter, device_id)).collect()
    }

    fn is_in(self, filter: &str, device_id: &str) -> bool {
        match self {
            // Messages wait in one queue, so a filter for some of them would hold up the others.
            DeviceFilter::Devicebound => {
                let mut any = PropertyBag::default();
                any.push("any", "");
                filter_matches(filter, &devicebound_topic(device_id, &any))
            }
            _ => filters_overlap(filter, &self.topic(device_id)),
        }
    }

    /// The topic filter for it.
    pub fn topic(self, device_id: &str) -> String {
        match self {
            DeviceFilter::Desired => format!("{TWIN_DESIRED}#"),
            DeviceFilter::Devicebound => format!("devices/{device_id}/messages/devicebound/#"),
            DeviceFilter::Methods => format!("{METHOD_CALL}#"),
            DeviceFilter::TwinReplies => format!("{TWIN_REPLY}#"),
        }
    }
}

/// The topic of a reply to a twin request; `version` is the section's new version after a report.
pub fn twin_reply_topic(status: u16, request_id: &str, version: Option<u64>) -> String {
    let mut topic = format!("{TWIN_REPLY}{status}/?$rid={request_id}");
    if let Some(version) = version {
        // Writing to a string cannot fail.
        let _ = write!(topic, "&$version={version}");
    }
    topic
}

/// The topic on which a device hears of changed desired properties.
pub fn desired_topic(version: u64) -> String {
    format!("{TWIN_DESIRED}?$version={version}")
}

/// The topic that calls a direct method.
pub fn method_topic(name: &str, request_id: &str) -> String {
    format!("{METHOD_CALL}{}/?$rid={request_id}", utf8_percent_encode(name, METHOD_NAME))
}

/// Whether a filter stays within what a device's connection is for. Any device stands for this one, to which no other's
/// messages are sent: the Azure SDK for Embedded C asks for `devices/+/messages/devicebound/#`.
fn is_own(filter: &str, device_id: &str) -> bool {
    let mut levels = filter.split('/');
    match levels.next() {
        Some("$iothub") => true,
        Some("devices") => levels.next().is_some_and(|level| level == device_id || level == "+"),
        _ => false,
    }
}

/// The request ID of a query. Empty without `$rid`: there are clients that write `?rid=1`, and are answered so.
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
    fn topics_that_devices_publish_on() {
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
    fn filters_of_a_device() {
        for filter in [
            DeviceFilter::Desired,
            DeviceFilter::Devicebound,
            DeviceFilter::Methods,
            DeviceFilter::TwinReplies,
        ] {
            assert_eq!(DeviceFilter::asked_for(&filter.topic("d"), "d"), [filter]);
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
            assert_eq!(DeviceFilter::asked_for(filter, "d"), expected, "{filter}");
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
            assert_eq!(DeviceFilter::asked_for(filter, "d"), [], "{filter}");
        }
    }

    #[test]
    fn topics_of_the_hub_read_back() {
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

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(topic in "\\PC{0,80}") {
            let _ = DevicePublish::parse(&topic);
            let _ = HubPublish::parse(&topic);
        }
    }
}
