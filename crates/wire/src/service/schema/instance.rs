//! Schemas of what an instance is made of and counts: linked hubs, allocation, metering, and the change log.

use model::{LogKind, LogOperation, OperationKind, Quota};
use serde_json::{Value, json};

use super::{Schemas, array, count, described, flag, object, read_only, reference, text, time, words};

pub(super) fn schemas() -> Schemas {
    vec![
        ("LinkedHub", linked_hub()),
        ("HubHealth", hub_health()),
        ("LinkedHubs", array(reference("LinkedHub"))),
        ("LinkCheck", link_check()),
        ("AllocationDefaults", allocation_defaults()),
        ("WebhookKey", webhook_key()),
        ("Latencies", latencies()),
        ("LatencyByHub", latency_by_hub()),
        ("Usage", usage()),
        ("QuotaReport", quota_report()),
        ("RecordCount", object(&["count"], json!({"count": count()}))),
        ("ChangeLog", change_log()),
        ("ChangeLogEntry", change_log_entry()),
    ]
}

fn linked_hub() -> Value {
    let connection = "Of the hub, with the key; in replies, **** in its place, which keeps the stored key.";
    let members = json!({
        "name": read_only(text()),
        "connectionString": described(text(), connection),
        "caCertificates": described(text(), "PEM of the CAs that the hub's certificate may be issued by."),
        "location": json!({"type": "string", "maxLength": 128}),
        "allocationWeight": json!({"type": "integer", "minimum": 1, "maximum": 1000}),
        "applyAllocationPolicy": described(flag(), "Whether devices may be assigned to the hub."),
        "maxDevices": described(count(), "From this number of devices on, the hub counts as full."),
        "origin": read_only(words(["configuration", "operator"])),
        "embedded": read_only(flag()),
        "etag": read_only(text()),
        "health": read_only(reference("HubHealth")),
    });
    object(&[], members)
}

fn hub_health() -> Value {
    let error = object(&["at", "message"], json!({"at": time(), "message": text()}));
    let members = json!({
        "circuit": text(), "since": time(), "retryAt": time(), "fullAt": time(), "lastError": error,
    });
    object(&["circuit"], members)
}

fn link_check() -> Value {
    let lacking = described(array(text()), "The rights that the key lacks at the hub.");
    object(&["name", "lacking"], json!({"name": text(), "lacking": lacking}))
}

fn allocation_defaults() -> Value {
    let policy = words(["hashed", "geoLatency", "static"]);
    let failover = described(flag(), "Whether hubs that are down or full are passed over.");
    json!({
        "type": "object",
        "properties": {"allocationPolicy": policy, "failover": failover},
        "minProperties": 1,
    })
}

fn quota_report() -> Value {
    let row = object(
        &["name"],
        json!({
            "name": words(Quota::ALL.map(Quota::name)),
            "limit": described(count(), "Absent without a limit."),
            "windowSeconds": described(count(), "The time in which events are counted; absent for records."),
            "used": described(count(), "Absent for limits of each device."),
        }),
    );
    object(&["preset", "quotas"], json!({"preset": words(["off", "azure"]), "quotas": array(row)}))
}

fn webhook_key() -> Value {
    let key = described(text(), "The key that signs requests to webhooks, in base64.");
    object(&["idScope", "key"], json!({"idScope": text(), "key": key}))
}

fn latency_by_hub() -> Value {
    let latency = json!({"type": ["number", "null"]});
    let description = "Milliseconds by hub; null if unknown.";
    json!({"type": "object", "additionalProperties": latency, "description": description})
}

fn latencies() -> Value {
    let probe = object(
        &["hub", "misses"],
        json!({
            "hub": text(), "latencyMs": json!({"type": "number"}), "variationMs": json!({"type": "number"}),
            "misses": count(), "probedDateTimeUtc": time(), "deviceCount": count(),
        }),
    );
    let source = words(["network", "region", "probes"]);
    let row =
        json!({"source": source, "network": text(), "region": text(), "hubs": reference("LatencyByHub")});
    let mut seen = object(&["address", "hubs", "nearest"], row.clone());
    seen["properties"]["address"] = text();
    seen["properties"]["nearest"] = array(text());
    let table = array(object(&["source", "hubs"], row));
    object(&["probes", "table"], json!({"probes": array(probe), "table": table, "seenFrom": seen}))
}

fn usage() -> Value {
    let kinds = words(OperationKind::ALL.iter().map(|kind| kind.name()));
    let day = json!({"type": "string", "format": "date"});
    let row = object(&["day", "kind", "count"], json!({"day": day, "kind": kinds, "count": count()}));
    object(&["usage", "total"], json!({"usage": array(row), "total": count()}))
}

fn change_log() -> Value {
    let next = "The position that was read up to; as the parameter after, it continues the log.";
    let members = json!({
        "entries": array(reference("ChangeLogEntry")),
        "next": described(text(), next),
        "more": described(flag(), "Whether there are more changes to read now."),
    });
    object(&["entries", "next", "more"], members)
}

fn change_log_entry() -> Value {
    let actor = object(
        &["kind", "name"],
        json!({
            "kind": words(["operator", "device", "system"]),
            "name": described(text(), "The access policy, the subject of a token, the registration ID, or the job."),
            "plane": described(words(["management"]), "The access policy is one of the management API, not of the instance."),
            "issuer": described(text(), "The issuer of the subject's token."),
            "address": described(text(), "The IP address of the operator or the device."),
        }),
    );
    let key = "The ID or name of the record in lower case; empty for the instance.";
    let members = json!({
        "time": time(),
        "operation": words(LogOperation::ALL.iter().map(|operation| operation.name())),
        "kind": words(LogKind::ALL.iter().map(|kind| kind.name())),
        "key": described(text(), key),
        "deleted": flag(),
        "version": described(text(), "The etag of the record since."),
        "actor": actor,
    });
    object(&["time", "operation", "kind", "key", "deleted", "actor"], members)
}
