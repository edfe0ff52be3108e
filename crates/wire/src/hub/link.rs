//! AMQP between a device and its hub: the addresses of links, the audiences of tokens, and the operations on twins.

use percent_encoding::percent_decode_str;

/// The address of a link: `/devices/{id}/…`, or `amqps://{host}/devices/{id}/…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkAddress<'a> {
    /// The hub's host, if the address is absolute.
    pub host: Option<&'a str>,
    /// The device ID, not validated.
    pub device_id: &'a str,
    /// The module ID, if the link is a module's.
    pub module_id: Option<&'a str>,
    /// The kind of link.
    pub node: LinkNode,
}

/// The kinds of links of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkNode {
    /// Cloud-to-device messages.
    Devicebound,
    /// Device-to-cloud messages (telemetry).
    Events,
    /// Direct method calls and the replies to them.
    Methods,
    /// Requests about the twin, the replies to them, and changes of desired properties.
    Twin,
}

impl<'a> LinkAddress<'a> {
    /// Parses an address; returns `None` if it is not of a device's link.
    pub fn parse(address: &'a str) -> Option<LinkAddress<'a>> {
        let (host, path) = match address.strip_prefix("amqps://") {
            Some(rest) => rest.split_once('/').map(|(host, path)| (Some(host), path))?,
            None => (None, address.strip_prefix('/').unwrap_or(address)),
        };
        let (device_id, rest) = path.strip_prefix("devices/")?.split_once('/')?;
        let (module_id, rest) = match rest.strip_prefix("modules/") {
            Some(rest) => rest.split_once('/').map(|(module_id, rest)| (Some(module_id), rest))?,
            None => (None, rest),
        };
        let (_, node) = NODES.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(rest))?;
        Some(LinkAddress { host, device_id, module_id, node })
    }
}

const NODES: [(&str, LinkNode); 4] = [
    ("messages/devicebound", LinkNode::Devicebound),
    ("messages/events", LinkNode::Events),
    ("methods/devicebound", LinkNode::Methods),
    ("twin", LinkNode::Twin),
];

/// The audience of a token that a client puts to `$cbs`: `{host}/devices/{id}`, percent-decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenAudience {
    /// The hub's host.
    pub host: String,
    /// The device ID, not validated.
    pub device_id: String,
}

impl TokenAudience {
    /// Parses the name of a token, percent-encoded or not; returns `None` if it does not name a device.
    pub fn parse(name: &str) -> Option<TokenAudience> {
        let name = percent_decode_str(name).decode_utf8().ok()?;
        let (host, path) = name.strip_prefix("amqps://").unwrap_or(&name).split_once('/')?;
        let device_id = path.strip_prefix("devices/")?;
        let device_id = device_id.strip_suffix('/').unwrap_or(device_id);
        let names_device = !device_id.is_empty() && !device_id.contains('/');
        names_device.then(|| TokenAudience { host: host.to_owned(), device_id: device_id.to_owned() })
    }
}

/// The operations of a device on its twin over AMQP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TwinOperation {
    /// A request for the whole twin.
    Read,
    /// A patch of the reported properties.
    Report,
    /// A subscription to changes of desired properties.
    Subscribe,
    /// The end of the subscription to changes of desired properties.
    Unsubscribe,
}

impl TwinOperation {
    /// Parses the message annotations `operation` and `resource`; returns `None` for unknown operations.
    pub fn parse(operation: &str, resource: Option<&str>) -> Option<TwinOperation> {
        let resource = resource.map_or("", |resource| resource.trim_end_matches('/'));
        match (operation, resource) {
            ("DELETE", DESIRED) => Some(TwinOperation::Unsubscribe),
            ("GET", "") => Some(TwinOperation::Read),
            ("PATCH", REPORTED) => Some(TwinOperation::Report),
            ("PUT", DESIRED) => Some(TwinOperation::Subscribe),
            _ => None,
        }
    }
}

const DESIRED: &str = "/notifications/twin/properties/desired";
const REPORTED: &str = "/properties/reported";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sas::encode_component;

    #[test]
    fn link_addresses_of_sdks_are_parsed() {
        let own = |host, node| Some(LinkAddress { host, device_id: "d-1", module_id: None, node });
        for (address, expected) in [
            ("/devices/d-1/messages/events", own(None, LinkNode::Events)),
            ("devices/d-1/messages/deviceBound", own(None, LinkNode::Devicebound)),
            ("/devices/d-1/twin", own(None, LinkNode::Twin)),
            (
                "amqps://hub.example/devices/d-1/methods/devicebound",
                own(Some("hub.example"), LinkNode::Methods),
            ),
            (
                "/devices/d-1/modules/m/twin",
                Some(LinkAddress {
                    host: None,
                    device_id: "d-1",
                    module_id: Some("m"),
                    node: LinkNode::Twin,
                }),
            ),
            ("/devices/d-1/files", None),
            ("/devices/d-1", None),
            ("/devices/d-1/twin/", None),
            ("amqps://hub.example", None),
            ("https://hub.example/devices/d-1/twin", None),
            ("$cbs", None),
            ("0ne0/registrations/r", None),
            ("", None),
        ] {
            assert_eq!(LinkAddress::parse(address), expected, "{address}");
        }
    }

    #[test]
    fn token_audiences_of_sdks_are_parsed() {
        for (name, expected) in [
            ("hub.example%2Fdevices%2Fd%231", Some(("hub.example", "d#1"))),
            ("hub.example/devices/d", Some(("hub.example", "d"))),
            ("amqps://hub.example/devices/d/", Some(("hub.example", "d"))),
            ("hub.example/devices/d/modules/m", None),
            ("hub.example/devices/", None),
            ("hub.example/messages/events", None),
            ("hub.example", None),
            ("%ff%2Fdevices%2Fd", None),
        ] {
            let read = TokenAudience::parse(name).map(|audience| (audience.host, audience.device_id));
            let read = read.as_ref().map(|(host, device_id)| (host.as_str(), device_id.as_str()));
            assert_eq!(read, expected, "{name}");
        }
    }

    #[test]
    fn operations_on_twins_are_parsed() {
        for (operation, resource, expected) in [
            ("GET", None, Some(TwinOperation::Read)),
            ("PATCH", Some("/properties/reported"), Some(TwinOperation::Report)),
            ("PATCH", Some("/properties/reported/"), Some(TwinOperation::Report)),
            ("PUT", Some("/notifications/twin/properties/desired"), Some(TwinOperation::Subscribe)),
            ("DELETE", Some("/notifications/twin/properties/desired"), Some(TwinOperation::Unsubscribe)),
            ("PATCH", Some("/properties/desired"), None),
            ("PUT", None, None),
            ("GET", Some("/tags"), None),
            ("get", None, None),
        ] {
            assert_eq!(TwinOperation::parse(operation, resource), expected, "{operation} {resource:?}");
        }
    }

    proptest! {
        /// Addresses read back from their standard form.
        #[test]
        fn addresses_read_back(
            text in "(amqps://h)?/?devices/\\PC{0,8}/(modules/m/)?(twin|messages/(events|deviceBound)|methods/devicebound)|\\PC{0,80}",
        ) {
            if let Some(address) = LinkAddress::parse(&text) {
                let module = address.module_id.map(|id| format!("/modules/{id}")).unwrap_or_default();
                let (name, _) = NODES.into_iter().find(|(_, node)| *node == address.node).unwrap();
                let standard = format!("/devices/{}{module}/{name}", address.device_id);
                prop_assert_eq!(LinkAddress::parse(&standard), Some(LinkAddress { host: None, ..address }));
            }
        }

        #[test]
        fn audiences_read_back_encoded_or_not(host in "[a-z.:0-9]{1,12}", id in "[^/%]{1,12}") {
            let name = format!("{host}/devices/{id}");
            let expected = TokenAudience { host, device_id: id };
            prop_assert_eq!(TokenAudience::parse(&name), Some(expected.clone()));
            prop_assert_eq!(TokenAudience::parse(&encode_component(&name)), Some(expected));
        }
    }
}
