//! Instances as resources of Azure's Resource Manager API: `ProvisioningServiceDescription`. Settings that Azure does not have
//! are in `properties.muster`.

use std::{collections::BTreeMap, fmt};

use certpath::CrlMaxAge;
use model::{
    AccessDraft, AccessPolicy, AllocationPolicy, ExistingDevices, HostName, HubEndpoint, HubName, Instance,
    InstanceDraft, KeepDays, LatencyTable, LinkDraft, LinkedHub, ManagedBy, PolicyDraft, PolicyName,
    RegistrationOwnership, Rights, SymmetricKey, WebhookKeyDraft,
};
use serde_json::{Value, json};

use super::{
    ip_filter::{ip_filter_json, parse_ip_filter, parse_public_access, public_access_word},
    latency::{latency_rows, latency_rows_json},
    link::{
        HTTPS, ca_certificates, connection_string, masked_connection_string, parse_hub_connection,
        parse_link_members, put_settings,
    },
    members::{BodyError, Members, Object, parse_json},
    quotas::{parse_quotas, quotas_json},
};

/// The type of the resources.
const TYPE: &str = "Microsoft.Devices/ProvisioningServices";

/// The longest key or value of a tag, and the longest region, in characters.
const MAX_TEXT: usize = 512;

/// The policy in the connection string of an embedded hub, which has no key: clients send back connection strings only.
const EMBEDDED: &str = "embedded";

/// What replies show in place of a webhook key that an operator or the configuration set.
const MASK: &str = "****";

/// The webhook key that the service derives for the instance.
const DERIVED: &str = "derived";

const POLICIES: [(&str, AllocationPolicy); 3] = [
    ("Hashed", AllocationPolicy::Hashed),
    ("GeoLatency", AllocationPolicy::GeoLatency),
    ("Static", AllocationPolicy::Static),
];

const OWNERSHIPS: [(&str, RegistrationOwnership); 2] =
    [("movable", RegistrationOwnership::Movable), ("first-come", RegistrationOwnership::FirstCome)];

const EXISTING: [(&str, ExistingDevices); 2] =
    [("adopt", ExistingDevices::Adopt), ("refuse", ExistingDevices::Refuse)];

/// Parses the body of a request to create or change an instance.
pub fn parse_instance(body: &[u8]) -> Result<InstanceDraft, BodyError> {
    let body = parse_json(body)?;
    let members = Members::of_body(&body)?;
    let sku = members.required("sku", members.object("sku")?)?;
    sku.word("name", &[("S1", ())])?;
    let capacity = sku.integer("capacity")?.map(|capacity| match u32::try_from(capacity) {
        Ok(capacity @ 1..) => Ok(capacity),
        _ => Err(sku.refuse("capacity", "must be a number of units from 1 on")),
    });
    let properties = members.required("properties", members.object("properties")?)?;
    reject_unsupported(&properties)?;
    let ours = properties.object("muster")?;
    let draft = InstanceDraft {
        location: members.parsed("location", text)?.map(str::to_owned),
        tags: tags(&members)?,
        capacity: capacity.transpose()?,
        allocation_policy: properties.word("allocationPolicy", &POLICIES)?,
        linked_hubs: hubs(&properties)?,
        access_policies: policies(&properties)?,
        public_network_access: parse_public_access(&properties)?,
        ip_filter: parse_ip_filter(&properties)?,
        ..InstanceDraft::default()
    };
    let Some(ours) = ours else { return Ok(draft) };
    let most = ours.integer("maxRegistrationsPerMinute")?.map(u32::try_from).transpose();
    let most = most.map_err(|_| ours.refuse("maxRegistrationsPerMinute", "is too large"))?;
    let latency_table = latency_rows(&ours)?.map(LatencyTable::try_from).transpose();
    Ok(InstanceDraft {
        crl_max_age: days(&ours, "crlMaxAgeDays", CrlMaxAge::try_from)?,
        webhook_key: webhook_key(&ours)?,
        latency_table: latency_table.map_err(|error| ours.refuse("latencyTable", error))?,
        keep_attempts: keep_attempts(&ours)?,
        service_hosts: ours.list("serviceHosts", HostName::parse)?,
        failover: ours.flag("failover")?,
        require_verified_ca: ours.flag("requireVerifiedCa")?,
        registrations: ours.word("registrations", &OWNERSHIPS)?,
        existing_devices: ours.word("existingDevices", &EXISTING)?,
        max_registrations_per_minute: most,
        quotas: parse_quotas(&ours)?,
        ..draft
    })
}

fn days<T, E: fmt::Display>(
    members: &Members<'_>,
    name: &str,
    parse: impl Fn(u16) -> Result<T, E>,
) -> Result<Option<T>, BodyError> {
    let Some(days) = members.integer(name)? else { return Ok(None) };
    parse(u16::try_from(days).unwrap_or(u16::MAX)).map(Some).map_err(|error| members.refuse(name, error))
}

/// Parses the age of refused attempts; 0 for that of the service.
fn keep_attempts(ours: &Members<'_>) -> Result<Option<Option<KeepDays>>, BodyError> {
    days(ours, "keepAttemptsDays", |days| match days {
        0 => Ok(None),
        _ => KeepDays::try_from(days).map(Some),
    })
}

/// Parses the key that signs requests to webhooks. The mask of replies keeps the stored key.
fn webhook_key(ours: &Members<'_>) -> Result<Option<WebhookKeyDraft>, BodyError> {
    let key = ours.parsed("webhookKey", |text| match text {
        MASK => Ok(None),
        DERIVED => Ok(Some(WebhookKeyDraft::Derived)),
        _ => SymmetricKey::parse(text).map(WebhookKeyDraft::Given).map(Some),
    })?;
    Ok(key.flatten())
}

/// Refuses settings of Azure that would have no effect, other than the values that replies show.
fn reject_unsupported(properties: &Members<'_>) -> Result<(), BodyError> {
    let shown = [
        ("privateEndpointConnections", json!([])),
        ("enableDataResidency", json!(false)),
        ("disableLocalAuth", json!(false)),
    ];
    let differs = |(name, shown): &&(&str, Value)| properties.value(name).is_some_and(|it| it != shown);
    match shown.iter().find(differs) {
        Some((name, shown)) => {
            Err(properties.refuse(name, format!("is not supported, other than as {shown}")))
        }
        None => Ok(()),
    }
}

/// Parses the body of a request to change the tags: `{"tags": {…}}`.
pub fn parse_tags(body: &[u8]) -> Result<InstanceDraft, BodyError> {
    let body = parse_json(body)?;
    Ok(InstanceDraft { tags: tags(&Members::of_body(&body)?)?, ..InstanceDraft::default() })
}

/// Parses the body of a question whether a name is available: `{"name": …}`.
pub fn parse_name(body: &[u8]) -> Result<String, BodyError> {
    let body = parse_json(body)?;
    let members = Members::of_body(&body)?;
    members.required("name", members.parsed("name", text)?.map(str::to_owned))
}

/// Parses an access policy; its name is that of the path.
pub fn parse_policy(name: PolicyName, body: &[u8]) -> Result<PolicyDraft, BodyError> {
    let body = parse_json(body)?;
    policy(name, &Members::of_body(&body)?)
}

fn text(text: &str) -> Result<&str, String> {
    let fits = text.chars().count() <= MAX_TEXT && !text.chars().any(char::is_control);
    fits.then_some(text)
        .ok_or_else(|| format!("must be at most {MAX_TEXT} characters, none of them a control character"))
}

fn tags(members: &Members<'_>) -> Result<Option<BTreeMap<String, String>>, BodyError> {
    let Some(value) = members.value("tags") else { return Ok(None) };
    let refuse = |problem: String| members.refuse("tags", problem);
    let tags = value.as_object().ok_or_else(|| refuse("must be a JSON object".to_owned()))?;
    let tag = |(name, value): (&String, &Value)| {
        let value = value.as_str().ok_or_else(|| refuse("values must be strings".to_owned()))?;
        text(name).map_err(refuse)?;
        text(value).map_err(refuse)?;
        Ok((name.clone(), value.to_owned()))
    };
    tags.iter().map(tag).collect::<Result<_, _>>().map(Some)
}

fn hubs(properties: &Members<'_>) -> Result<Option<Vec<LinkDraft>>, BodyError> {
    let Some(items) = properties.items("iotHubs")? else { return Ok(None) };
    let hub = |item: Result<Members<'_>, BodyError>| {
        let item = item?;
        // Embedded hubs may be named instead.
        let named = item.parsed("name", HubName::parse)?;
        let connected = item.parsed("connectionString", |text| parse_hub_connection(text, Vec::new()))?;
        let name = item.required("connectionString", connected.map(|(name, _)| name).or(named))?;
        // Clients that leave the weight out may write 0.
        let weight = item.integer("allocationWeight")?.filter(|weight| *weight != 0);
        let draft = parse_link_members(&name, &item, weight)?;
        let is_embedded =
            |access: &AccessDraft| access.key.is_none() && access.policy == EMBEDDED && access.port == HTTPS;
        Ok(LinkDraft { access: draft.access.filter(|access| !is_embedded(access)), ..draft })
    };
    items.into_iter().map(hub).collect::<Result<_, _>>().map(Some)
}

fn policies(properties: &Members<'_>) -> Result<Option<Vec<PolicyDraft>>, BodyError> {
    let Some(items) = properties.items("authorizationPolicies")? else { return Ok(None) };
    let parse = |item: Result<Members<'_>, BodyError>| {
        let item = item?;
        let name = item.required("keyName", item.parsed("keyName", PolicyName::parse)?)?;
        policy(name, &item)
    };
    items.into_iter().map(parse).collect::<Result<_, _>>().map(Some)
}

fn policy(name: PolicyName, members: &Members<'_>) -> Result<PolicyDraft, BodyError> {
    Ok(PolicyDraft {
        name,
        primary_key: members.parsed("primaryKey", SymmetricKey::parse)?,
        secondary_key: members.parsed("secondaryKey", SymmetricKey::parse)?,
        rights: members.parsed("rights", Rights::parse)?,
    })
}

/// Writes an instance. Keys are left out: another call returns them.
pub fn instance_json(instance: &Instance, id: &str, etag: &str) -> Value {
    let facts = &instance.resource;
    let word =
        POLICIES.iter().find(|(_, policy)| *policy == instance.allocation_policy).map(|(word, _)| *word);
    let host = instance.service_hosts.first().map_or("", HostName::as_str);
    let state = if instance.deletion.is_some() { "Deleting" } else { "Active" };
    let provisioning_state = if instance.deletion.is_some() { "Deleting" } else { "Succeeded" };
    let policies = instance.access_policies.iter();
    let mut properties = Object::default();
    properties
        .put("state", state)
        .put("provisioningState", provisioning_state)
        .put("iotHubs", instance.linked_hubs.iter().map(hub_json).collect::<Vec<_>>())
        .put_some("allocationPolicy", word)
        .put("serviceOperationsHostName", host)
        .put("deviceProvisioningHostName", host)
        .put("idScope", instance.id_scope.as_str())
        .put(
            "authorizationPolicies",
            policies.map(|policy| policy_json(policy, Keys::Hidden)).collect::<Vec<_>>(),
        )
        .put_some("publicNetworkAccess", public_access_word(instance.public_network_access))
        .put("ipFilterRules", ip_filter_json(&instance.ip_filter))
        .put("privateEndpointConnections", json!([]))
        .put("enableDataResidency", false)
        .put("muster", ours_json(instance));
    let mut json = Object::default();
    json.put("id", id)
        .put("name", instance.resource_name())
        .put("type", TYPE)
        .put("location", facts.location.as_str())
        .put("tags", json!(facts.tags))
        .put("etag", etag)
        .put("resourcegroup", facts.resource_group.as_str())
        .put("subscriptionid", facts.subscription.as_str())
        .put("sku", json!({"name": "S1", "tier": "Standard", "capacity": facts.capacity}))
        .put("properties", properties.into_value());
    json.into_value()
}

fn ours_json(instance: &Instance) -> Value {
    let ownership = OWNERSHIPS.iter().find(|(_, it)| *it == instance.registrations).map(|(word, _)| *word);
    let existing = EXISTING.iter().find(|(_, it)| *it == instance.existing_devices).map(|(word, _)| *word);
    let hosts: Vec<&str> = instance.service_hosts.iter().map(HostName::as_str).collect();
    let mut json = Object::default();
    json.put("serviceHosts", hosts)
        .put("failover", instance.failover)
        .put("requireVerifiedCa", instance.require_verified_ca)
        .put_some("registrations", ownership)
        .put_some("existingDevices", existing)
        .put("crlMaxAgeDays", u16::from(instance.crl_max_age))
        .put("webhookKey", if instance.webhook_key.is_some() { MASK } else { DERIVED })
        .put("latencyTable", latency_rows_json(&instance.latency_table.rows()))
        .put("keepAttemptsDays", instance.keep_attempts.map_or(0, u16::from))
        .put("maxRegistrationsPerMinute", instance.max_registrations_per_minute.map_or(0, |most| most.get()))
        .put("quotas", quotas_json(&instance.quotas))
        .put("managed", if instance.managed == ManagedBy::File { "file" } else { "operators" });
    json.into_value()
}

fn hub_json(hub: &LinkedHub) -> Value {
    let mut json = Object::default();
    json.put("name", hub.name.as_str());
    match &hub.endpoint {
        HubEndpoint::Access(access) => {
            json.put("connectionString", connection_string(&hub.name, access))
                .put_some("caCertificates", ca_certificates(access));
        }
        HubEndpoint::Embedded => {
            json.put("connectionString", masked_connection_string(hub.name.to_string(), EMBEDDED));
        }
    }
    put_settings(&mut json, hub);
    json.into_value()
}

/// Whether the keys of an access policy are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// They are.
    Shown,
    /// They are not.
    Hidden,
}

/// Writes an access policy: `SharedAccessSignatureAuthorizationRule`.
pub fn policy_json(policy: &AccessPolicy, keys: Keys) -> Value {
    let mut json = Object::default();
    json.put("keyName", policy.name.as_str());
    if keys == Keys::Shown {
        json.put("primaryKey", policy.primary_key.to_base64())
            .put("secondaryKey", policy.secondary_key.to_base64());
    }
    json.put("rights", String::from(policy.rights));
    json.into_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> String {
        SymmetricKey::from_bytes(&[byte; 32]).unwrap().to_base64()
    }

    /// Returns an instance as it is stored.
    fn instance() -> Instance {
        let hub = |name: &str, way: Value| json!({"name": name, "way": way, "location": "north", "weight": 2, "takes_new_devices": true, "max_devices": 7});
        let access = json!({"access": {"port": 443, "policy": "owner", "key": key(4)}});
        let policy = json!({
            "name": "owner", "primary_key": key(1), "secondary_key": key(2), "rights": "EnrollmentWrite",
        });
        let stored = json!({
            "id_scope": "0ne00000001", "name": "plant", "service_hosts": ["plant.test"], "allocation_policy": "geoLatency",
            "access_policies": [policy], "require_verified_ca": true, "operation_key": key(3),
            "webhook_key": key(5), "crl_max_age": 7, "keep_attempts": 9,
            "latency_table": [{"source": {"region": "DE"}, "hubs": [["hub-1.test", 1500]]}],
            "linked_hubs": [hub("hub-1.test", json!("embedded")), hub("hub-2.test", access)],
            "quotas": {"preset": "azure", "enrollments": 7}, "public_network_access": "disabled", "ip_filter": [
                {"name": "plant", "action": "accept", "ip_mask": "10.0.0.7", "target": "deviceApi"},
                {"name": "others", "action": "reject", "ip_mask": "0.0.0.0/0"},
            ],
            "configured": {"allocation_policy": "hashed", "linked_hubs": []},
        });
        serde_json::from_value(stored).unwrap()
    }

    fn parse(body: &Value) -> Result<InstanceDraft, String> {
        parse_instance(body.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_reply_is_accepted_as_a_request_and_shows_no_key() {
        let instance = instance();
        let shown = instance_json(&instance, "/id", "etag");
        let text = shown.to_string();
        for key in [1, 2, 3, 4, 5].map(key) {
            assert!(!text.contains(&key), "{text}");
        }
        let draft = parse(&shown).unwrap();
        assert_eq!(draft.service_hosts.as_ref(), Some(&instance.service_hosts));
        assert_eq!((draft.webhook_key, draft.crl_max_age), (None, Some(instance.crl_max_age)));
        assert_eq!(draft.latency_table.as_ref(), Some(&instance.latency_table));
        assert_eq!(draft.keep_attempts, Some(instance.keep_attempts));
        let hubs = draft.linked_hubs.unwrap();
        assert_eq!(hubs[0].access, None, "an embedded hub stays one");
        let access = hubs[1].access.as_ref().unwrap();
        assert_eq!((hubs[1].max_devices, &access.key, &access.policy[..]), (Some(7), &None, "owner"));
        assert_eq!(draft.access_policies.unwrap()[0].rights, Some(instance.access_policies[0].rights));
        assert_eq!(draft.allocation_policy, Some(instance.allocation_policy));
        assert_eq!(draft.quotas.as_ref(), Some(&instance.quotas));
        assert_eq!(shown["properties"]["muster"]["quotas"], json!({"preset": "azure", "enrollments": 7}));
        assert_eq!(
            (draft.public_network_access, draft.ip_filter),
            (Some(instance.public_network_access), Some(instance.ip_filter.clone()))
        );
        assert_eq!(
            shown["properties"]["ipFilterRules"][0],
            json!({"filterName": "plant", "action": "Accept", "ipMask": "10.0.0.7", "target": "deviceApi"})
        );
        let policy = policy_json(&instance.access_policies[0], Keys::Shown);
        assert_eq!(policy["primaryKey"], key(1));
    }

    #[test]
    fn settings_of_ours_are_checked() {
        let with = |properties: Value| json!({"sku": {"name": "S1"}, "properties": properties});
        for (body, expected) in [
            (with(json!({"muster": {"crlMaxAgeDays": 0}})), "properties.muster.crlMaxAgeDays: "),
            (with(json!({"muster": {"keepAttemptsDays": 70000}})), "properties.muster.keepAttemptsDays: "),
            (with(json!({"muster": {"webhookKey": "short"}})), "properties.muster.webhookKey: "),
            (with(json!({"muster": {"latencyTable": [{}]}})), "properties.muster.latencyTable[0].network"),
            (
                with(json!({"muster": {"latencyTable": [{"network": "10.0.0.0/40", "hubs": {}}]}})),
                "properties.muster.latencyTable: a row must be for a network",
            ),
            (
                with(json!({"muster": {"latencyTable": [{"region": "DE", "hubs": {"a.hub": -1}}]}})),
                "properties.muster.latencyTable[0].hubs: ",
            ),
        ] {
            let error = parse(&body).unwrap_err();
            assert!(error.contains(expected), "{body}: {error}");
        }
    }

    #[test]
    fn mistakes_are_named_by_their_member() {
        let rule = |name: &str, action: &str, mask: &str| json!({"ipFilterRules": [{"filterName": name, "action": action, "ipMask": mask}]});
        let with =
            |properties: Value| json!({"location": "x", "sku": {"name": "S1"}, "properties": properties});
        for (body, expected) in [
            (json!({"properties": {}}), "sku: is missing"),
            (json!({"sku": {"name": "S1"}}), "properties: is missing"),
            (json!({"sku": {"name": "F1"}, "properties": {}}), "sku.name: must be one of S1"),
            (json!({"sku": {"name": "S1", "capacity": 0}, "properties": {}}), "sku.capacity: "),
            (json!({"sku": {}, "properties": {}, "tags": {"a": 1}}), "tags: values must be strings"),
            (
                with(json!({"publicNetworkAccess": "SecuredByPerimeter"})),
                "properties.publicNetworkAccess: must be one of Enabled, Disabled",
            ),
            (
                with(rule("a b", "Accept", "10.0.0.0/8")),
                "ipFilterRules[0].filterName: IP filter rule name must",
            ),
            (with(rule("a", "Deny", "10.0.0.0/8")), "ipFilterRules[0].action: must be one of Accept, Reject"),
            (
                with(rule("a", "Accept", "10.0.0.0/33")),
                "ipFilterRules[0].ipMask: must be an IP address, or a",
            ),
            (with(json!({"ipFilterRules": [{"filterName": "a"}]})), "ipFilterRules[0].action: is missing"),
            (
                with(
                    json!({"ipFilterRules": vec![json!({"filterName": "a", "action": "accept", "ipMask": "::/0"}); 2]}),
                ),
                "ipFilterRules: two rules have the name a",
            ),
            (with(json!({"disableLocalAuth": true})), "properties.disableLocalAuth: is not supported"),
            (with(json!({"allocationPolicy": "Custom"})), "properties.allocationPolicy: must be one of"),
            (
                with(json!({"iotHubs": [{"location": "x"}]})),
                "properties.iotHubs[0].connectionString: is missing",
            ),
            (
                with(json!({"authorizationPolicies": [{"rights": "x"}]})),
                "properties.authorizationPolicies[0].keyName",
            ),
            (
                with(json!({"authorizationPolicies": [{"keyName": "a", "rights": "InstanceKeys"}]})),
                "properties.authorizationPolicies[0].rights: unknown right",
            ),
            (
                with(json!({"muster": {"quotas": {"preset": "aws"}}})),
                "quotas.preset: must be one of off, azure",
            ),
            (
                with(json!({"muster": {"quotas": {"x509Groups": 5_000_000_000_u64}}})),
                "quotas.x509Groups: is too large",
            ),
            (
                with(json!({"muster": {"quotas": {"registrationsPerMinute": 5}}})),
                "quotas: the number of registrations per minute",
            ),
            (with(json!({"muster": {"serviceHosts": ["a b"]}})), "properties.muster.serviceHosts[0]"),
        ] {
            let error = parse(&body).unwrap_err();
            assert!(error.contains(expected), "{body}: {error}");
        }
    }
}
