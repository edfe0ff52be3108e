//! Linked hubs in the form of the Resource Manager API (`iotHubs`): `{connectionString, location, allocationWeight,
//! applyAllocationPolicy}`. `caCertificates`, for hubs whose server certificate is not from a public CA, and
//! `maxDevices`, for failover, are additions of Muster.

use model::{
    AccessDraft, AllocationPolicy, AllocationWeight, Certificate, DefaultsDraft, HostPort, HubAccess,
    HubEndpoint, HubName, LinkDraft, LinkedHub, SymmetricKey,
};
use serde_json::Value;

use super::members::{BodyError, Members, Object, parse_json};
use crate::sas::ConnectionString;

/// The text in place of a key in replies. In requests it keeps the stored key.
pub const MASKED_KEY: &str = "****";

/// The port of connection strings without one.
pub(super) const HTTPS: u16 = 443;

/// The maximum number of CA certificates of a link: instances are held in memory with all their links.
const MAX_CA_CERTIFICATES: usize = 16;

/// The error for an invalid connection string or CA certificate. The message never includes the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LinkError(String);

/// Parses the name of a hub and the access to it from a connection string.
pub fn parse_hub_connection(text: &str, ca: Vec<Certificate>) -> Result<(HubName, AccessDraft), LinkError> {
    let refused = |error: &dyn std::fmt::Display| LinkError(error.to_string());
    let parts = ConnectionString::parse(text).map_err(|error| refused(&error))?;
    let address: HostPort = parts.host.parse().map_err(|error| refused(&error))?;
    let name = HubName::parse(address.host.as_str()).map_err(|error| refused(&error))?;
    let key = match parts.key.as_str() {
        MASKED_KEY => None,
        key => Some(SymmetricKey::parse(key).map_err(|error| refused(&error))?),
    };
    Ok((name, AccessDraft { port: address.port.unwrap_or(HTTPS), policy: parts.key_name, key, ca }))
}

/// Parses the CA certificates of a link.
pub fn parse_ca_certificates(document: &[u8]) -> Result<Vec<Certificate>, LinkError> {
    let certificates = Certificate::parse_all(document).map_err(|error| LinkError(error.to_string()))?;
    if certificates.len() > MAX_CA_CERTIFICATES {
        return Err(LinkError(format!(
            "at most {MAX_CA_CERTIFICATES} certificates, not {}",
            certificates.len()
        )));
    }
    Ok(certificates)
}

/// Parses the body of a request to link the hub `name`, or to change its link.
pub fn parse_link(name: &HubName, body: &[u8]) -> Result<LinkDraft, BodyError> {
    let body = parse_json(body)?;
    let members = Members::of_body(&body)?;
    parse_link_members(name, &members, members.integer("allocationWeight")?)
}

/// Parses the members of a link of the hub `name`, apart from its weight.
pub(super) fn parse_link_members(
    name: &HubName,
    members: &Members<'_>,
    weight: Option<u64>,
) -> Result<LinkDraft, BodyError> {
    let ca = members.parsed("caCertificates", |text| parse_ca_certificates(text.as_bytes()))?;
    let connection = members.parsed("connectionString", |text| {
        let (other, access) = parse_hub_connection(text, ca.clone().unwrap_or_default())?;
        let is_same = other == *name;
        let differs = || LinkError(format!("the connection string is of {other}, but the path says {name}"));
        is_same.then_some(access).ok_or_else(differs)
    })?;
    if connection.is_none() && ca.is_some() {
        return Err(members.refuse("caCertificates", "requires connectionString"));
    }
    let weight = weight.map(|weight| match u16::try_from(weight) {
        Ok(weight) => {
            AllocationWeight::new(weight).map_err(|error| members.refuse("allocationWeight", error))
        }
        Err(_) => Err(members.refuse("allocationWeight", "must be 1 to 1000")),
    });
    Ok(LinkDraft {
        name: name.clone(),
        access: connection,
        location: members.parsed("location", location)?.unwrap_or_default(),
        weight: weight.transpose()?.unwrap_or_default(),
        takes_new_devices: members.flag("applyAllocationPolicy")?.unwrap_or(true),
        max_devices: members.integer("maxDevices")?,
    })
}

/// Parses a location. Names of cloud regions have a few dozen characters.
fn location(text: &str) -> Result<String, &'static str> {
    let fits = text.chars().count() <= 128 && !text.chars().any(char::is_control);
    if fits {
        Ok(text.to_owned())
    } else {
        Err("must be at most 128 characters, none of them a control character")
    }
}

/// The members of a linked hub in replies that operators do not set.
pub struct LinkStatus<'a> {
    /// The etag of the link, in quotes as in headers.
    pub etag: &'a str,
    /// Whether the configuration has this link.
    pub configured: bool,
    /// The health of the hub, by its latest replies.
    pub health: Value,
}

/// Writes a linked hub. The key is masked.
pub fn link_json(hub: &LinkedHub, status: LinkStatus<'_>) -> Value {
    let mut json = Object::default();
    json.put("name", hub.name.as_str());
    if let HubEndpoint::Access(access) = &hub.endpoint {
        json.put("connectionString", connection_string(&hub.name, access));
        json.put_some("caCertificates", ca_certificates(access));
    }
    put_settings(&mut json, hub);
    json.put("origin", if status.configured { "configuration" } else { "operator" })
        .put("embedded", hub.endpoint == HubEndpoint::Embedded)
        .put("etag", status.etag)
        .put("health", status.health);
    json.into_value()
}

/// Writes the settings of a link beside the access to its hub.
pub(super) fn put_settings(json: &mut Object, hub: &LinkedHub) {
    json.put("location", hub.location.as_str())
        .put("allocationWeight", hub.weight.number())
        .put("applyAllocationPolicy", hub.takes_new_devices)
        .put_some("maxDevices", hub.max_devices);
}

/// Returns the connection string of a hub with its key masked.
pub(super) fn connection_string(name: &HubName, access: &HubAccess) -> String {
    let host = match access.port {
        HTTPS => name.to_string(),
        port => format!("{name}:{port}"),
    };
    masked_connection_string(host, &access.policy)
}

/// Returns a connection string with its key masked.
pub(super) fn masked_connection_string(host: String, policy: &str) -> String {
    ConnectionString { host, key_name: policy.to_owned(), key: MASKED_KEY.to_owned() }.to_string()
}

/// Returns the CA certificates of a hub in PEM, if it has any.
pub(super) fn ca_certificates(access: &HubAccess) -> Option<String> {
    let ca: String = access.ca.iter().map(Certificate::to_pem).collect();
    Some(ca).filter(|ca| !ca.is_empty())
}

/// Parses the defaults for enrollments that do not set a policy: `{"allocationPolicy": WORD, "failover": BOOL}`. An
/// absent member keeps its stored value; one of the two is required.
pub fn parse_allocation_defaults(body: &[u8]) -> Result<DefaultsDraft, BodyError> {
    let body = parse_json(body)?;
    let members = Members::of_body(&body)?;
    let failover = members.flag("failover")?;
    let policy = members.word("allocationPolicy", &DEFAULT_POLICIES)?;
    let allocation_policy = match (policy, failover) {
        (None, None) => Some(members.required("allocationPolicy", None)?),
        (policy, _) => policy,
    };
    Ok(DefaultsDraft { allocation_policy, failover })
}

/// Writes the defaults for enrollments that do not set a policy.
pub fn allocation_defaults_json(defaults: DefaultsDraft) -> Value {
    let is_set = |meaning| defaults.allocation_policy == Some(meaning);
    let word = DEFAULT_POLICIES.iter().find(|(_, meaning)| is_set(*meaning)).map(|(word, _)| *word);
    let mut json = Object::default();
    json.put_some("allocationPolicy", word).put_some("failover", defaults.failover);
    json.into_value()
}

/// The policies that may be a default: only an enrollment can have the custom policy.
const DEFAULT_POLICIES: [(&str, AllocationPolicy); 3] = [
    ("hashed", AllocationPolicy::Hashed),
    ("geoLatency", AllocationPolicy::GeoLatency),
    ("static", AllocationPolicy::Static),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

    fn name() -> HubName {
        HubName::parse("hub.example").unwrap()
    }

    fn parse(body: &Value) -> Result<LinkDraft, String> {
        parse_link(&name(), body.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    fn connection(host: &str, key: &str) -> String {
        format!("HostName={host};SharedAccessKeyName=iothubowner;SharedAccessKey={key}")
    }

    #[test]
    fn links_are_parsed() {
        let draft = parse(&json!({
            "name": "ignored", "connectionString": connection("Hub.example:8443", KEY), "location": "north",
            "allocationWeight": 7, "applyAllocationPolicy": false,
        }));
        let draft = draft.unwrap();
        let access = draft.access.unwrap();
        assert_eq!((access.port, access.policy.as_str()), (8443, "iothubowner"));
        assert_eq!(access.key.unwrap().to_base64(), KEY);
        assert_eq!((draft.location.as_str(), draft.weight.number()), ("north", 7));
        assert!(!draft.takes_new_devices);
        let bare = parse(&json!({"connectionString": connection("hub.example", MASKED_KEY)})).unwrap();
        assert_eq!((bare.weight.number(), bare.takes_new_devices), (1, true));
        let access = bare.access.unwrap();
        assert_eq!((access.port, access.key), (443, None));
        assert_eq!(parse(&json!({"allocationWeight": 2})).unwrap().access, None);
    }

    #[test]
    fn errors_hide_the_key() {
        for (body, expected) in [
            (json!({"connectionString": "HostName=hub.example"}), "lacks SharedAccessKeyName"),
            (json!({"connectionString": connection("other.example", KEY)}), "the path says hub.example"),
            (json!({"connectionString": connection("hub.example:0", KEY)}), "port \"0\""),
            (json!({"connectionString": connection("hub.example", "c2VjcmV0")}), "16 to 64"),
            (json!({"connectionString": 7}), "connectionString: must be a string"),
            (json!({"allocationWeight": 0}), "allocationWeight: "),
            (json!({"allocationWeight": 1001}), "1 to 1000"),
            (json!({"allocationWeight": 100_000}), "1 to 1000"),
            (json!({"allocationWeight": 1.5}), "must be a whole number"),
            (json!({"applyAllocationPolicy": "yes"}), "true or false"),
            (json!({"location": "a\nb"}), "control character"),
            (json!({"caCertificates": "none"}), "caCertificates: "),
        ] {
            let error = parse(&body).unwrap_err();
            assert!(error.contains(expected), "{body}: {error}");
            assert!(!error.contains(KEY) && !error.contains("c2VjcmV0"), "{error}");
        }
    }

    #[test]
    fn keys_are_masked_and_replies_are_accepted_as_requests() {
        let access = HubAccess {
            port: 8443,
            policy: "iothubowner".to_owned(),
            key: SymmetricKey::parse(KEY).unwrap(),
            ca: Vec::new(),
        };
        let hub = LinkedHub {
            name: name(),
            endpoint: HubEndpoint::Access(access.clone()),
            location: "north".to_owned(),
            weight: AllocationWeight::new(3).unwrap(),
            takes_new_devices: true,
            max_devices: Some(1000),
        };
        let status = LinkStatus { etag: "\"1\"", configured: false, health: json!({"circuit": "closed"}) };
        let shown = link_json(&hub, status);
        assert_eq!(shown["connectionString"], connection("hub.example:8443", "****"));
        assert!(!shown.to_string().contains(KEY), "{shown}");
        let sent_back = parse(&shown).unwrap();
        assert_eq!(sent_back.max_devices, hub.max_devices);
        let draft = AccessDraft { port: 8443, policy: access.policy, key: None, ca: Vec::new() };
        assert_eq!((sent_back.access, sent_back.weight), (Some(draft), hub.weight));
        let embedded = LinkedHub { endpoint: HubEndpoint::Embedded, ..hub };
        let status = LinkStatus { etag: "\"1\"", configured: true, health: json!({}) };
        let shown = link_json(&embedded, status);
        assert_eq!((shown.get("connectionString"), &shown["origin"]), (None, &json!("configuration")));
    }

    #[test]
    fn allocation_defaults_are_written_and_parsed() {
        for (word, policy) in DEFAULT_POLICIES {
            let defaults = DefaultsDraft { allocation_policy: Some(policy), failover: Some(true) };
            let json = allocation_defaults_json(defaults);
            assert_eq!(json, json!({ "allocationPolicy": word, "failover": true }));
            let upper = json!({ "AllocationPolicy": word.to_uppercase() }).to_string();
            let draft = DefaultsDraft { allocation_policy: Some(policy), failover: None };
            assert_eq!(parse_allocation_defaults(upper.as_bytes()).unwrap(), draft);
        }
        let draft = DefaultsDraft { allocation_policy: None, failover: Some(false) };
        assert_eq!(parse_allocation_defaults(br#"{"failover":false}"#).unwrap(), draft);
        for body in ["{}", r#"{"allocationPolicy":"custom"}"#, r#"{"failover":"yes"}"#, "[]"] {
            assert!(parse_allocation_defaults(body.as_bytes()).is_err(), "{body}");
        }
    }
}
