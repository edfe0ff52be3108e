//! Schemas of the management API, with Azure's names.

use model::Quota;
use serde_json::{Value, json};

use super::{Schemas, array, count, described, flag, object, read_only, reference, text, words};

pub(super) fn schemas() -> Schemas {
    vec![
        ("ProvisioningServiceDescription", description()),
        ("ProvisioningServiceDescriptionListResult", list_of("ProvisioningServiceDescription")),
        ("IotDpsPropertiesDescription", properties()),
        ("MusterSettings", ours()),
        ("IotHubDefinitionDescription", hub()),
        ("IpFilterRule", ip_filter_rule()),
        ("Quotas", quotas()),
        ("AccessPolicy", policy(&["keyName", "primaryKey", "secondaryKey", "rights"])),
        ("AccessPolicyChange", policy(&[])),
        ("SharedAccessSignatureAuthorizationRuleListResult", list_of("AccessPolicy")),
        ("TagsResource", object(&[], json!({"tags": tags()}))),
        (
            "OperationListResult",
            value_of(object(&["name"], json!({"name": text(), "display": object(&[], json!({}))}))),
        ),
        ("OperationInputs", object(&["name"], json!({"name": text()}))),
        ("NameAvailabilityInfo", name_availability()),
        ("IotDpsSkuDefinitionListResult", value_of(object(&["name"], json!({"name": words(["S1"])})))),
        ("AsyncOperationResult", async_operation()),
        ("DeletionPreview", deletion()),
        ("PrivateLinkResources", value_of(object(&[], json!({})))),
        ("PrivateEndpointConnectionsList", array(object(&[], json!({})))),
        ("ErrorDetails", error()),
    ]
}

fn value_of(items: Value) -> Value {
    object(&["value"], json!({"value": array(items)}))
}

fn list_of(name: &str) -> Value {
    value_of(reference(name))
}

fn tags() -> Value {
    json!({"type": "object", "additionalProperties": {"type": "string", "maxLength": 512}})
}

fn description() -> Value {
    let sku = object(
        &["name"],
        json!({"name": words(["S1"]), "tier": read_only(text()), "capacity": json!({"type": "integer", "minimum": 1})}),
    );
    object(
        &["sku", "properties"],
        json!({
            "id": read_only(text()),
            "name": read_only(text()),
            "type": read_only(text()),
            "location": text(),
            "tags": tags(),
            "etag": read_only(text()),
            "resourcegroup": read_only(text()),
            "subscriptionid": read_only(text()),
            "sku": sku,
            "properties": reference("IotDpsPropertiesDescription"),
        }),
    )
}

fn properties() -> Value {
    let public = "Disabled admits only loopback, private and link-local addresses.";
    let rules = "At most 100 with different names; the first one that matches a caller decides.";
    let policies = "Absent members and keys keep their values; the array has all access policies.";
    object(
        &[],
        json!({
            "state": read_only(words(["Active", "Deleting"])),
            "provisioningState": read_only(text()),
            "iotHubs": described(array(reference("IotHubDefinitionDescription")), "All linked hubs."),
            "allocationPolicy": words(["Hashed", "GeoLatency", "Static"]),
            "serviceOperationsHostName": read_only(text()),
            "deviceProvisioningHostName": read_only(text()),
            "idScope": read_only(text()),
            "authorizationPolicies": described(array(reference("AccessPolicyChange")), policies),
            "publicNetworkAccess": described(words(["Enabled", "Disabled"]), public),
            "ipFilterRules": described(array(reference("IpFilterRule")), rules),
            "privateEndpointConnections": read_only(array(object(&[], json!({})))),
            "enableDataResidency": read_only(flag()),
            "muster": reference("MusterSettings"),
        }),
    )
}

fn ours() -> Value {
    let most = "Registrations that are begun in a minute; 0 for the number of the quotas' preset.";
    let crl = "The age at which a revocation list without nextUpdate becomes stale.";
    let webhook = "The key that signs requests to webhooks: base64 of 16 to 64 bytes, or derived for the one that the service \
                   derives. In replies, **** in place of a key, which keeps the stored key.";
    let keep = "The age at which refused attempts are deleted; 0 for that of the service.";
    object(
        &[],
        json!({
            "serviceHosts": described(array(text()), "All host names of the service operations endpoint."),
            "failover": described(flag(), "Whether hubs that are down or full are passed over."),
            "requireVerifiedCa": described(flag(), "Whether a group's signing certificate must lead to a verified CA."),
            "registrations": words(["movable", "first-come"]),
            "existingDevices": words(["adopt", "refuse"]),
            "maxRegistrationsPerMinute": described(count(), most),
            "quotas": reference("Quotas"),
            "crlMaxAgeDays": described(json!({"type": "integer", "minimum": 1, "maximum": 3650}), crl),
            "webhookKey": described(text(), webhook),
            "latencyTable": described(array(latency_row()), "All rows of the table, which precedes that of the service."),
            "keepAttemptsDays": described(json!({"type": "integer", "minimum": 0, "maximum": 3650}), keep),
            "managed": read_only(words(["file", "operators"])),
        }),
    )
}

fn latency_row() -> Value {
    let hubs = json!({"type": "object", "additionalProperties": {"type": "number", "minimum": 0, "maximum": 60_000}});
    let members = json!({
        "source": read_only(words(["network", "region"])),
        "network": described(text(), "A network, such as 10.20.0.0/16, or one address."),
        "region": described(text(), "A region of the GeoIP database, such as EU, DE or DE-BY."),
        "hubs": described(hubs, "Milliseconds by hub."),
    });
    object(&["hubs"], members)
}

fn hub() -> Value {
    let connection = "Of the hub, with the key; in replies, **** in its place, which keeps the stored key.";
    object(
        &[],
        json!({
            "name": text(),
            "connectionString": described(text(), connection),
            "location": json!({"type": "string", "maxLength": 128}),
            "allocationWeight": json!({"type": "integer", "minimum": 0, "maximum": 1000}),
            "applyAllocationPolicy": described(flag(), "Whether devices may be assigned to the hub."),
        }),
    )
}

fn quotas() -> Value {
    let number = described(count(), "Replaces the number of the preset; 0 for no limit.");
    let numbers = Quota::ALL.into_iter().filter(|quota| *quota != Quota::RegistrationsPerMinute);
    let mut members: Value = numbers.map(|quota| (quota.name().to_owned(), number.clone())).collect();
    members["preset"] =
        described(words(["off", "azure"]), "The numbers of quotas that have none of their own.");
    object(&[], members)
}

fn ip_filter_rule() -> Value {
    object(
        &["filterName", "action", "ipMask"],
        json!({
            "filterName": json!({"type": "string", "maxLength": 128}),
            "action": words(["Accept", "Reject"]),
            "ipMask": described(text(), "An address, or a network in CIDR notation; 0.0.0.0/0 for all, of IPv6 too."),
            "target": words(["all", "serviceApi", "deviceApi"]),
        }),
    )
}

fn policy(required: &[&str]) -> Value {
    let key = described(text(), "Base64 of 16 to 64 bytes; generated if absent.");
    object(
        required,
        json!({
            "keyName": text(),
            "primaryKey": key,
            "secondaryKey": key,
            "rights": described(text(), "Separated by commas."),
        }),
    )
}

fn name_availability() -> Value {
    let reason = words(["Invalid", "AlreadyExists"]);
    object(&["nameAvailable"], json!({"nameAvailable": flag(), "reason": reason, "message": text()}))
}

fn async_operation() -> Value {
    let status = words(["InProgress", "Succeeded"]);
    object(&["status"], json!({"status": status, "remaining": reference("DeletionPreview")}))
}

fn deletion() -> Value {
    let names = [
        "enrollments",
        "enrollmentGroups",
        "registrations",
        "cleanups",
        "certificates",
        "revocationLists",
        "blockedCertificates",
    ];
    let mut members: Value = names.iter().map(|name| ((*name).to_owned(), count())).collect();
    members["idScope"] = text();
    members["status"] = words(["NotStarted", "InProgress"]);
    object(&names, members)
}

fn error() -> Value {
    let code = json!({"type": ["string", "integer"], "description": "Six digits; a number from the versions of 2025 on."});
    object(
        &["code", "httpStatusCode", "message"],
        json!({"code": code, "httpStatusCode": text(), "message": text(), "details": text(), "trackingId": text()}),
    )
}
