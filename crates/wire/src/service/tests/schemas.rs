//! Tests of the schemas: what is written, and what clients send, is valid by them.

use serde_json::{Value, json};

use crate::service::schemas;

/// Fails unless a value is valid by a schema.
#[track_caller]
fn check(name: &str, value: &Value) {
    let reference = format!("#/components/schemas/{name}");
    let root = json!({"$ref": reference, "components": {"schemas": schemas()}});
    let validator = jsonschema::options().should_validate_formats(true).build(&root).unwrap();
    let problems: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(problems.is_empty(), "{name}: {problems:?}\n{value}");
}

#[test]
fn golden_files_are_valid() {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/service/golden")).unwrap();
    let mut checked = 0;
    for path in files.map(|file| file.unwrap().path()) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let schema = match name.split('_').next().unwrap() {
            "individual" => "IndividualEnrollment",
            "group" => "EnrollmentGroup",
            "mechanism" => "AttestationMechanism",
            "bulk" if name == "bulk_errors" => "BulkEnrollmentGroupOperationResult",
            "bulk" => "BulkEnrollmentOperationResult",
            "change" => "ChangeLog",
            "usage" => "Usage",
            "certificate" => continue,
            _ => panic!("{name} has no schema"),
        };
        check(schema, &serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap());
        checked += 1;
    }
    assert!(checked >= 15, "{checked}");
}

#[test]
fn samples_of_the_published_description_are_valid() {
    let keys = json!({"primaryKey": "a2V5", "secondaryKey": "a2V5"});
    let attestation = json!({"type": "symmetricKey", "symmetricKey": keys});
    let enrollment =
        json!({"registrationId": "dev-1", "attestation": attestation, "iotHubs": ["hub.example"]});
    check("IndividualEnrollment", &enrollment);
    check("BulkEnrollmentOperation", &json!({"mode": "create", "enrollments": [enrollment]}));
    let upload = json!({"certificate": "MII", "isVerified": true});
    check("CertificateUpload", &upload);
    check("CertificateUpload", &json!({"properties": upload}));
    check("RevocationChange", &json!({"policy": "hard", "fetchedFrom": "http://crl.example/a.crl"}));
    check("AllocationDefaults", &json!({"failover": true}));
}

#[test]
fn ids_are_valid_if_the_parser_accepts_them() {
    let name = schemas()["RegistrationId"].clone();
    let device = schemas()["DeviceId"].clone();
    let (name, device) =
        (jsonschema::validator_for(&name).unwrap(), jsonschema::validator_for(&device).unwrap());
    for text in ["a", "-x", "x-", "Reg:A_b.1", "", "a b", "x.", "_x", ".x", "a/b", "ä", "x:", "$'%", "a@b"] {
        let value = Value::from(text);
        assert_eq!(name.is_valid(&value), model::RegistrationId::parse(text).is_ok(), "{text}");
        assert_eq!(device.is_valid(&value), model::DeviceId::parse(text).is_ok(), "{text}");
    }
}
