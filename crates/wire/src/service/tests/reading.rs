//! Tests of parsing: the forms that clients send, and the errors for invalid bodies.

use base64::{Engine, engine::general_purpose::STANDARD};
use model::*;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::samples::*;
use crate::service::*;

fn with(members: Value) -> Vec<u8> {
    let mut body = json!({"registrationId": "dev-1", "attestation": {"type": "symmetricKey"}});
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string().into_bytes()
}

fn individual_with(members: Value) -> IndividualDraft {
    parse_individual(&with(members)).unwrap()
}

#[test]
fn attestations_of_individual_enrollments_are_parsed() {
    use IndividualAttestationDraft as Draft;
    let given = || CertificateDraft::Given(certificate());
    let client = |primary, secondary| Draft::ClientCertificates(Pair::new(primary, secondary).unwrap());
    let key = |text: &str| SymmetricKey::parse(text).ok();
    let (a, b) = (keys().primary.to_base64(), keys().secondary.to_base64());
    let der = STANDARD.encode(certificate().der());
    let table = [
        (json!({"type": "symmetricKey"}), Draft::SymmetricKey(KeysDraft::default())),
        (json!({"type": "SYMMETRICKEY", "symmetricKey": {}}), Draft::SymmetricKey(KeysDraft::default())),
        (
            json!({"type": "symmetricKey", "symmetricKey": {"primaryKey": "", "secondaryKey": null}}),
            Draft::SymmetricKey(KeysDraft::default()),
        ),
        (
            json!({"type": "symmetricKey", "symmetricKey": {"primaryKey": a, "secondaryKey": b}, "x509": null}),
            Draft::SymmetricKey(KeysDraft { primary: key(&a), secondary: key(&b) }),
        ),
        (
            json!({"type": "tpm", "tpm": {"endorsementKey": tpm_base64()}}),
            Draft::Tpm(TpmAttestation { storage_root_key: None, ..tpm() }),
        ),
        (
            json!({"type": "x509", "x509": {"clientCertificates": {"primary": {"certificate": PEM}}}}),
            client(Some(given()), None),
        ),
        (
            json!({"type": "X509", "x509": {
                "clientCertificates": {
                    "primary": {"certificate": der, "info": null},
                    "secondary": {"certificate": STANDARD.encode(PEM)}},
                "signingCertificates": null,
                "caReferences": {"primary": null, "secondary": ""}}}),
            client(Some(given()), Some(given())),
        ),
        (
            json!({"type": "x509", "x509": {"clientCertificates": {"primary": null, "secondary": {"info": {}}}}}),
            client(None, Some(CertificateDraft::Kept(None))),
        ),
        (
            json!({"type": "x509", "x509": {"caReferences": {"primary": "root-ca", "secondary": "next-ca"}}}),
            Draft::CaReferences(references()),
        ),
    ];
    for (attestation, expected) in table {
        let draft = individual_with(json!({ "attestation": attestation }));
        assert_eq!(draft.attestation, expected);
    }
}

#[test]
fn null_members_count_as_absent_and_unknown_ones_are_ignored() {
    let bare = individual_with(json!({}));
    assert_eq!(bare.settings, EnrollmentSettings::default());
    let nulls = json!({
        "deviceId": null, "optionalDeviceInformation": null, "capabilities": null, "iotHubHostName": null,
        "initialTwin": null, "etag": "*", "provisioningStatus": null, "reprovisionPolicy": null,
        "createdDateTimeUtc": "never", "registrationState": [], "allocationPolicy": null, "iotHubs": null,
        "customAllocationDefinition": null, "newMember": {"x": 1}, "namespaceName": null
    });
    assert_eq!(individual_with(nulls), bare);
}

#[test]
fn words_match_in_any_case_and_defaults_are_the_documented_ones() {
    let draft = individual_with(json!({
        "provisioningStatus": "Disabled", "allocationPolicy": "geolatency", "capabilities": {},
        "reprovisionPolicy": {"updateHubAssignment": false}, "iotHubs": ["HUB-1.test"],
        "initialTwin": {"tags": null, "properties": {}}
    }));
    let expected = EnrollmentSettings {
        provisioning_status: ProvisioningStatus::Disabled,
        allocation_policy: Some(AllocationPolicy::GeoLatency),
        iot_edge: Some(false),
        reprovision_policy: Some(ReprovisionPolicy::Stay { migrate_device_data: true }),
        hubs: vec![HubName::parse("hub-1.test").unwrap()],
        initial_twin: Some(InitialTwin::default()),
        ..Default::default()
    };
    assert_eq!(draft.settings, expected);
}

#[track_caller]
fn check_refusal(members: &Value, expected: &str) {
    let error = parse_individual(&with(members.clone())).expect_err(&members.to_string()).to_string();
    assert!(error.starts_with(expected), "{error}\nexpected {expected}");
}

#[test]
fn invalid_ids_and_attestations_are_refused() {
    let x509 = |x509: Value| json!({"attestation": {"type": "x509", "x509": x509}});
    let key =
        |key: &str| json!({"attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": key}}});
    let slot = |slot: Value| json!({ "primary": slot });
    let table = [
        (json!({"registrationId": null}), "registrationId: is missing"),
        (json!({"registrationId": "a b"}), "registrationId: registration ID may hold only"),
        (json!({"registrationId": "a".repeat(129)}), "registrationId: registration ID must be at most 128"),
        (json!({"deviceId": "a/b"}), "deviceId: device ID may hold only"),
        (json!({"deviceId": 5}), "deviceId: must be a string"),
        (json!({"attestation": null}), "attestation: is missing"),
        (json!({"attestation": {}}), "attestation.type: is missing"),
        (json!({"attestation": {"type": "none"}}), "attestation.type: must not be none"),
        (json!({"attestation": {"type": "password"}}), "attestation.type: must be one of symmetricKey"),
        (json!({"attestation": {"type": "tpm"}}), "attestation.tpm: is missing"),
        (
            json!({"attestation": {"type": "tpm", "tpm": {"endorsementKey": ""}}}),
            "attestation.tpm.endorsementKey: is missing",
        ),
        (
            json!({"attestation": {"type": "tpm", "tpm": {"endorsementKey": "AAAA"}}}),
            "attestation.tpm.endorsementKey: must be one TPM2B_PUBLIC",
        ),
        (
            json!({"attestation": {"type": "tpm", "tpm": {"endorsementKey": "?"}}}),
            "attestation.tpm.endorsementKey: must be base64",
        ),
        (
            json!({"attestation": {"type": "tpm", "tpm": {"endorsementKey": tpm_base64(), "storageRootKey": "AAIACA=="}}}),
            "attestation.tpm.storageRootKey: must be an RSA or ECC key, not one of TPM_ALG 0x0008",
        ),
        (key("?"), "attestation.symmetricKey.primaryKey: symmetric key is not valid base64"),
        (key("AAAA"), "attestation.symmetricKey.primaryKey: symmetric key must be 16 to 64 bytes long"),
        (json!({"attestation": {"type": "x509"}}), "attestation.x509: is missing"),
        (x509(json!({})), "attestation.x509: must have either clientCertificates or caReferences"),
        (
            x509(json!({"signingCertificates": slot(json!({"certificate": PEM}))})),
            "attestation.x509: must have either clientCertificates",
        ),
        (
            x509(
                json!({"clientCertificates": slot(json!({"certificate": PEM})), "caReferences": slot(json!("a"))}),
            ),
            "attestation.x509: must have either clientCertificates",
        ),
        (x509(json!({"clientCertificates": slot(json!({}))})), "attestation.x509: must have either"),
        (
            x509(json!({"clientCertificates": slot(json!({"certificate": "no"}))})),
            "attestation.x509.clientCertificates.primary.certificate: certificate",
        ),
        (
            x509(json!({"clientCertificates": slot(json!({"info": {"sha256Thumbprint": "12"}}))})),
            "attestation.x509.clientCertificates.primary.info.sha256Thumbprint: SHA-256",
        ),
    ];
    for (members, expected) in table {
        check_refusal(&members, expected);
    }
}

#[test]
fn invalid_settings_are_refused() {
    let custom = |url: &str, version: &str| json!({"customAllocationDefinition": {"webhookUrl": url, "apiVersion": version}});
    let table = [
        (json!({"initialTwin": {"tags": []}}), "initialTwin.tags: must be a JSON object"),
        (json!({"initialTwin": {"properties": {"desired": 1}}}), "initialTwin.properties.desired: must be"),
        (json!({"capabilities": {"iotEdge": "yes"}}), "capabilities.iotEdge: must be true or false"),
        (json!({"iotHubs": "hub"}), "iotHubs: must be an array"),
        (json!({"iotHubs": ["ok.test", "no:443"]}), "iotHubs[1]: hub name must be a DNS name"),
        (json!({"allocationPolicy": "best"}), "allocationPolicy: must be one of hashed, geoLatency"),
        (json!({"provisioningStatus": "on"}), "provisioningStatus: must be one of enabled, disabled"),
        (json!({"reprovisionPolicy": {"migrateDeviceData": 1}}), "reprovisionPolicy.migrateDeviceData: must"),
        (
            custom("http://x", "2019-03-31"),
            "customAllocationDefinition.webhookUrl: must be an absolute https",
        ),
        (
            custom("https://", "2019-03-31"),
            "customAllocationDefinition.webhookUrl: must be an absolute https",
        ),
        (custom("https://a b", "2019-03-31"), "customAllocationDefinition.webhookUrl: must be an absolute"),
        (custom("https://me@web.hook/", "2019-03-31"), "customAllocationDefinition.webhookUrl: must be"),
        (custom("https://web.hook/#x", "2019-03-31"), "customAllocationDefinition.webhookUrl: must be an"),
        (custom("https://x", "2018-08-31"), "customAllocationDefinition.apiVersion: must be a version"),
        (custom("https://x", "x"), "customAllocationDefinition.apiVersion: must be a version"),
        (custom("https://x", ""), "customAllocationDefinition.apiVersion: is missing"),
        (json!({"namespaceName": "Ab-c"}), "namespaceName: must be 3 to 64"),
        (json!({"certificateAuthorityName": "a_b"}), "certificateAuthorityName: must be 3 to 63"),
        (json!({"certificatePolicyName": "ab"}), "certificatePolicyName: must be 3 to 63"),
    ];
    for (members, expected) in table {
        check_refusal(&members, expected);
    }
}

#[test]
fn the_tool_of_an_enrollment_is_read_as_it_was_written() {
    let settings = |tool: &str| EnrollmentSettings { managed_by: Some(tool.into()), ..settings() };
    for tool in ["muster-apply", "x", &"~".repeat(64)] {
        let enrollment = IndividualEnrollment { settings: settings(tool), ..full_individual() };
        let shown = individual_json(&enrollment, StateShown::No, Secrets::Hidden);
        assert_eq!(shown["managedBy"], tool);
        assert_eq!(individual_with(shown).settings.managed_by.as_deref(), Some(tool));
    }
    for tool in ["a b", "ü", &"x".repeat(65)] {
        check_refusal(&json!({"managedBy": tool}), "managedBy: must be 1 to 64 printable");
    }
}

#[test]
fn valid_webhook_urls_and_versions_are_accepted() {
    for (url, version) in [
        ("https://web.hook", "2018-09-01-preview"),
        ("HTTPS://[::1]:8443/a?b=c", "2018-11-01"),
        ("https://x", "2027-01-01"),
    ] {
        let custom = json!({"webhookUrl": url, "apiVersion": version});
        let draft = individual_with(json!({ "customAllocationDefinition": custom }));
        assert_eq!(draft.settings.custom_allocation.unwrap().webhook_url, url);
    }
}

#[test]
fn groups_accept_other_attestations_than_individual_enrollments() {
    let group = |attestation: Value| {
        parse_group(json!({"enrollmentGroupId": "g", "attestation": attestation}).to_string().as_bytes())
    };
    assert!(group(json!({"type": "symmetricKey"})).is_ok());
    let signing = json!({"signingCertificates": {"primary": {"certificate": PEM}}});
    assert!(group(json!({"type": "x509", "x509": signing})).is_ok());
    assert!(group(json!({"type": "x509", "x509": {"caReferences": {"secondary": "ca"}}})).is_ok());
    let client = json!({"clientCertificates": {"primary": {"certificate": PEM}}});
    for (attestation, expected) in [
        (
            json!({"type": "tpm", "tpm": {"endorsementKey": tpm_base64()}}),
            "attestation.type: must be symmetricKey or",
        ),
        (json!({"type": "x509", "x509": client}), "attestation.x509: must have either signingCertificates"),
    ] {
        let error = group(attestation).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    assert!(parse_group(br#"{"attestation":{"type":"symmetricKey"}}"#).is_err());
}

/// Twins that hubs would refuse later are refused in enrollments and in replies of webhooks.
#[test]
fn initial_twins_that_hubs_would_refuse_are_refused() {
    let deep = (0..12).fold(json!(1), |inner, _| json!({"a": inner}));
    for (twin, expected) in [
        (json!({"properties": {"desired": {"a.b": 1}}}), Some("initialTwin: the key 'a.b'")),
        (json!({"tags": {"$a": 1}}), Some("initialTwin: the key '$a'")),
        (
            json!({"properties": {"desired": {"a": [1, null]}}}),
            Some("initialTwin: the array at 'a' holds a null"),
        ),
        (json!({"tags": {"a": "x".repeat(5000)}}), Some("initialTwin: the string at 'a'")),
        (
            json!({"properties": {"desired": {"a": vec!["x".repeat(4000); 9]}}}),
            Some("initialTwin: the desired properties"),
        ),
        (
            json!({"tags": {"a": vec!["x".repeat(4000); 3]}}),
            Some("initialTwin: the tags properties are larger"),
        ),
        (json!({"properties": {"desired": deep}}), Some("initialTwin: objects are nested")),
        (
            json!({"properties": {"desired": {"a": 4_503_599_627_370_496_i64}}}),
            Some("initialTwin: the integer"),
        ),
        (json!({"properties": {"desired": {"a": null, "b": {"c": [1, {}]}}}}), None),
        (
            json!({"tags": {"$version": 1, "a": 1}, "properties": {"desired": {"$version": 7, "$metadata": {"$x": 1}, "a": 1}}}),
            None,
        ),
    ] {
        let enrollment = with(json!({"initialTwin": twin}));
        let drafted = parse_individual(&enrollment);
        let answer = json!({"iotHubHostName": "a.hub", "initialTwin": twin}).to_string();
        let answered = parse_webhook_answer(answer.as_bytes());
        let (drafted, answered) = match expected {
            Some(expected) => {
                for error in [drafted.unwrap_err(), answered.unwrap_err()] {
                    assert!(error.to_string().starts_with(expected), "{error}");
                }
                continue;
            }
            None => {
                (drafted.unwrap().settings.initial_twin.unwrap(), answered.unwrap().initial_twin.unwrap())
            }
        };
        assert_eq!(drafted, answered);
        let parts = [&drafted.tags, &drafted.desired].into_iter().flatten();
        assert!(parts.clone().all(|part| part.as_map().keys().all(|key| !key.starts_with('$'))), "{twin}");
    }
    let beyond = r#"{"registrationId":"dev-1","attestation":{"type":"symmetricKey"},"initialTwin":{"tags":{"a":18446744073709551616}}}"#;
    let error = parse_individual(beyond.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "request body: holds an integer beyond 64 bits");
}

#[test]
fn bulk_operations_are_parsed() {
    let item = |etag: &str| json!({"registrationId": "dev-1", "attestation": {"type": "symmetricKey"}, "etag": etag});
    let body = |mode: &str, item: Value| json!({"mode": mode, "enrollments": [item]}).to_string();
    let parse = |mode: &str, item: Value| -> Result<Vec<_>, _> {
        parse_individual_bulk(body(mode, item).as_bytes()).unwrap().into_iter().collect::<Result<_, _>>()
    };
    let draft = individual_with(json!({}));
    let version = IfMatch::Version(Etag::parse("abc").unwrap());
    assert_eq!(parse("create", item("x")).unwrap(), [BulkItem::Create(draft.clone())]);
    let any = [BulkItem::Replace(draft.clone(), Some(IfMatch::Any))];
    assert_eq!(parse("Update", item("x")).unwrap(), any);
    assert_eq!(parse("update", item("")).unwrap(), [BulkItem::Replace(draft.clone(), None)]);
    for mode in ["updateIfMatchETag", "updateIfMatchEtag"] {
        let replace = [BulkItem::Replace(draft.clone(), Some(version.clone()))];
        assert_eq!(parse(mode, item("\"abc\"")).unwrap(), replace);
    }
    let named = [BulkItem::Delete(draft.registration_id)];
    assert_eq!(parse("delete", json!({"registrationId": "dev-1"})).unwrap(), named);

    for (mode, item, id, expected) in [
        ("updateIfMatchETag", item(""), "dev-1", "enrollments[0].etag: is missing"),
        ("create", json!({"registrationId": "x"}), "x", "enrollments[0].attestation: is missing"),
        ("delete", json!({"registrationId": "a b"}), "a b", "enrollments[0].registrationId: "),
        ("create", json!(1), "", "enrollments[0]: must be a JSON object"),
    ] {
        let unreadable = parse(mode, item).unwrap_err();
        assert_eq!(unreadable.id, id);
        assert!(unreadable.error.to_string().starts_with(expected), "{}", unreadable.error);
    }
    for (body, expected) in [
        (body("merge", item("")), "mode: must be one of create, update"),
        (json!({"enrollments": []}).to_string(), "mode: is missing"),
        (json!({"mode": "create", "enrollmentGroups": []}).to_string(), "enrollments: is missing"),
        ("[]".into(), "request body: must be a JSON object"),
        ("{".into(), "request body is not valid JSON"),
    ] {
        let error = parse_individual_bulk(body.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let group = json!({"mode": "delete", "enrollmentGroups": [{"enrollmentGroupId": "g"}]}).to_string();
    assert_eq!(parse_group_bulk(group.as_bytes()).unwrap().len(), 1);
}

#[test]
fn errors_never_include_values_of_the_body() {
    let secret = "c2VjcmV0LXNlY3JldA";
    for body in [
        with(json!({"attestation": {"type": "symmetricKey", "symmetricKey": secret}})),
        with(json!({"attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": secret}}})),
        format!("{{\"symmetricKey\": {secret}}}").into_bytes(),
    ] {
        let error = parse_individual(&body).unwrap_err().to_string();
        assert!(!error.contains(secret), "{error}");
    }
}

/// Generates JSON that resembles enrollments and bulk operations.
fn any_json() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "registrationId",
        "attestation",
        "type",
        "x509",
        "clientCertificates",
        "primary",
        "certificate",
        "info",
        "symmetricKey",
        "primaryKey",
        "initialTwin",
        "tags",
        "iotHubs",
        "mode",
        "enrollments",
        "etag",
        "query",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec!["", "x509", "symmetricKey", "create", "a", "*"]).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        let members = prop::collection::vec((names.clone(), inner.clone()), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            members.prop_map(|members| {
                Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
        ]
    })
}

proptest! {
    /// Another reader agrees on which bodies are JSON.
    #[test]
    fn bodies_that_are_not_json_are_rejected_as_such(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            any_json().prop_map(|json| json.to_string().into_bytes()),
            (any_json(), any::<prop::sample::Index>()).prop_map(|(json, at)| {
                let mut bytes = json.to_string().into_bytes();
                bytes.truncate(at.index(bytes.len() + 1));
                bytes
            }),
        ],
    ) {
        let is_json = serde_json::from_slice::<Value>(&body).is_ok();
        for error in [parse_individual(&body).err(), parse_group_bulk(&body).err()].into_iter().flatten() {
            prop_assert_eq!(matches!(error, BodyError::NotJson(_)), !is_json, "{}", error);
        }
        prop_assert!(is_json || parse_individual(&body).is_err() && parse_group_bulk(&body).is_err());
    }

    /// A parsed enrollment has the ID of the body; a bulk operation has as many items as the body.
    #[test]
    fn parsed_enrollments_are_in_the_body(body in any_json()) {
        let text = body.to_string();
        if let Ok(draft) = parse_individual(text.as_bytes()) {
            let id = body["registrationId"].as_str().unwrap();
            prop_assert!(draft.registration_id.as_str().eq_ignore_ascii_case(id));
        }
        if let Ok(draft) = parse_group(text.as_bytes()) {
            let id = body["enrollmentGroupId"].as_str().unwrap();
            prop_assert!(draft.group_id.as_str().eq_ignore_ascii_case(id));
        }
        if let Ok(items) = parse_individual_bulk(text.as_bytes()) {
            prop_assert_eq!(items.len(), body["enrollments"].as_array().unwrap().len());
        }
        prop_assert!(parse_group_bulk(text.as_bytes()).is_err(), "no body has enrollmentGroups");
    }

    /// The quotes do not belong to an etag.
    #[test]
    fn conditions_read_back_quoted_or_not(text in "(W/)?\"{0,2}[a-z0-9*=+]{0,12}\"{0,2}|\\PC{0,40}") {
        if let Ok(IfMatch::Version(etag)) = parse_if_match(&text) {
            prop_assert!(text.contains(etag.as_str()));
            for quoted in [etag.as_str().to_owned(), format!("\"{etag}\""), format!("W/\"{etag}\"")] {
                prop_assert_eq!(parse_if_match(&quoted), Ok(IfMatch::Version(etag.clone())));
            }
        }
    }
}
