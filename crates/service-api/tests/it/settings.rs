//! Every setting of an instance changes while the service runs.

use std::collections::BTreeSet;

use http::Method;
use model::{Instance, ManagedBy};
use serde_json::{Value, json};
use service_api::openapi_document;
use testkit::sample;

use crate::world::{World, instance, resource};

/// Where replies and requests have Muster's own settings.
const OURS: &str = "/properties/muster/";

/// A setting by its JSON pointer, a value that is not its default, and what replies show of that, if it differs.
type Row = (&'static str, Value, Option<Value>);

fn rows() -> Vec<Row> {
    let connection = format!(
        "HostName=near.example;SharedAccessKeyName=owner;SharedAccessKey={}",
        sample::key(9).to_base64()
    );
    let hub = json!({"connectionString": connection, "location": "south", "allocationWeight": 7});
    let policies = json!([
        {"keyName": "ServiceConfig"}, {"keyName": "new", "rights": "EnrollmentRead"},
    ]);
    let rules =
        json!([{"filterName": "plant", "action": "Accept", "ipMask": "10.0.0.0/8", "target": "deviceApi"}]);
    let table = json!([
        {"network": "10.20.0.0/16", "hubs": {"near.example": 2.5}},
        {"region": "DE", "hubs": {"far.example": 9}},
    ]);
    let shown_table = json!([
        {"source": "network", "network": "10.20.0.0/16", "hubs": {"near.example": 2.5}},
        {"source": "region", "region": "DE", "hubs": {"far.example": 9.0}},
    ]);
    let shown_policies = json!([{"keyName": "ServiceConfig", "rights": "ServiceConfig"}, {"keyName": "new", "rights": "EnrollmentRead"}]);
    let key = sample::key(77).to_base64();
    vec![
        ("/location", json!("hall-9"), None),
        ("/tags", json!({"line": "3"}), None),
        ("/sku/capacity", json!(4), None),
        ("/properties/allocationPolicy", json!("Static"), None),
        ("/properties/iotHubs", json!([hub]), Some(json!(1))),
        ("/properties/ipFilterRules", rules, None),
        ("/properties/publicNetworkAccess", json!("Disabled"), None),
        ("/properties/authorizationPolicies", policies, Some(shown_policies)),
        ("/properties/muster/serviceHosts", json!(["one.example", "other.example"]), None),
        ("/properties/muster/failover", json!(false), None),
        ("/properties/muster/requireVerifiedCa", json!(true), None),
        ("/properties/muster/registrations", json!("first-come"), None),
        ("/properties/muster/existingDevices", json!("refuse"), None),
        ("/properties/muster/maxRegistrationsPerMinute", json!(600), None),
        ("/properties/muster/quotas", json!({"preset": "off", "enrollments": 1000}), None),
        ("/properties/muster/crlMaxAgeDays", json!(7), None),
        ("/properties/muster/webhookKey", json!(key), Some(json!("****"))),
        ("/properties/muster/latencyTable", table, Some(shown_table)),
        ("/properties/muster/keepAttemptsDays", json!(90), None),
    ]
}

/// Returns a body that changes one setting.
fn body(pointer: &str, value: &Value) -> Value {
    let mut body = json!({"sku": {"name": "S1"}, "properties": {"muster": {}}});
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[member] = value.clone();
    body
}

async fn read(world: &World) -> Value {
    world.manage(Method::GET, &resource("one", ""), &json!({})).send().await.ok()
}

/// Without its version, and with the number of hubs in place of the hubs.
fn settings(mut instance: Value) -> Value {
    instance["etag"] = Value::Null;
    instance["properties"]["iotHubs"] = json!(instance["properties"]["iotHubs"].as_array().unwrap().len());
    instance
}

/// The table has every setting that the OpenAPI document says can be written.
#[test]
fn the_table_of_settings_is_complete() {
    let document = openapi_document();
    let members = document["components"]["schemas"]["MusterSettings"]["properties"].as_object().unwrap();
    let written = members.iter().filter(|(_, schema)| schema["readOnly"] != json!(true));
    let written: BTreeSet<String> = written.map(|(name, _)| format!("{OURS}{name}")).collect();
    let tested = rows().into_iter().map(|(pointer, ..)| pointer.to_owned());
    let tested: BTreeSet<String> = tested.filter(|pointer| pointer.starts_with(OURS)).collect();
    assert_eq!(tested, written);
}

#[tokio::test]
async fn every_setting_changes_at_once_alone_and_with_an_entry_in_the_log() {
    let world = World::new().await;
    for (pointer, value, shown) in rows() {
        let before = read(&world).await;
        let put = world.manage(Method::PUT, &resource("one", ""), &body(pointer, &value)).send().await;
        let after = read(&world).await;
        assert_eq!(put.ok(), after, "{pointer}");
        assert_ne!(after["etag"], before["etag"], "{pointer}");
        let mut expected = settings(before);
        *expected.pointer_mut(pointer).unwrap() = shown.unwrap_or(value);
        assert_eq!(settings(after.clone()), expected, "{pointer}");
        // What a reply shows is accepted, and changes nothing.
        let again = world.manage(Method::PUT, &resource("one", ""), &after).send().await.ok();
        assert_eq!(again, after, "{pointer}");
    }
    // So that this test, which has no address, may call the host of the instance.
    let open = body("/properties/publicNetworkAccess", &json!("Enabled"));
    world.manage(Method::PUT, &resource("one", ""), &open).send().await.ok();
    let token = world.management_token("one.example");
    let log = world.get("/log?kind=instance&limit=1000").signed(&token).send().await.ok();
    let entries = log["entries"].as_array().unwrap();
    let updates = entries
        .iter()
        .filter(|entry| entry["operation"] == "instance.update" && entry["actor"]["name"] == "root");
    assert_eq!(updates.count(), rows().len() + 1, "{log}");
    let key = world.post("/webhookKey", &json!({})).signed(&token).send().await.ok();
    assert_eq!(key["key"], sample::key(77).to_base64());
    let derived = body("/properties/muster/webhookKey", &json!("derived"));
    world.manage(Method::PUT, &resource("one", ""), &derived).send().await.ok();
    let key = world.post("/webhookKey", &json!({})).signed(&token).send().await.ok();
    assert_ne!(key["key"], sample::key(77).to_base64());
}

#[tokio::test]
async fn no_setting_changes_that_the_file_manages() {
    let world = World::new().await;
    let managed = Instance { managed: ManagedBy::File, ..instance("one") };
    world.store.put_instance(managed, sample::by()).await.unwrap();
    let before = read(&world).await;
    for (pointer, value, _) in rows() {
        let put = world.manage(Method::PUT, &resource("one", ""), &body(pointer, &value)).send().await;
        assert!(put.refused(409_000).contains("managed by the configuration file"), "{pointer}");
    }
    assert_eq!(read(&world).await, before);
}
