//! The calls of the provisioning service.

use std::collections::HashSet;

use certpath::Sha256Thumbprint;
use embedded_hub::{Deletion, DeviceSettings, Effect, HubFailure};
use model::{DeviceId, HubCredentials, InitialTwin, SymmetricKeyPair, TwinCollection, TwinSpec};
use serde_json::{Value, json};
use wire::topics::{DeviceFilter, DevicePublish};

use crate::{
    device::{Credentials, Device},
    world::{World, key},
};

fn keys(primary: u8, secondary: u8) -> HubCredentials {
    HubCredentials::SymmetricKeys(SymmetricKeyPair { primary: key(primary), secondary: key(secondary) })
}

fn spec(credentials: HubCredentials) -> DeviceSettings {
    DeviceSettings { id: DeviceId::parse("d").unwrap(), credentials, iot_edge: false }
}

fn twin(desired: Value) -> InitialTwin {
    let collection = |value: Value| value.as_object().cloned().map(TwinCollection::from);
    InitialTwin { tags: collection(json!({"site": "x"})), desired: collection(desired) }
}

fn seed(desired: Value) -> TwinSpec {
    TwinSpec::Initialize(twin(desired))
}

fn keep() -> TwinSpec {
    TwinSpec::Keep { initial: InitialTwin::default() }
}

async fn ensure(world: &World, spec: &DeviceSettings, twin: &TwinSpec) -> Effect {
    world.hub.ensure_device(spec, twin).await.unwrap().effect
}

#[tokio::test]
async fn a_device_is_created_once_and_refreshed() {
    let world = World::new();
    let check = async |spec: &DeviceSettings, twin: &TwinSpec, expected: Effect| {
        let ensured = world.hub.ensure_device(spec, twin).await.unwrap();
        assert_eq!(ensured.effect, expected, "{spec:?} {twin:?}");
        let returned = world.ask("GET /devices/d", "").await.body;
        assert_eq!(returned["generationId"], ensured.generation.as_str());
    };
    check(&spec(keys(7, 8)), &seed(json!({"rate": 5})), Effect::Created).await;
    check(&spec(keys(7, 8)), &seed(json!({"rate": 5})), Effect::Touched).await;
    check(&spec(keys(7, 8)), &keep(), Effect::Unchanged).await;
    let twin = world.ask("GET /twins/d", "").await.body;
    assert_eq!((&twin["tags"], &twin["properties"]["desired"]["rate"]), (&json!({"site": "x"}), &json!(5)));
    let disabled = r#"{"deviceId":"d","status":"disabled","statusReason":"lost"}"#;
    world.ask_with("PUT /devices/d", disabled, &[("if-match", "*")]).await;
    let edge = DeviceSettings { iot_edge: true, ..spec(keys(7, 9)) };
    check(&edge, &keep(), Effect::Refreshed).await;
    let device = world.ask("GET /devices/d", "").await.body;
    assert_eq!((&device["status"], &device["statusReason"]), (&json!("disabled"), &json!("lost")));
    assert_eq!(device["capabilities"], json!({"iotEdge": true}));
    assert_eq!(device["authentication"]["symmetricKey"]["secondaryKey"], key(9).to_base64());
    assert_eq!(world.ask("GET /twins/d", "").await.body["tags"], json!({"site": "x"}), "the twin stays");
    let leaf = HubCredentials::Certificate(Sha256Thumbprint::of(b"leaf"));
    check(&spec(leaf.clone()), &keep(), Effect::Refreshed).await;
    check(&spec(leaf), &keep(), Effect::Unchanged).await;
    let thumbprint = &world.ask("GET /devices/d", "").await.body["authentication"]["x509Thumbprint"];
    assert_eq!(thumbprint["primaryThumbprint"], Sha256Thumbprint::of(b"leaf").as_str());
}

#[tokio::test]
async fn a_seed_replaces_the_content_of_a_used_twin() {
    let world = World::new();
    world.hub.ensure_device(&spec(keys(7, 8)), &seed(json!({"rate": 5}))).await.unwrap();
    let mut device = Device::connect(&world, "d").await;
    device.subscribe(&[DeviceFilter::TwinReplies]).await;
    device.report(r#"{"on":true}"#).await;
    let before = world.ask("GET /twins/d", "").await.body;
    let again = world.hub.ensure_device(&spec(keys(7, 8)), &seed(json!({"rate": 5}))).await;
    assert_eq!(again.unwrap().effect, Effect::Refreshed);
    assert!(device.is_closed().await);
    let after = world.ask("GET /twins/d", "").await.body;
    assert_eq!(after["properties"]["reported"].get("on"), None);
    assert_eq!(after["properties"]["reported"]["$version"], 1);
    assert_ne!(after["etag"], before["etag"]);
}

#[tokio::test]
async fn reports_over_the_connection_before_a_new_seed_are_not_applied() {
    let world = World::new();
    for round in 0..10 {
        world.hub.ensure_device(&spec(keys(7, 8)), &seed(json!({"rate": 5}))).await.unwrap();
        let mut device = Device::connect(&world, "d").await;
        device.subscribe(&[DeviceFilter::TwinReplies]).await;
        device.report(r#"{"on":true}"#).await;
        let topic = DevicePublish::Report { request_id: "8" }.topic();
        let (spec, seed) = (spec(keys(7, 8)), seed(json!({"rate": 5})));
        let restart = world.hub.ensure_device(&spec, &seed);
        let (again, ()) = tokio::join!(restart, device.publish(&topic, r#"{"on":false}"#));
        assert_eq!(again.unwrap().effect, Effect::Refreshed);
        assert!(device.is_closed().await);
        let twin = world.ask("GET /twins/d", "").await.body;
        assert_eq!(twin["properties"]["reported"]["$version"], 1, "round {round}");
    }
}

#[tokio::test]
async fn a_lost_device_is_seeded_and_an_existing_one_keeps_its_twin() {
    let world = World::new();
    let keep = TwinSpec::Keep { initial: twin(json!({"rate": 5})) };
    let desired = async || world.ask("GET /twins/d", "").await.body["properties"]["desired"]["rate"].clone();
    assert_eq!(ensure(&world, &spec(keys(7, 8)), &keep).await, Effect::Created);
    assert_eq!(desired().await, 5);
    world.ask("PATCH /twins/d", r#"{"properties":{"desired":{"rate":6}}}"#).await;
    assert_eq!(ensure(&world, &spec(keys(7, 9)), &keep).await, Effect::Refreshed);
    assert_eq!(desired().await, 6);
    let broken = TwinSpec::Keep { initial: twin(json!({"a.b": 1})) };
    assert_eq!(ensure(&world, &spec(keys(7, 8)), &broken).await, Effect::Refreshed);
    world.ask_with("DELETE /devices/d", "", &[("if-match", "*")]).await;
    let refused = world.hub.ensure_device(&spec(keys(7, 8)), &broken).await;
    assert!(matches!(refused, Err(HubFailure::Invalid(_))), "{refused:?}");
    assert_eq!(ensure(&world, &spec(keys(7, 8)), &keep).await, Effect::Created);
    assert_eq!(desired().await, 5);
}

#[tokio::test]
async fn new_credentials_end_the_old_connection() {
    let world = World::new();
    world.hub.ensure_device(&spec(keys(7, 8)), &keep()).await.unwrap();
    let mut device = Device::connect(&world, "d").await;
    world.hub.ensure_device(&spec(keys(7, 8)), &keep()).await.unwrap();
    assert!(device.is_silent().await);
    world.hub.ensure_device(&spec(keys(3, 4)), &keep()).await.unwrap();
    assert!(device.is_closed().await);
    assert!(Device::try_connect(&world, "d", Credentials::token(&world, "d", 7)).await.is_err());
    assert!(Device::try_connect(&world, "d", Credentials::token(&world, "d", 4)).await.is_ok());
}

#[tokio::test]
async fn an_invalid_seed_changes_nothing() {
    let world = World::new();
    let refused = world.hub.ensure_device(&spec(keys(7, 8)), &seed(json!({"a.b": 1}))).await;
    assert!(matches!(refused, Err(HubFailure::Invalid(_))), "{refused:?}");
    assert_eq!(world.hub.counts().unwrap().devices, 0);
}

#[tokio::test]
async fn deleting_may_be_repeated() {
    let world = World::new();
    world.hub.ensure_device(&spec(keys(7, 8)), &keep()).await.unwrap();
    let mut device = Device::connect(&world, "d").await;
    let id = DeviceId::parse("d").unwrap();
    assert_eq!(world.hub.delete_device(&id).await, Ok(Deletion::Deleted));
    assert_eq!(world.hub.delete_device(&id).await, Ok(Deletion::Absent));
    assert!(device.is_closed().await);
}

/// Every client's creation counts, also while the clock of the hub stands.
#[tokio::test]
async fn each_creation_has_a_generation_and_a_version_of_its_own() {
    let world = World::new();
    let id = DeviceId::parse("d").unwrap();
    let (mut generations, mut versions) = (HashSet::new(), HashSet::new());
    for round in 0..9 {
        match round % 3 {
            0 => drop(world.hub.ensure_device(&spec(keys(7, 8)), &keep()).await.unwrap()),
            1 => drop(world.ask("PUT /devices/d", r#"{"deviceId":"d"}"#).await),
            _ => drop(world.ask("POST /devices", r#"[{"id":"d","importMode":"create"}]"#).await),
        }
        let device = world.hub.device(&id).unwrap().unwrap();
        assert!(generations.insert(device.generation_id), "{round}");
        assert!(versions.insert(device.etag), "{round}");
        world.hub.delete_device(&id).await.unwrap();
    }
}

#[tokio::test]
async fn concurrent_calls_create_every_device_once() {
    let world = World::new();
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let hub = world.hub.clone();
            tokio::spawn(async move {
                let id = DeviceId::parse(format!("d{}", n / 2)).unwrap();
                let spec = DeviceSettings { id, credentials: keys(7, 8), iot_edge: false };
                hub.ensure_device(&spec, &seed(json!({"rate": 5}))).await.unwrap()
            })
        })
        .collect();
    let mut created = 0;
    for task in tasks {
        created += usize::from(task.await.unwrap().effect == Effect::Created);
    }
    assert_eq!((created, world.hub.counts().unwrap().devices), (100, 100));
}
