//! Everything short that peers send: user names, topics, versions, IDs, times, conditions.

use std::fmt::{Debug, Display};

use model::{
    CaReference, Day, DeviceId, EnrollmentGroupId, Etag, HostName, HubName, IdScope, OperationId, PolicyName,
    RegistrationId, SymmetricKey, Timestamp,
};
use wire::{
    api_version::DeviceApiVersion,
    device::MqttUserName,
    hub::{IfMatch, Query, UserName},
    service::{Collection, ServiceApiVersion, page_limit, parse_if_match},
    topics::{DeviceFilter, DevicePublish, HubPublish, RegistrationReply, RegistrationRequest},
};

/// One text, read as each of them; what prints, prints as something that reads back equal.
pub fn run(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    ids(text);
    topics(text);
    if let Some(name) = MqttUserName::parse(text) {
        assert_eq!(RegistrationId::parse(name.registration_id.as_str()).as_ref(), Ok(&name.registration_id));
        let _ = DeviceApiVersion::parse(&name.api_version).map(DeviceApiVersion::assigning_first);
    }
    if let Ok(name) = UserName::parse(text) {
        assert!(text.contains(name.host_name()));
    }
    if let Some(version) = ServiceApiVersion::parse(text) {
        assert_eq!(ServiceApiVersion::parse(version.as_str()), Some(version));
    }
    let _ = (DeviceApiVersion::parse(text), parse_if_match(text), IfMatch::parse(Some(text)));
    let _ = (Query::parse(text), page_limit(Some(text)));
    for collection in [Collection::Individuals, Collection::Groups, Collection::Registrations] {
        if let Ok(after) = collection.parse_continuation(text) {
            assert_eq!(collection.parse_continuation(&collection.continuation(&after)).as_ref(), Ok(&after));
        }
    }
}

fn ids(text: &str) {
    reads_back(text, |text| CaReference::parse(text));
    reads_back(text, Day::parse);
    reads_back(text, |text| DeviceId::parse(text));
    reads_back(text, |text| EnrollmentGroupId::parse(text));
    reads_back(text, |text| Etag::parse(text));
    reads_back(text, |text| HostName::parse(text));
    reads_back(text, |text| HubName::parse(text));
    reads_back(text, |text| IdScope::parse(text));
    reads_back(text, |text| OperationId::parse(text));
    reads_back(text, |text| PolicyName::parse(text));
    reads_back(text, |text| RegistrationId::parse(text));
    reads_back(text, Timestamp::parse);
    if let Ok(key) = SymmetricKey::parse(text) {
        let again = SymmetricKey::parse(&key.to_base64()).expect("a key prints as one");
        assert_eq!(again.as_bytes(), key.as_bytes());
        let _ = key.derive(text);
    }
}

fn reads_back<T: Display + Debug + PartialEq, E: Debug>(text: &str, parse: impl Fn(&str) -> Result<T, E>) {
    if let Ok(value) = parse(text) {
        assert_eq!(parse(&value.to_string()).expect("what was printed"), value);
    }
}

fn topics(text: &str) {
    if let Some(request) = RegistrationRequest::parse(text) {
        assert_eq!(RegistrationRequest::parse(&request.topic()), Some(request));
    }
    if let Some(reply) = RegistrationReply::parse(text) {
        assert_eq!(RegistrationReply::parse(&reply.topic()), Some(reply));
    }
    // Telemetry has properties in its topic that are not kept.
    if let Ok(publish) = DevicePublish::parse(text) {
        assert_eq!(DevicePublish::parse(&publish.topic()), Ok(publish));
    }
    let _ = HubPublish::parse(text);
    for filter in DeviceFilter::matching(text, "dev-1") {
        assert_eq!(DeviceFilter::matching(&filter.topic("dev-1"), "dev-1"), [filter]);
    }
}
