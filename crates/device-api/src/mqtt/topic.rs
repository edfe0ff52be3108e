//! The topics of the device API over MQTT.

use codec::mqtt::filters_overlap;
use model::OperationId;

use crate::messages::Verb;

/// All topics of replies.
const RESPONSES: &str = "$dps/registrations/res/#";

const REGISTER: &str = "$dps/registrations/PUT/iotdps-register/?";
const POLL: &str = "$dps/registrations/GET/iotdps-get-operationstatus/?";

/// What a device asks for by publishing to a topic.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    /// Repeated in the reply, byte for byte: a number, a GUID, empty, or in braces. Empty for a request without
    /// `$rid`, as at the hosted service: there are clients that write `?rid=1`.
    pub(super) id: String,
    pub(super) verb: Verb,
}

impl Request {
    /// Parses a topic; `None` when it is none of the device API's.
    pub(super) fn parse(topic: &str) -> Option<Self> {
        let id = |query| value(query, "$rid").unwrap_or_default().to_owned();
        if let Some(query) = topic.strip_prefix(REGISTER) {
            return Some(Request { id: id(query), verb: Verb::Register });
        }
        let query = topic.strip_prefix(POLL)?;
        let operation_id = value(query, "operationId").and_then(|id| OperationId::parse(id).ok());
        Some(Request { id: id(query), verb: Verb::Poll(operation_id) })
    }
}

fn value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// Whether a filter is one for replies, however a client writes it: whole, narrower, or wider within `$dps`.
pub(super) fn is_for_replies(filter: &str) -> bool {
    filter.starts_with("$dps/") && filters_overlap(filter, RESPONSES)
}

/// The topic of a reply. C# insists on `$rid` first.
pub(super) fn reply(status: u16, request_id: &str, retry_after_secs: Option<u32>) -> String {
    let retry = retry_after_secs.map(|seconds| format!("&retry-after={seconds}")).unwrap_or_default();
    format!("$dps/registrations/res/{status}/?$rid={request_id}{retry}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn topics() {
        let poll = |id: &str| Verb::Poll(OperationId::parse(id).ok());
        let cases = [
            ("$dps/registrations/PUT/iotdps-register/?$rid=1", Some(("1", Verb::Register))),
            ("$dps/registrations/PUT/iotdps-register/?$rid=", Some(("", Verb::Register))),
            ("$dps/registrations/PUT/iotdps-register/?$rid={1}", Some(("{1}", Verb::Register))),
            (
                "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=a-b&operationId=5.1.2",
                Some(("a-b", poll("5.1.2"))),
            ),
            (
                "$dps/registrations/GET/iotdps-get-operationstatus/?operationId=5.1.2&$rid=x",
                Some(("x", poll("5.1.2"))),
            ),
            (
                "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=1&operationId=a b",
                Some(("1", Verb::Poll(None))),
            ),
            ("$dps/registrations/GET/iotdps-get-operationstatus/?$rid=1", Some(("1", Verb::Poll(None)))),
            (
                "$dps/registrations/GET/iotdps-get-operationstatus/?rid=1&operationId=5.1.2",
                Some(("", poll("5.1.2"))),
            ),
            ("$dps/registrations/PUT/iotdps-register/", None),
            ("$dps/registrations/PUT/iotdps-register/?rid=1", Some(("", Verb::Register))),
            ("$dps/registrations/res/200/?$rid=1", None),
            ("devices/x/messages/events/", None),
        ];
        for (topic, expected) in cases {
            let expected = expected.map(|(id, verb)| Request { id: id.to_owned(), verb });
            assert_eq!(Request::parse(topic), expected, "{topic}");
        }
        assert_eq!(reply(202, "7", Some(3)), "$dps/registrations/res/202/?$rid=7&retry-after=3");
        assert_eq!(reply(200, "7", None), "$dps/registrations/res/200/?$rid=7");
    }

    #[test]
    fn filters() {
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
            assert_eq!(is_for_replies(filter), expected, "{filter}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,200}") {
            let _ = Request::parse(&text);
            let _ = Request::parse(&format!("{POLL}{text}"));
        }
    }
}
