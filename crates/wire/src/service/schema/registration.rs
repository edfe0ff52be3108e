//! Schemas of registrations, of the decisions that led to them, of cleanups, and of explanations.

use model::RefusalReason;
use serde_json::{Value, json};

use super::{
    Schemas, array, count, described, extended, flag, nullable, object, read_only, reference, text, time,
    words,
};

pub(super) fn schemas() -> Schemas {
    vec![
        ("DeviceRegistrationState", state()),
        ("ListedRegistration", listed()),
        ("ExplainedRegistration", explained()),
        ("Decision", decision()),
        ("DecisionCandidate", candidate()),
        ("Cleanup", cleanup()),
        ("EnrollmentReference", enrollment_reference()),
        ("DescribedDevice", described_device()),
        ("Explanation", explanation()),
        (
            "ExplanationWithWarnings",
            extended("Explanation", &["warnings"], json!({"warnings": array(text())})),
        ),
        ("Attempts", attempts()),
    ]
}

fn state() -> Value {
    let statuses = words(["unassigned", "assigning", "assigned", "failed", "disabled"]);
    let substatuses = words([
        "initialAssignment",
        "deviceDataMigrated",
        "deviceDataReset",
        "reprovisionedToInitialAssignment",
    ]);
    let attested = object(&[], json!({"enrollmentGroupId": text()}));
    object(
        &["registrationId", "status"],
        json!({
            "registrationId": text(),
            "createdDateTimeUtc": read_only(time()),
            "assignedHub": text(),
            "deviceId": text(),
            "status": statuses,
            "substatus": substatuses,
            "errorCode": json!({"type": "integer"}),
            "errorMessage": text(),
            "lastUpdatedDateTimeUtc": read_only(time()),
            "etag": text(),
            "payload": json!({"description": "What the allocation webhook returned for the device."}),
            "symmetricKey": attested,
            "x509": attested,
        }),
    )
}

fn listed() -> Value {
    let key = object(
        &["slot", "isReplaced"],
        json!({"slot": words(["primary", "secondary"]), "isReplaced": flag()}),
    );
    let place = object(&["iotHub", "deviceId"], json!({"iotHub": text(), "deviceId": text()}));
    let mut pending = object(&["attempts", "sinceDateTimeUtc"], tries());
    pending["properties"]["webhookUrl"] = described(text(), "The webhook to ask next, without its query.");
    pending["properties"]["iotHub"] = described(text(), "The hub to create the device at next.");
    let members = json!({
        "attestationKey": described(key, "The symmetric key that the device used last."),
        "livesAt": described(place, "The device's hub, if it is not the assigned one."),
        "pending": described(pending, "The next step of an unfinished assignment."),
    });
    extended("DeviceRegistrationState", &[], members)
}

/// Returns the members about tries of something that is repeated until it succeeds.
fn tries() -> Value {
    json!({"attempts": count(), "nextTryDateTimeUtc": time(), "reason": text(), "sinceDateTimeUtc": time()})
}

fn explained() -> Value {
    let members = json!({
        "cleanups": array(reference("Cleanup")),
        "advice": described(text(), "What to do next, if the registration failed."),
        "explanation": described(array(text()), "The decisions as sentences, latest first."),
        "decisions": array(reference("Decision")),
    });
    extended("ListedRegistration", &["explanation", "decisions"], members)
}

fn decision() -> Value {
    let reference_to_enrollment = json!({"oneOf": [
        {"const": "individual"},
        object(&["group"], json!({"group": text()})),
    ]});
    let latencies = json!({"oneOf": [
        {"const": "probes"},
        object(&["table"], json!({"table": text()})),
        object(&["region"], json!({"region": text()})),
    ]});
    let reply = json!({"dateTimeUtc": time(), "status": count(), "body": text()});
    let webhook_reply = object(&["dateTimeUtc", "status", "body"], reply);
    let because = ["hash", "nearest", "nearEnough", "named", "onlyHub", "webhook", "stays"];
    let members = json!({
        "dateTimeUtc": time(),
        "enrollment": reference_to_enrollment,
        "movedFrom": nullable(text()),
        "allocationPolicy": words(["hashed", "geoLatency", "static", "custom"]),
        "policyOf": words(["enrollment", "service"]),
        "candidates": array(reference("DecisionCandidate")),
        "latenciesFrom": nullable(latencies),
        "iotHub": nullable(text()),
        "because": nullable(words(because)),
        "cameFrom": nullable(text()),
        "reprovision": nullable(words(["stay", "migrate", "reset"])),
        "tookOverDevice": flag(),
        "outcome": words(["pending", "assigned", "failed", "cancelled"]),
        "errorCode": nullable(json!({"type": "integer"})),
        "errorMessage": nullable(text()),
        "advice": nullable(text()),
        "webhookReply": nullable(webhook_reply),
        "endedDateTimeUtc": nullable(time()),
    });
    let names: Vec<&str> = members.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    object(&names, members.clone())
}

fn candidate() -> Value {
    let excluded = words(["notLinked", "closed", "down", "full"]);
    let members = json!({
        "iotHub": text(),
        "allocationWeight": nullable(count()),
        "latencyMicroseconds": nullable(count()),
        "excluded": nullable(excluded),
    });
    object(&["iotHub", "allocationWeight", "latencyMicroseconds", "excluded"], members)
}

fn cleanup() -> Value {
    let required = ["attempts", "iotHub", "deviceId", "registrationId", "cause", "sinceDateTimeUtc"];
    let mut schema = object(&required, tries());
    let own = [
        ("iotHub", text()),
        ("deviceId", text()),
        ("generationId", described(text(), "The creation of the device that is to be removed.")),
        ("registrationId", text()),
        ("cause", words(["moved", "redirected", "failed", "cancelled", "deleted"])),
    ];
    own.into_iter().for_each(|(name, member)| schema["properties"][name] = member);
    schema
}

fn enrollment_reference() -> Value {
    let members = json!({"type": words(["individual", "group"]), "enrollmentGroupId": text()});
    object(&["type"], members)
}

fn described_device() -> Value {
    let tpm = object(&["endorsementKey"], json!({"endorsementKey": text(), "storageRootKey": text()}));
    let certificate = described(text(), "PEM, or base64 of PEM or of DER.");
    let members = json!({
        "registrationId": reference("RegistrationId"),
        "idScope": json!({"type": "string", "pattern": "^[A-Za-z0-9-]{1,64}$"}),
        "certificates": described(array(certificate), "The chain that the device sends, leaf first."),
        "sasToken": text(),
        "tpm": tpm,
    });
    object(&["registrationId"], members)
}

fn explanation() -> Value {
    let considered = object(
        &["enrollment", "verdict"],
        json!({
            "enrollment": reference("EnrollmentReference"),
            "verdict": words(["fits", "refuses"]),
            "path": described(array(text()), "Subjects of the certificate path, leaf first."),
            "key": words(["primary", "secondary"]),
            "reason": text(),
        }),
    );
    let members = json!({
        "outcome": words(["admitted", "disabled", "challenged", "refused"]),
        "enrollment": reference("EnrollmentReference"),
        "reason": text(),
        "reasonCode": words(RefusalReason::ALL.iter().map(|reason| reason.name())),
        "advice": described(text(), "What to do next."),
        "presented": array(text()),
        "considered": array(considered),
        "omitted": described(count(), "Further enrollments that were considered."),
        "unfitCertificates": array(text()),
    });
    object(&["outcome", "presented", "considered", "omitted", "unfitCertificates"], members)
}

fn attempts() -> Value {
    let members = json!({"registrationId": text(), "dateTimeUtc": time(), "address": text()});
    let attempt = extended("Explanation", &["registrationId", "dateTimeUtc"], members);
    let next = described(text(), "The position after the page; absent on the last one.");
    object(&["attempts"], json!({"attempts": array(attempt), "next": next}))
}
