//! Replies match the schemas that Azure publishes, whatever is stored.
//!
//! There is one intended difference. Azure's description allows only objects as members of twins, which its own examples
//! contradict; here they may be any JSON, and an operator's own `version`, `count` or `metadata` is returned as sent.
//! Clients that are generated from the description cannot read that, so that the reply to the write has a warning.

use std::collections::BTreeSet;

use model::{Status, Timestamp};
use serde_json::{Map, Value, json};
use testkit::{ca::Authority, sample};

use crate::world::{TestReply, World, group, individual};

/// The definitions of one version of the API, from `tests/fixtures`.
struct Schemas(Value);

impl Schemas {
    /// Returns those of the first and the last stable version.
    fn all() -> [Schemas; 2] {
        let texts = [
            include_str!("../fixtures/service-2021-10-01.json"),
            include_str!("../fixtures/service-2026-11-01.json"),
        ];
        texts.map(|text| Schemas(serde_json::from_str::<Value>(text).unwrap()["definitions"].take()))
    }

    /// Returns the paths at which a value violates a definition.
    fn problems(&self, definition: &str, value: &Value) -> Vec<String> {
        let mut problems = Vec::new();
        self.check(&json!({"$ref": format!("#/definitions/{definition}")}), value, "", &mut problems);
        problems
    }

    fn check(&self, schema: &Value, value: &Value, path: &str, problems: &mut Vec<String>) {
        if let Some(target) = schema["$ref"].as_str() {
            let name = target.strip_prefix("#/definitions/").unwrap();
            return self.check(&self.0[name], value, path, problems);
        }
        let fits = match schema["type"].as_str() {
            None => true,
            Some("object") => value.is_object(),
            Some("array") => value.is_array(),
            Some("boolean") => value.is_boolean(),
            Some("integer") => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
            Some("string") => value.as_str().is_some_and(|text| is_text_of(schema, text)),
            Some(other) => panic!("a type {other} that this test does not know"),
        };
        if !fits {
            problems.push(path.trim_start_matches('.').to_owned());
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if value.as_object().is_some_and(|members| !members.contains_key(name)) {
                problems.push(format!("{path}.{name} is missing"));
            }
        }
        for (name, value) in value.as_object().into_iter().flatten() {
            if let Some(member) = schema["properties"].get(name) {
                self.check(member, value, &format!("{path}.{name}"), problems);
            }
        }
        for (at, item) in value.as_array().into_iter().flatten().enumerate() {
            self.check(&schema["items"], item, &format!("{path}[{at}]"), problems);
        }
    }
}

fn is_text_of(schema: &Value, text: &str) -> bool {
    let words = schema["enum"].as_array();
    let length = text.chars().count() as u64;
    words.is_none_or(|words| words.iter().any(|word| word == text))
        && (schema["format"] != "date-time" || Timestamp::parse(text).is_ok())
        && schema["minLength"].as_u64().is_none_or(|least| length >= least)
        && schema["maxLength"].as_u64().is_none_or(|most| length <= most)
}

#[track_caller]
fn check(definition: &str, value: &Value) {
    for schemas in Schemas::all() {
        assert_eq!(schemas.problems(definition, value), [""; 0], "{definition} {value}");
    }
}

fn warned(reply: &TestReply) -> Vec<String> {
    let warning = reply.header("x-muster-warning").unwrap_or_default();
    let paths = warning.split("; ").filter(|one| one.contains("generated from Azure's API description"));
    paths.map(|one| one.split(' ').next().unwrap().to_owned()).collect()
}

/// Returns the members of collections that contain these paths.
fn members(paths: Vec<String>) -> BTreeSet<String> {
    let inner = [".lastUpdatedVersion", ".lastUpdated"];
    let member =
        |path: String| inner.iter().fold(path.as_str(), |path, end| path.trim_end_matches(end)).to_owned();
    paths.into_iter().map(member).collect()
}

/// Returns values of every type, numbers at their limits, and `metadata` in the form of the hosted service.
fn values() -> Vec<Value> {
    let date = "2026-11-22T08:15:30Z";
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-2_147_483_648_i64),
        json!(2_147_483_647),
        json!(2_147_483_648_i64),
        json!(1.5),
        json!(""),
        json!("1"),
        json!(date),
        json!([]),
        json!([1, "a"]),
        json!({}),
        json!({"version": "x", "lastUpdated": date, "lastUpdatedVersion": 4}),
        json!({"lastUpdated": "yesterday"}),
        json!({"lastUpdatedVersion": "4"}),
        json!({"lastUpdated": null, "lastUpdatedVersion": {}}),
    ]
}

/// A function that puts a collection into one member of a body.
type Setter = fn(&mut Value, Value);

const SETTERS: [Setter; 3] = [
    |body, collection| body["initialTwin"]["tags"] = collection,
    |body, collection| body["initialTwin"]["properties"]["desired"] = collection,
    |body, collection| body["optionalDeviceInformation"] = collection,
];

#[tokio::test]
async fn members_that_generated_clients_cannot_read_have_a_warning() {
    let world = World::new().await;
    let (mut readable, mut unreadable) = (0, 0);
    for (path, definition, body) in [
        ("/enrollments/x-1", "IndividualEnrollment", individual("x-1")),
        ("/enrollmentGroups/x-1", "EnrollmentGroup", group("x-1")),
    ] {
        world.put(path, &body).send().await.ok();
        for set in SETTERS {
            for name in ["version", "count", "metadata", "Version", "other"] {
                for value in values() {
                    let mut changed = body.clone();
                    set(&mut changed, Value::Object(Map::from_iter([(name.to_owned(), value.clone())])));
                    let put = world.put(path, &changed).if_match("*").send().await;
                    let shown = put.ok();
                    let read = world.get(path).send().await.ok();
                    assert_eq!(read.get("initialTwin"), shown.get("initialTwin"));
                    for schemas in Schemas::all() {
                        assert_eq!(schemas.problems(definition, &read), schemas.problems(definition, &shown));
                        let problems = members(schemas.problems(definition, &shown));
                        let warned = members(warned(&put));
                        assert_eq!(problems, warned, "{name} {value}");
                        *(if problems.is_empty() { &mut readable } else { &mut unreadable }) += 1;
                    }
                }
            }
        }
    }
    assert!(readable > 100 && unreadable > 100, "{readable} {unreadable}");
}

#[tokio::test]
async fn every_kind_of_reply_matches_the_published_schema() {
    let world = World::new().await;
    let root = Authority::root("Root").identity().pem();
    let certificates = json!({"primary": {"certificate": root}, "secondary": {"certificate": root}});
    let whole = json!({
        "capabilities": {"iotEdge": true},
        "initialTwin": {"tags": {"a": 1, "version": 3}, "properties": {"desired": {"b": [1, {"c": 2}]}}},
        "provisioningStatus": "disabled",
        "reprovisionPolicy": {"updateHubAssignment": false},
        "allocationPolicy": "custom",
        "iotHubs": ["hub-1.example"],
        "iotHubHostName": "hub-1.example",
        "customAllocationDefinition": {"webhookUrl": "https://w.example/", "apiVersion": "2019-03-31"},
        "namespaceName": "name-space",
    });
    let tpm = sample::tpm_identity(7, 8).endorsement_key.to_base64();
    let attestations = [
        json!({"type": "symmetricKey"}),
        json!({"type": "tpm", "tpm": {"endorsementKey": tpm}}),
        json!({"type": "x509", "x509": {"clientCertificates": certificates}}),
        json!({"type": "x509", "x509": {"signingCertificates": certificates}}),
        json!({"type": "x509", "x509": {"caReferences": {"primary": "ca"}}}),
    ];
    let (mut written, mut refused) = (0, Vec::new());
    for (collection, definition, minimal) in [
        ("/enrollments", "IndividualEnrollment", individual("x-1")),
        ("/enrollmentGroups", "EnrollmentGroup", group("x-1")),
    ] {
        let path = format!("{collection}/x-1");
        for members in [json!({}), whole.clone()] {
            for attestation in &attestations {
                let mut body = minimal.clone();
                body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
                body["attestation"] = attestation.clone();
                let put = world.put(&path, &body).send().await;
                if put.status != 200 {
                    check("ProvisioningServiceErrorDetails", &serde_json::from_str(&put.text).unwrap());
                    refused.push(put.text);
                    continue;
                }
                written += 1;
                check(definition, &put.ok());
                check(definition, &world.get(&path).send().await.ok());
                let listed = world.post(&format!("{collection}/query"), &json!({})).send().await.ok();
                listed.as_array().unwrap().iter().for_each(|listed| check(definition, listed));
                let mechanism = world.post(&format!("{path}/attestationmechanism"), &json!({})).send().await;
                check("AttestationMechanism", &mechanism.ok());
                world.delete(&path).send().await.deleted();
            }
        }
    }
    assert_eq!(written, 2 * (4 + 3), "all but those that are of the other kind: {refused:?}");
    let bulk = json!({"mode": "delete", "enrollments": [individual("none")]});
    check("BulkEnrollmentOperationResult", &world.post("/enrollments", &bulk).send().await.ok());
    let bulk = json!({"mode": "delete", "enrollmentGroups": [group("none")]});
    check("BulkEnrollmentGroupOperationResult", &world.post("/enrollmentGroups", &bulk).send().await.ok());
    for number in 0..sample::statuses("any").len() {
        let id = format!("dev-{number}");
        let (_, status) = sample::statuses(&id).swap_remove(number);
        let failed = matches!(status, Status::Failed { .. });
        world.register("one", model::Registration { status, ..sample::registration(&id) }).await;
        let state = world.get(&format!("/registrations/{id}")).send().await.ok();
        check("DeviceRegistrationState", &state);
        assert_eq!(failed, state.get("errorCode").is_some(), "{state}");
    }
}
