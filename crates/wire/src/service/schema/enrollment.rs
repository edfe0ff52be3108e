//! Schemas of enrollments and their attestation mechanisms.

use serde_json::{Value, json};

use super::{
    Schemas, array, count, described, flag, object, pattern, read_only, reference, text, time, words,
    write_only,
};

/// The rule for registration IDs and for IDs of enrollment groups.
const ENROLLMENT_NAME: &str = "^[A-Za-z0-9-](?:[A-Za-z0-9._:-]{0,126}[A-Za-z0-9-])?$";
const DEVICE_ID: &str = r"^[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}$";
const HOST_NAME: &str = r"^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$";

pub(super) fn schemas() -> Schemas {
    vec![
        ("RegistrationId", described(pattern(ENROLLMENT_NAME, 128), "Compared without regard to case.")),
        ("EnrollmentGroupId", described(pattern(ENROLLMENT_NAME, 128), "Compared without regard to case.")),
        ("DeviceId", pattern(DEVICE_ID, 128)),
        ("HubName", described(pattern(HOST_NAME, 253), "The host name of a linked hub.")),
        ("IndividualEnrollment", individual()),
        ("EnrollmentGroup", group()),
        (
            "TwinCollection",
            json!({"type": "object", "description": "Any JSON object within the limits of hubs' twins."}),
        ),
        ("InitialTwin", initial_twin()),
        ("ReprovisionPolicy", reprovision_policy()),
        ("CustomAllocationDefinition", custom_allocation()),
        ("AttestationMechanism", attestation_mechanism()),
        ("TpmAttestation", tpm()),
        ("SymmetricKeyAttestation", symmetric_key()),
        ("X509Attestation", x509()),
        ("X509Certificates", x509_certificates()),
        ("X509CertificateWithInfo", x509_certificate()),
        ("X509CertificateInfo", x509_info()),
        ("X509CAReferences", object(&[], json!({"primary": text(), "secondary": text()}))),
        (
            "QuerySpecification",
            object(&[], json!({"query": described(text(), "Not evaluated: every query returns all.")})),
        ),
        ("BulkEnrollmentOperation", bulk("enrollments", "IndividualEnrollment")),
        ("BulkEnrollmentGroupOperation", bulk("enrollmentGroups", "EnrollmentGroup")),
        ("EnrollmentImport", import("enrollments", "IndividualEnrollment")),
        ("EnrollmentGroupImport", import("enrollmentGroups", "EnrollmentGroup")),
        ("EnrollmentImportResult", import_result("registrationId")),
        ("EnrollmentGroupImportResult", import_result("enrollmentGroupId")),
        ("BulkEnrollmentOperationResult", bulk_result("registrationId")),
        ("BulkEnrollmentGroupOperationResult", bulk_result("enrollmentGroupId")),
        ("KeySelection", object(&["keys"], json!({"keys": words(["primary", "secondary", "both"])}))),
    ]
}

fn individual() -> Value {
    let mut schema = object(&["registrationId", "attestation"], settings());
    let own = [
        ("registrationId", reference("RegistrationId")),
        (
            "deviceId",
            described(reference("DeviceId"), "The device ID at the hub; the registration ID if absent."),
        ),
        ("registrationState", read_only(reference("DeviceRegistrationState"))),
        ("optionalDeviceInformation", reference("TwinCollection")),
    ];
    own.into_iter().for_each(|(name, member)| schema["properties"][name] = member);
    schema
}

fn group() -> Value {
    let mut schema = object(&["enrollmentGroupId", "attestation"], settings());
    let patterns = "Patterns of the registration IDs that the group admits, such as line-1-*. Muster's own.";
    schema["properties"]["enrollmentGroupId"] = reference("EnrollmentGroupId");
    schema["properties"]["allowedRegistrationIds"] = described(array(text()), patterns);
    schema
}

/// Returns the members that both kinds of enrollments have.
fn settings() -> Value {
    let etag = "Of the stored record. Conditions are sent as If-Match; in a bulk operation, as this member.";
    json!({
        "attestation": reference("AttestationMechanism"),
        "capabilities": object(&["iotEdge"], json!({"iotEdge": flag()})),
        "iotHubHostName": reference("HubName"),
        "initialTwin": reference("InitialTwin"),
        "etag": described(text(), etag),
        "provisioningStatus": words(["enabled", "disabled"]),
        "reprovisionPolicy": reference("ReprovisionPolicy"),
        "createdDateTimeUtc": read_only(time()),
        "lastUpdatedDateTimeUtc": read_only(time()),
        "allocationPolicy": words(["hashed", "geoLatency", "static", "custom"]),
        "iotHubs": array(reference("HubName")),
        "customAllocationDefinition": reference("CustomAllocationDefinition"),
        "credentialPolicyName": json!({"type": "string", "maxLength": 128}),
        "namespaceName": json!({"type": "string", "minLength": 3, "maxLength": 64, "pattern": "^[a-z0-9][a-z0-9-]*[a-z0-9]$"}),
        "certificateAuthorityName": resource_name(),
        "certificatePolicyName": resource_name(),
        "managedBy": described(
            json!({"type": "string", "pattern": "^[!-~]{1,64}$"}),
            "The tool that manages the enrollment; an addition of Muster.",
        ),
    })
}

fn resource_name() -> Value {
    json!({"type": "string", "minLength": 3, "maxLength": 63, "pattern": "^[0-9A-Za-z][0-9A-Za-z-]*$"})
}

fn initial_twin() -> Value {
    let desired = object(&[], json!({"desired": reference("TwinCollection")}));
    object(&[], json!({"tags": reference("TwinCollection"), "properties": desired}))
}

fn reprovision_policy() -> Value {
    let required = ["updateHubAssignment", "migrateDeviceData"];
    object(&required, json!({"updateHubAssignment": flag(), "migrateDeviceData": flag()}))
}

fn custom_allocation() -> Value {
    let url = json!({"type": "string", "maxLength": 2048, "pattern": "^https://[A-Za-z0-9\\[][!-~]*$"});
    let version = pattern("^20[0-9]{2}-[01][0-9]-[0-3][0-9](-preview)?$", 18);
    object(&["webhookUrl", "apiVersion"], json!({"webhookUrl": url, "apiVersion": version}))
}

fn attestation_mechanism() -> Value {
    let kind = "The member of this name holds the mechanism. Only individual enrollments can have tpm.";
    object(
        &["type"],
        json!({
            "type": described(words(["symmetricKey", "tpm", "x509"]), kind),
            "symmetricKey": reference("SymmetricKeyAttestation"),
            "tpm": reference("TpmAttestation"),
            "x509": reference("X509Attestation"),
        }),
    )
}

fn tpm() -> Value {
    let endorsement_key = described(text(), "TPM2B_PUBLIC in base64.");
    object(&["endorsementKey"], json!({"endorsementKey": endorsement_key, "storageRootKey": text()}))
}

fn symmetric_key() -> Value {
    let key = "16 to 64 bytes in base64. Without one, the service keeps the stored key or generates one.";
    object(&[], json!({"primaryKey": described(text(), key), "secondaryKey": described(text(), key)}))
}

fn x509() -> Value {
    let members = json!({
        "clientCertificates": described(reference("X509Certificates"), "Of the device; for individual enrollments."),
        "signingCertificates": described(reference("X509Certificates"), "Of a CA; for enrollment groups."),
        "caReferences": described(reference("X509CAReferences"), "Names of uploaded CA certificates."),
    });
    object(&[], members)
}

fn x509_certificates() -> Value {
    let certificate = || reference("X509CertificateWithInfo");
    object(&[], json!({"primary": certificate(), "secondary": certificate()}))
}

fn x509_certificate() -> Value {
    let certificate = write_only(described(text(), "PEM, or base64 of PEM or of DER."));
    let info = "In a request without a certificate: keeps the stored certificate with this thumbprint.";
    object(
        &[],
        json!({"certificate": certificate, "info": described(reference("X509CertificateInfo"), info)}),
    )
}

fn x509_info() -> Value {
    let names = [
        "subjectName",
        "sha1Thumbprint",
        "sha256Thumbprint",
        "issuerName",
        "notBeforeUtc",
        "notAfterUtc",
        "serialNumber",
        "version",
    ];
    object(
        &names,
        json!({
            "subjectName": text(), "sha1Thumbprint": text(), "sha256Thumbprint": text(), "issuerName": text(),
            "notBeforeUtc": time(), "notAfterUtc": time(), "serialNumber": text(), "version": count(),
        }),
    )
}

fn bulk(list: &str, item: &str) -> Value {
    let items = json!({"type": "array", "minItems": 1, "maxItems": 10, "items": reference(item)});
    let modes = words(["create", "update", "updateIfMatchETag", "delete"]);
    object(&["mode", list], json!({"mode": modes, list: items}))
}

fn import(list: &str, item: &str) -> Value {
    let mut members = json!({
        "replace": described(flag(), "Whether to replace enrollments that exist with other settings."),
        "generateKeys": described(flag(), "Whether to generate keys of new enrollments that have none."),
        "dryRun": described(flag(), "Whether to change nothing."),
    });
    members[list] = array(reference(item));
    object(&[list], members)
}

fn import_result(id_name: &str) -> Value {
    let mut error = json!({
        "index": described(count(), "Of the item, from 0."),
        "errorCode": {"type": "integer"},
        "errorStatus": text(),
    });
    error[id_name] = text();
    let errors = array(object(&["index", id_name, "errorCode", "errorStatus"], error));
    let members = json!({"created": count(), "replaced": count(), "unchanged": count(), "errors": errors});
    object(&["created", "replaced", "unchanged", "errors"], members)
}

fn bulk_result(id_name: &str) -> Value {
    let members = json!({id_name: text(), "errorCode": count(), "errorStatus": text()});
    let error = object(&[id_name, "errorCode", "errorStatus"], members);
    object(&["isSuccessful", "errors"], json!({"isSuccessful": flag(), "errors": array(error)}))
}
