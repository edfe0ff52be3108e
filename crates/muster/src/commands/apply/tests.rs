//! Changes by another operator between the comparison and the write, and settings that are applied twice.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use fleet::{EnrollmentKind, ServiceClient, Trust};
use model::AllocationWeight;
use serde_json::{Value, json};
use server::dev::{self, DevOptions, Emulator, PortChoice};
use wire::sas::ConnectionString;

use super::*;

const RULES: Rules<'static> = Rules { owner: "muster-apply", keys: HiddenKeys::Kept };

async fn emulator(dir: PathBuf) -> Emulator {
    let hub_weights = vec![AllocationWeight::default()];
    dev::start(DevOptions { dir, ports: PortChoice::Free, hub_weights }).await.unwrap()
}

fn client(emulator: &Emulator) -> ServiceClient {
    let info = emulator.info();
    let connection = ConnectionString::parse(&info.management_connection_string).unwrap();
    let trust = Trust::from_pem(&std::fs::read(&info.ca_file).unwrap()).unwrap();
    ServiceClient::new(&connection, info.ports.https, trust).unwrap()
}

fn session(emulator: &Emulator) -> Session {
    let facts = ResourceFacts::default();
    Session::new(client(emulator), facts.subscription, facts.resource_group)
}

/// Objects of every kind that can be changed: some that are created meanwhile, and others that are changed meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_in_between_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = emulator(folder.path().join("muster")).await;
    let file = folder.path().join("a.yaml");
    let documents = |location: &str, policy: &str, rights: &str| {
        let text = format!(
            "kind: instance\nname: dev\nlocation: {location}\n---\nkind: instance\nname: new\nlocation: {location}\n---\nkind: policy\nname: p\ninstance: dev\nrights: {rights}\n---\n\
             kind: group\nname: g\nattestation: {{type: symmetricKey}}\nallocationPolicy: {policy}\n"
        );
        std::fs::write(&file, text).unwrap();
        document::read(std::slice::from_ref(&file)).unwrap()
    };
    let mut ours = session(&emulator);
    let stale = plan(&mut ours, documents("a", "hashed", "EnrollmentRead"), RULES).await.unwrap();
    let mut theirs = session(&emulator);
    let steps = plan(&mut theirs, documents("b", "static", "ServiceConfig"), RULES).await.unwrap();
    assert_eq!(
        steps.iter().map(|it| it.action).collect::<Vec<_>>(),
        [Action::Change, Action::Create, Action::Create, Action::Create]
    );
    execute(&mut theirs, &Plan { steps, removals: Vec::new() }).await.unwrap();
    for step in &stale {
        let error =
            step.apply(&mut ours).await.err().map(|it| crate::commands::describe(&it)).unwrap_or_default();
        let says = ["412", "409", "changed since", "created since"].iter().any(|it| error.contains(it));
        assert!(says, "{} {error}", step.document.kind.name());
    }
    let group = client(&emulator).read_enrollment(EnrollmentKind::Group, "g").await.unwrap();
    assert_eq!(group["allocationPolicy"], json!("static"));

    // The same once all exist.
    let stale = plan(&mut ours, documents("c", "hashed", "EnrollmentRead"), RULES).await.unwrap();
    let steps = plan(&mut theirs, documents("d", "geoLatency", "EnrollmentWrite"), RULES).await.unwrap();
    assert!(stale.iter().chain(&steps).all(|step| step.action == Action::Change));
    execute(&mut theirs, &Plan { steps, removals: Vec::new() }).await.unwrap();
    for step in &stale {
        assert!(step.apply(&mut ours).await.is_err(), "{}", step.document.kind.name());
    }
    let steps = plan(&mut ours, documents("d", "geoLatency", "EnrollmentWrite"), RULES).await.unwrap();
    assert!(steps.iter().all(|step| step.action == Action::Keep));
    emulator.stop().await.unwrap();
}

/// Settings of an instance by their paths, with values that are not their defaults: where there is one, in another form than in
/// replies.
fn settings() -> Vec<(&'static str, Value)> {
    let rule = json!({"filterName": "plant", "action": "Reject", "ipMask": "10.0.0.0/8"});
    let rows = json!([
        {"region": "de", "hubs": {"far.example": 9}},
        {"network": "10.20.3.4/16", "hubs": {"near.example": 2.5}},
    ]);
    vec![
        ("location", json!("hall-9")),
        ("tags", json!({"line": "3"})),
        ("sku.name", json!("S1")),
        ("sku.capacity", json!(4)),
        ("properties.allocationPolicy", json!("static")),
        ("properties.publicNetworkAccess", json!("disabled")),
        ("properties.ipFilterRules", json!([rule])),
        ("properties.muster.serviceHosts", json!(["One.localhost", "other.localhost"])),
        ("properties.muster.failover", json!(true)),
        ("properties.muster.requireVerifiedCa", json!(false)),
        ("properties.muster.registrations", json!("first-come")),
        ("properties.muster.existingDevices", json!("refuse")),
        ("properties.muster.maxRegistrationsPerMinute", json!(600)),
        ("properties.muster.quotas", json!({"enrollments": 7})),
        ("properties.muster.crlMaxAgeDays", json!(7)),
        ("properties.muster.webhookKey", json!(testkit::sample::key(7).to_base64())),
        ("properties.muster.latencyTable", rows),
        ("properties.muster.keepAttemptsDays", json!(90)),
    ]
}

/// Returns the paths of the settings in the schema of documents that can be written, other than those with documents of their own.
fn settings_of_schema() -> BTreeSet<String> {
    let schema = schema::schema();
    let instance = &schema["oneOf"][0]["properties"];
    let properties = &schema["$defs"]["IotDpsPropertiesDescription"]["properties"];
    let ours = &schema["$defs"]["MusterSettings"]["properties"];
    let parts = [("", instance), ("sku.", &instance["sku"]["properties"]), ("properties.", properties)];
    let is_written = |schema: &Value| schema["readOnly"] != true && schema["anyOf"][0]["readOnly"] != true;
    let paths = parts.into_iter().chain([("properties.muster.", ours)]).flat_map(|(prefix, members)| {
        let members = members.as_object().unwrap().iter().filter(|(_, schema)| is_written(schema));
        members.map(move |(name, _)| format!("{prefix}{name}"))
    });
    let others = [
        "kind",
        "name",
        "instance",
        "sku",
        "properties",
        "properties.muster",
        "properties.iotHubs",
        "properties.authorizationPolicies",
    ];
    paths.filter(|path| !others.contains(&path.as_str())).collect()
}

fn instance_with(file: &Path, path: &str, value: &Value) -> Vec<document::Document> {
    let mut document = json!({"kind": "instance", "name": "plant-1"});
    *path.split('.').fold(&mut document, |part, name| &mut part[name]) = value.clone();
    std::fs::write(file, document.to_string()).unwrap();
    document::read(&[file.to_owned()]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_setting_of_an_instance_is_applied_twice() {
    let settings = settings();
    let paths: BTreeSet<String> = settings.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(paths, settings_of_schema());
    let folder = tempfile::tempdir().unwrap();
    let emulator = emulator(folder.path().join("muster")).await;
    let file = folder.path().join("a.json");
    let mut session = session(&emulator);
    let mut apply = async |path: &str, value: &Value, rules| {
        let steps = plan(&mut session, instance_with(&file, path, value), rules).await.unwrap();
        let (action, lines) = (steps[0].action, steps[0].lines().concat());
        execute(&mut session, &Plan { steps, removals: Vec::new() }).await.unwrap();
        (action, lines)
    };
    assert_eq!(apply("location", &json!("hall-1"), RULES).await.0, Action::Create);
    for (path, value) in &settings {
        let expected = if *path == "sku.name" { Action::Keep } else { Action::Change };
        let (action, lines) = apply(path, value, RULES).await;
        assert_eq!(action, expected, "{path}: {value}");
        let key = value.as_str().filter(|_| path.ends_with("webhookKey"));
        assert!(key.is_none_or(|key| !lines.contains(key)), "{lines}");
        let (again, lines) = apply(path, value, RULES).await;
        assert_eq!(again, Action::Keep, "{lines}");
    }
    // The service does not return the key, and its mask keeps it.
    let (path, key) = ("properties.muster.webhookKey", json!(testkit::sample::key(8).to_base64()));
    let sent = Rules { keys: HiddenKeys::Sent, ..RULES };
    let line = "~ instance plant-1    properties.muster.webhookKey: (changed)";
    for (value, rules, expected) in [
        (&key, RULES, ""),
        (&key, sent, line),
        (&json!("****"), RULES, ""),
        (&json!("derived"), RULES, line),
        (&json!("****"), RULES, ""),
        (&key, RULES, line),
    ] {
        assert_eq!(apply(path, value, rules).await.1, expected, "{value}");
    }
    emulator.stop().await.unwrap();
}
