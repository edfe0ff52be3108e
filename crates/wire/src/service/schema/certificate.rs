//! Schemas of CA certificates, revocation lists, blocks, and expiring certificates.

use serde_json::{Value, json};

use super::{Schemas, array, count, described, flag, object, pattern, reference, text, time, words};

pub(super) fn schemas() -> Schemas {
    vec![
        (
            "CertificateName",
            described(pattern(r"^[^\u0000-\u001f\u007f-\u009f]*$", 256), "At most 256 bytes in UTF-8."),
        ),
        ("Sha256Thumbprint", pattern("^[0-9A-Fa-f]{64}$", 64)),
        ("CertificateUpload", upload()),
        ("CertificateProof", proof()),
        ("CertificateResponse", ca_certificate()),
        ("CertificateProperties", properties()),
        (
            "CertificateListDescription",
            object(&["value"], json!({"value": array(reference("CertificateResponse"))})),
        ),
        ("RevocationChange", revocation_change()),
        ("Revocation", revocation()),
        ("RevocationList", revocation_list()),
        ("RevocationScope", scope()),
        ("BlockRequest", block_request()),
        ("Block", block()),
        ("BlockList", object(&["value"], json!({"value": array(reference("Block"))}))),
        ("ExpiringCertificates", expiring()),
    ]
}

fn upload() -> Value {
    let members = json!({
        "certificate": described(text(), "PEM, or base64 of PEM or of DER."),
        "isVerified": described(flag(), "Whether the operator vouches for the certificate."),
    });
    let bare = object(&["certificate"], members);
    json!({"anyOf": [bare, object(&["properties"], json!({"properties": bare}))]})
}

fn proof() -> Value {
    let certificate = "A certificate that the CA issued for the verification code as its common name.";
    let bare = object(&["certificate"], json!({"certificate": described(text(), certificate)}));
    json!({"anyOf": [bare, object(&["properties"], json!({"properties": bare}))]})
}

fn ca_certificate() -> Value {
    let members = json!({
        "id": text(), "name": text(), "type": text(), "etag": text(),
        "properties": reference("CertificateProperties"),
    });
    object(&["id", "name", "type", "etag", "properties"], members)
}

fn properties() -> Value {
    let required = [
        "subject",
        "expiry",
        "thumbprint",
        "isVerified",
        "certificate",
        "created",
        "updated",
        "sha256Thumbprint",
        "issuer",
        "serialNumber",
        "revocationPolicy",
        "revocation",
    ];
    let date = || described(text(), "In the form of RFC 1123.");
    object(
        &required,
        json!({
            "subject": text(), "expiry": date(), "thumbprint": text(), "isVerified": flag(),
            "certificate": described(text(), "DER in base64."),
            "created": date(), "updated": date(),
            "verificationCode": described(text(), "In replies to generateVerificationCode only."),
            "sha256Thumbprint": text(), "issuer": text(), "serialNumber": text(),
            "revocationPolicy": words(["soft", "hard"]),
            "revocation": reference("Revocation"),
        }),
    )
}

fn revocation_change() -> Value {
    let address = || json!({"type": "string", "maxLength": 2048, "pattern": "^http://[!-~]+$"});
    let members = json!({
        "policy": words(["soft", "hard"]),
        "fetch": described(flag(), "Whether to fetch the lists from the CA's own distribution points."),
        "fetchedFrom": {"anyOf": [address(), array(address())]},
        "list": described(text(), "A revocation list to store: PEM, or base64 of PEM or of DER."),
    });
    object(&[], members)
}

fn revocation() -> Value {
    let fetch = object(
        &["from", "atUtc", "nextAtUtc"],
        json!({"from": text(), "atUtc": time(), "problem": text(), "nextAtUtc": time()}),
    );
    let members = json!({
        "policy": words(["soft", "hard"]),
        "fetch": flag(),
        "fetchedFrom": array(text()),
        "fetches": array(fetch),
        "lists": array(reference("RevocationList")),
    });
    object(&["policy", "fetch", "lists"], members)
}

fn revocation_list() -> Value {
    let required = [
        "id",
        "thisUpdate",
        "staleAfterUtc",
        "isStale",
        "ageSeconds",
        "revokedCertificates",
        "takenAtUtc",
        "scope",
    ];
    object(
        &required,
        json!({
            "id": text(), "number": text(), "thisUpdate": time(), "nextUpdate": time(),
            "staleAfterUtc": time(), "isStale": flag(), "ageSeconds": json!({"type": "integer"}),
            "revokedCertificates": count(), "takenAtUtc": time(), "scope": reference("RevocationScope"),
        }),
    )
}

fn scope() -> Value {
    let members = json!({
        "certificates": words(["all", "endEntities", "cas", "none"]),
        "distributionPoint": described(array(text()), "Absent: all of them."),
        "reasons": described(array(text()), "As RFC 5280 spells them; absent: all of them."),
    });
    object(&["certificates"], members)
}

fn block_request() -> Value {
    let reason = json!({"type": "string", "minLength": 1, "maxLength": 256});
    let members = json!({
        "reason": reason,
        "certificate": described(text(), "The certificate, if the caller has it: PEM, or base64 of PEM or of DER."),
        "key": described(flag(), "Whether to block every certificate with the same key."),
    });
    object(&["reason"], members)
}

fn block() -> Value {
    let members = json!({
        "sha256Thumbprint": text(), "reason": text(), "subject": text(), "sha256OfTbs": text(),
        "sha256OfKey": text(), "blockedAtUtc": time(), "etag": text(),
    });
    object(&["sha256Thumbprint", "reason", "blockedAtUtc", "etag"], members)
}

fn expiring() -> Value {
    let required = ["kind", "name", "subject", "sha256Thumbprint", "notAfterUtc", "daysLeft"];
    let members = json!({
        "kind": words(["caCertificate", "enrollmentGroup", "enrollment"]),
        "name": text(), "subject": text(), "sha256Thumbprint": text(), "notAfterUtc": time(),
        "daysLeft": described(json!({"type": "integer"}), "Whole days; negative after the expiry."),
    });
    let certificates = array(object(&required, members));
    object(&["value", "more"], json!({"value": certificates, "more": flag()}))
}
