//! The topics of the device API.

use codec::mqtt::filters_overlap;
use model::OperationId;

use crate::device::RegistrationOperation;

const REGISTER: &str = "$dps/registrations/PUT/iotdps-register/?";
const POLL: &str = "$dps/registrations/GET/iotdps-get-operationstatus/?";
const REPLY: &str = "$dps/registrations/res/";
const REPLIES: &str = "$dps/registrations/res/#";

/// A request of a device, identified by its topic.
#[derive(Debug, Clone, PartialEq)]
pub struct RegistrationRequest {
    /// The request ID, which the reply repeats byte for byte: a number, a GUID, empty, or in braces. Empty without `$rid`, as
    /// at the hosted service: some clients write `?rid=1`.
    pub request_id: String,
    /// What the device asks for.
    pub operation: RegistrationOperation,
}

impl RegistrationRequest {
    /// Parses a topic; returns `None` if it is not one that devices publish to.
    pub fn parse(topic: &str) -> Option<RegistrationRequest> {
        let request_id = |query| value(query, "$rid").unwrap_or_default().to_owned();
        if let Some(query) = topic.strip_prefix(REGISTER) {
            let operation = RegistrationOperation::Register;
            return Some(RegistrationRequest { request_id: request_id(query), operation });
        }
        let query = topic.strip_prefix(POLL)?;
        let operation_id = value(query, "operationId").and_then(|id| OperationId::parse(id).ok());
        let operation = RegistrationOperation::Poll(operation_id);
        Some(RegistrationRequest { request_id: request_id(query), operation })
    }

    /// Returns the topic.
    pub fn topic(&self) -> String {
        let RegistrationRequest { request_id, operation } = self;
        match operation {
            RegistrationOperation::Register => format!("{REGISTER}$rid={request_id}"),
            RegistrationOperation::Poll(None) => format!("{POLL}$rid={request_id}"),
            RegistrationOperation::Poll(Some(operation_id)) => {
                format!("{POLL}$rid={request_id}&operationId={operation_id}")
            }
        }
    }
}

/// A reply to a device, identified by its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegistrationReply<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The request ID of the request.
    pub request_id: &'a str,
    /// When the device should ask again, in seconds.
    pub retry_after_secs: Option<u64>,
}

impl<'a> RegistrationReply<'a> {
    /// Parses a topic; returns `None` if it is not that of a reply.
    pub fn parse(topic: &'a str) -> Option<RegistrationReply<'a>> {
        let (status, query) = topic.strip_prefix(REPLY)?.split_once("/?")?;
        Some(RegistrationReply {
            status: status.parse().ok()?,
            request_id: value(query, "$rid")?,
            retry_after_secs: value(query, "retry-after").and_then(|seconds| seconds.parse().ok()),
        })
    }

    /// Returns the topic. The SDK for C# needs `$rid` to come first.
    pub fn topic(&self) -> String {
        let RegistrationReply { status, request_id, retry_after_secs } = self;
        let retry = retry_after_secs.map(|seconds| format!("&retry-after={seconds}")).unwrap_or_default();
        format!("{REPLY}{status}/?$rid={request_id}{retry}")
    }
}

/// The replies as something to subscribe to.
#[derive(Debug, Clone, Copy)]
pub struct RegistrationReplies;

impl RegistrationReplies {
    /// The topic filter for all replies.
    pub const FILTER: &'static str = REPLIES;

    /// Returns whether a topic filter is one for replies, however a client writes it: whole, narrower, or wider within `$dps`.
    pub fn is_filter(filter: &str) -> bool {
        filter.starts_with("$dps/") && filters_overlap(filter, REPLIES)
    }
}

fn value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn register(request_id: &str) -> Option<RegistrationRequest> {
        let request_id = request_id.to_owned();
        Some(RegistrationRequest { request_id, operation: RegistrationOperation::Register })
    }

    fn poll(request_id: &str, operation_id: &str) -> Option<RegistrationRequest> {
        let request_id = request_id.to_owned();
        let operation = RegistrationOperation::Poll(OperationId::parse(operation_id).ok());
        Some(RegistrationRequest { request_id, operation })
    }

    #[test]
    fn requests_are_parsed() {
        for (topic, expected) in [
            ("$dps/registrations/PUT/iotdps-register/?$rid=1", register("1")),
            ("$dps/registrations/PUT/iotdps-register/?$rid=", register("")),
            ("$dps/registrations/PUT/iotdps-register/?$rid={1}", register("{1}")),
            ("$dps/registrations/PUT/iotdps-register/?rid=1", register("")),
            (
                "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=a-b&operationId=5.1.2",
                poll("a-b", "5.1.2"),
            ),
            (
                "$dps/registrations/GET/iotdps-get-operationstatus/?operationId=5.1.2&$rid=x",
                poll("x", "5.1.2"),
            ),
            ("$dps/registrations/GET/iotdps-get-operationstatus/?$rid=1&operationId=a b", poll("1", "")),
            ("$dps/registrations/GET/iotdps-get-operationstatus/?$rid=1", poll("1", "")),
            ("$dps/registrations/GET/iotdps-get-operationstatus/?rid=1&operationId=5.1.2", poll("", "5.1.2")),
            ("$dps/registrations/PUT/iotdps-register/", None),
            ("$dps/registrations/res/200/?$rid=1", None),
            ("devices/x/messages/events/", None),
        ] {
            assert_eq!(RegistrationRequest::parse(topic), expected, "{topic}");
        }
    }

    #[test]
    fn requests_are_written() {
        for (request, topic) in [
            (register("7"), "$dps/registrations/PUT/iotdps-register/?$rid=7"),
            (
                poll("7", "5.1.2"),
                "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=7&operationId=5.1.2",
            ),
            (poll("7", ""), "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=7"),
        ] {
            assert_eq!(request.as_ref().unwrap().topic(), topic);
            assert_eq!(RegistrationRequest::parse(topic), request);
        }
    }

    #[test]
    fn replies_are_parsed_and_written() {
        let reply = |status, request_id, retry_after_secs| {
            Some(RegistrationReply { status, request_id, retry_after_secs })
        };
        for (topic, expected) in [
            ("$dps/registrations/res/202/?$rid=7&retry-after=3", reply(202, "7", Some(3))),
            ("$dps/registrations/res/200/?$rid=7", reply(200, "7", None)),
            ("$dps/registrations/res/200/?$rid=", reply(200, "", None)),
        ] {
            assert_eq!(RegistrationReply::parse(topic), expected, "{topic}");
            assert_eq!(expected.unwrap().topic(), topic);
        }
        for (topic, expected) in [
            ("$dps/registrations/res/429/?retry-after=5&$rid=7", reply(429, "7", Some(5))),
            ("$dps/registrations/res/202/?$rid=7&retry-after=soon", reply(202, "7", None)),
            ("", None),
            ("$dps/registrations/res/200", None),
            ("$dps/registrations/res/200/?", None),
            ("$dps/registrations/res/x/?$rid=7", None),
            ("$dps/registrations/PUT/iotdps-register/?$rid=7", None),
            ("$iothub/twin/res/200/?$rid=7", None),
        ] {
            assert_eq!(RegistrationReply::parse(topic), expected, "{topic}");
        }
    }

    #[test]
    fn filters_for_replies_are_recognized() {
        for (filter, expected) in [
            ("$dps/registrations/res/#", true),
            ("$dps/registrations/res/202/#", true),
            ("$dps/registrations/res/+/+", true),
            ("$dps/#", true),
            ("$dps/registrations/PUT/#", false),
            ("$iothub/#", false),
            ("#", false),
            ("+/registrations/res/#", false),
        ] {
            assert_eq!(RegistrationReplies::is_filter(filter), expected, "{filter}");
        }
    }

    proptest! {
        /// A topic that is accepted is the same after it was written again, if the request ID is.
        #[test]
        fn parsed_topics_read_back(text in "\\PC{0,200}") {
            for topic in [text.clone(), format!("{REGISTER}{text}"), format!("{POLL}{text}")] {
                if let Some(request) = RegistrationRequest::parse(&topic) {
                    let topic = request.topic();
                    prop_assert_eq!(RegistrationRequest::parse(&topic), Some(request));
                }
            }
        }
    }
}
