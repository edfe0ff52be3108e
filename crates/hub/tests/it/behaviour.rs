//! The behavior of every kind of connector. Each test runs on all kinds.

use std::collections::HashSet;

use certpath::Sha256Thumbprint;
use model::{
    Carried, DeviceId, DeviceSpec, ExistingDevices, HubCredentials, InitialTwin, Properties,
    SymmetricKeyPair, TwinCollection, TwinSpec,
};
use provisioning::ports::{HubDevice, HubError, HubVersion, Removed};
use serde_json::{Value, json};
use testkit::sample::{self, key};
use wire::hub::{Device, IfMatch, TwinChange};

use crate::world::{CONNECTIONS, World};

fn keys(primary: u8, secondary: u8) -> HubCredentials {
    HubCredentials::SymmetricKeys(SymmetricKeyPair { primary: key(primary), secondary: key(secondary) })
}

fn twin(tags: Value, desired: Value) -> InitialTwin {
    let collection = |value: Value| value.as_object().cloned().map(TwinCollection::from);
    InitialTwin { tags: collection(tags), desired: collection(desired) }
}

fn start() -> InitialTwin {
    twin(json!({"site": "x"}), json!({"rate": 5, "gone": null, "deep": {"list": [1, {"a": 1.5}]}}))
}

fn seed(id: &str, credentials: HubCredentials) -> DeviceSpec {
    DeviceSpec {
        credentials,
        iot_edge: false,
        twin: TwinSpec::Initialize(start()),
        ..sample::device_spec(id)
    }
}

fn keep(id: &str, credentials: HubCredentials) -> DeviceSpec {
    DeviceSpec { twin: TwinSpec::Keep { initial: start() }, ..seed(id, credentials) }
}

/// Returns the spec of a device that moves here from another hub.
fn carry(id: &str, credentials: HubCredentials) -> DeviceSpec {
    DeviceSpec { twin: TwinSpec::Migrate { initial: start() }, ..seed(id, credentials) }
}

/// Every character that a device ID may have besides letters and digits.
const ODD_ID: &str = "dev-1:.+%_#*?!(),=@;$'";

fn section(value: Value, version: u64) -> Properties {
    Properties { value: value.as_object().cloned().unwrap(), version }
}

/// Returns the data of a device that was used at its hub, and that an operator may have disabled there.
fn used(disabled: Option<&str>) -> Carried {
    Carried {
        tags: json!({"site": "y", "deep": {"list": [1, {"a": 1.5}]}}).as_object().cloned().unwrap(),
        desired: section(json!({"rate": 6, "more": {"on": true}}), 7),
        reported: section(json!({"firmware": "1.2", "deep": {"a": [true]}}), 4),
        disabled: disabled.map(str::to_owned),
    }
}

async fn found(world: &World, id: &str) -> Option<HubDevice> {
    world.connector.find_device(&DeviceId::parse(id).unwrap()).await.unwrap()
}

async fn removed(world: &World, id: &str, version: &HubVersion) -> Removed {
    world.connector.remove_device(&DeviceId::parse(id).unwrap(), version).await.unwrap()
}

/// Runs a test on every kind of connector.
async fn on_all(test: impl AsyncFn(&World)) {
    for way in CONNECTIONS {
        eprintln!("{way:?}");
        test(&World::new(way)).await;
    }
}

#[tokio::test]
async fn a_device_is_created_with_its_twin_and_repeating_that_changes_nothing() {
    on_all(async |world| {
        let id = ODD_ID;
        world.connector.ensure_device(&seed(id, keys(7, 8))).await.unwrap();
        let created = world.shown(id);
        let (device, shown) = &created;
        assert_eq!((&device["deviceId"], &device["status"]), (&json!(id), &json!("enabled")));
        let authentication = &device["authentication"];
        assert_eq!(authentication["type"], "sas");
        assert_eq!(authentication["symmetricKey"]["primaryKey"], key(7).to_base64());
        assert_eq!(authentication["symmetricKey"]["secondaryKey"], key(8).to_base64());
        assert_eq!((&shown["tags"], shown["version"].as_u64().is_some()), (&json!({"site": "x"}), true));
        let desired = &shown["properties"]["desired"];
        assert_eq!((&desired["rate"], &desired["$version"]), (&json!(5), &json!(2)));
        assert_eq!((&desired["deep"], desired.get("gone")), (&json!({"list": [1, {"a": 1.5}]}), None));
        world.connector.ensure_device(&keep(id, keys(7, 8))).await.unwrap();
        assert_eq!(world.shown(id), created);
        for _ in 0..2 {
            world.connector.ensure_device(&seed(id, keys(7, 8))).await.unwrap();
            let (mut device, mut twin) = world.shown(id);
            assert_ne!(device["etag"], created.0["etag"], "a removal in flight does not match it");
            (device["etag"], twin["deviceEtag"]) = (created.0["etag"].clone(), created.0["etag"].clone());
            assert_eq!((device, twin), created);
        }
    })
    .await;
}

#[tokio::test]
async fn a_blank_initial_twin_leaves_a_new_twin_untouched() {
    on_all(async |world| {
        for (id, blank) in [("a", InitialTwin::default()), ("b", twin(json!({}), json!({"x": null})))] {
            let spec = DeviceSpec { twin: TwinSpec::Keep { initial: blank }, ..seed(id, keys(7, 8)) };
            world.connector.ensure_device(&spec).await.unwrap();
            let shown = world.shown(id).1;
            assert_eq!(shown.get("tags"), None, "{id}");
            assert_eq!(shown["properties"]["desired"].get("x"), None, "{id}");
        }
    })
    .await;
}

#[tokio::test]
async fn only_given_parts_count_as_a_change_of_the_twin() {
    on_all(async |world| {
        for (id, given, version) in
            [("t", twin(json!({"a": 1}), Value::Null), 1), ("d", twin(Value::Null, json!({"a": 1})), 2)]
        {
            let spec = DeviceSpec { twin: TwinSpec::Initialize(given), ..seed(id, keys(7, 8)) };
            for _ in 0..2 {
                world.connector.ensure_device(&spec).await.unwrap();
                assert_eq!(world.shown(id).1["properties"]["desired"]["$version"], version, "{id}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn credentials_and_capabilities_are_updated_and_everything_else_stays() {
    on_all(async |world| {
        world.connector.ensure_device(&seed("d", keys(7, 8))).await.unwrap();
        let id = DeviceId::parse("d").unwrap();
        let mut device: Device = world.hub.device(&id).unwrap().unwrap();
        device.status = Some(wire::hub::Status::Disabled);
        device.status_reason = Some("lost".to_owned());
        world.hub.put_device(&id, device, IfMatch::Any).await.unwrap();
        let (before, twin_before) = world.shown("d");
        let leaf = HubCredentials::Certificate(Sha256Thumbprint::of(b"leaf"));
        for (spec, kind) in [
            (keep("d", keys(7, 9)), "sas"),
            (keep("d", leaf.clone()), "selfSigned"),
            (DeviceSpec { iot_edge: true, ..keep("d", leaf.clone()) }, "selfSigned"),
            (keep("d", leaf), "selfSigned"),
        ] {
            world.connector.ensure_device(&spec).await.unwrap();
            let (device, twin) = world.shown("d");
            assert_eq!((&device["status"], &device["statusReason"]), (&json!("disabled"), &json!("lost")));
            assert_eq!(device["generationId"], before["generationId"]);
            assert_eq!(device["authentication"]["type"], kind);
            assert_eq!(device["capabilities"]["iotEdge"], spec.iot_edge);
            assert_eq!(device.get("deviceScope").is_some(), spec.iot_edge, "{device}");
            assert_eq!(twin["etag"], twin_before["etag"], "the twin stays");
            world.connector.ensure_device(&spec).await.unwrap();
            assert_eq!(world.shown("d").0["etag"], device["etag"], "nothing is left to write");
        }
        let thumbprints = &world.shown("d").0["authentication"]["x509Thumbprint"];
        assert_eq!(thumbprints["primaryThumbprint"], Sha256Thumbprint::of(b"leaf").as_str());
    })
    .await;
}

#[tokio::test]
async fn a_used_twin_is_kept_or_initialized_as_the_spec_says() {
    on_all(async |world| {
        world.connector.ensure_device(&seed("d", keys(7, 8))).await.unwrap();
        let id = DeviceId::parse("d").unwrap();
        let change: TwinChange = serde_json::from_value(
            json!({"tags": {"by": "hand"}, "properties": {"desired": {"rate": 6, "more": true}}}),
        )
        .unwrap();
        world.hub.change_twin(&id, change, embedded_hub::twin::Mode::Patch, IfMatch::Absent).await.unwrap();
        let used = world.shown("d").1;
        world.connector.ensure_device(&keep("d", keys(7, 9))).await.unwrap();
        assert_eq!(world.shown("d").1["etag"], used["etag"]);
        world.connector.ensure_device(&seed("d", keys(7, 9))).await.unwrap();
        let seeded = world.shown("d").1;
        assert_eq!(seeded["tags"], json!({"site": "x"}));
        let desired = &seeded["properties"]["desired"];
        assert_eq!((&desired["rate"], desired.get("more")), (&json!(5), None));
        world.connector.ensure_device(&seed("d", keys(7, 9))).await.unwrap();
        assert_eq!(world.shown("d").1["etag"], seeded["etag"]);
    })
    .await;
}

#[tokio::test]
async fn a_lost_device_is_created_again_and_a_removal_may_be_repeated() {
    on_all(async |world| {
        let id = DeviceId::parse("d").unwrap();
        for _ in 0..2 {
            world.connector.ensure_device(&keep("d", keys(7, 8))).await.unwrap();
            assert_eq!(world.shown("d").1["properties"]["desired"]["rate"], 5);
            let version = world.connector.find_device(&id).await.unwrap().unwrap().version;
            for _ in 0..2 {
                assert_eq!(world.connector.remove_device(&id, &version).await, Ok(Removed::Gone));
                assert!(world.hub.device(&id).unwrap().is_none());
            }
        }
    })
    .await;
}

/// Every call returns the generation of the registry, which stays the same until the device is deleted and created again.
#[tokio::test]
async fn a_device_keeps_its_generation_until_it_is_created_again() {
    on_all(async |world| {
        let (id, blank) = (DeviceId::parse("d").unwrap(), InitialTwin::default());
        let blank = DeviceSpec { twin: TwinSpec::Initialize(blank), ..seed("d", keys(7, 8)) };
        let (mut seen, enabled, disabled) = (HashSet::new(), used(None), used(Some("lost")));
        for first in [&seed("d", keys(7, 8)), &keep("d", keys(7, 8)), &blank] {
            let generation =
                world.connector.ensure_device(first).await.unwrap().generation.expect("a generation");
            assert_eq!(world.shown("d").0["generationId"], generation.as_str());
            assert!(seen.insert(generation.to_string()), "a device that is created again is another one");
            let same = Some(generation);
            for spec in [keep("d", keys(7, 8)), keep("d", keys(7, 9)), seed("d", keys(7, 8)), blank.clone()] {
                assert_eq!(world.connector.ensure_device(&spec).await.unwrap().generation, same);
            }
            for carried in [&enabled, &disabled] {
                let spec = carry("d", keys(7, 8));
                assert_eq!(world.connector.receive_device(&spec, carried).await.unwrap().generation, same);
            }
            assert_eq!(found(world, "d").await.unwrap().generation, same);
            world.hub.delete_device(&id).await.unwrap();
        }
        for carried in [&enabled, &disabled] {
            let received = world.connector.receive_device(&carry("d", keys(7, 8)), carried).await.unwrap();
            let received = received.generation;
            let found = found(world, "d").await.unwrap().generation;
            assert!(received.is_some() && received == found);
            assert!(seen.insert(received.unwrap().to_string()));
            world.hub.delete_device(&id).await.unwrap();
        }
    })
    .await;
}

/// A device of another client is recognized, unlike one of an earlier spec, and keeps its key, twin and status if the spec says
/// so.
#[tokio::test]
async fn a_device_of_another_client_is_adopted_or_left_alone() {
    on_all(async |world| {
        let (enabled, disabled) = (used(None), used(Some("lost")));
        type Ordered = fn(&str, HubCredentials) -> DeviceSpec;
        let cases: [(&str, Ordered, Option<&Carried>); 5] = [
            ("seeded", seed, None),
            ("kept", keep, None),
            ("carried", carry, None),
            ("received", carry, Some(&enabled)),
            ("received-disabled", carry, Some(&disabled)),
        ];
        for (id, of, carried) in cases {
            let tell = async |spec: &DeviceSpec| match carried {
                Some(carried) => world.connector.receive_device(spec, carried).await,
                None => world.connector.ensure_device(spec).await,
            };
            let refusing = |spec: DeviceSpec| DeviceSpec { existing: ExistingDevices::Refuse, ..spec };
            // There is no device, then that of this spec, then that of an earlier one.
            let (made, later) =
                (of(id, keys(7, 8)), of(id, keys(7, 9)).with_sent([of(id, keys(7, 8)).digest()]));
            for own in [&made, &made, &later] {
                for spec in [own.clone(), refusing(own.clone())] {
                    assert!(!tell(&spec).await.unwrap().took_over, "{id}: {spec:?}");
                }
            }
            let there = world.shown(id);
            let foreign = of(id, keys(1, 2));
            let refused = tell(&refusing(foreign.clone())).await;
            assert!(matches!(refused, Err(HubError::Occupied(_))), "{id}: {refused:?}");
            assert_eq!(world.shown(id), there, "{id}");
            assert!(tell(&foreign).await.unwrap().took_over, "{id}");
            assert!(
                !tell(&refusing(foreign)).await.unwrap().took_over,
                "{id}: afterwards the device belongs to the spec"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_twin_that_is_not_valid_is_refused_and_changes_nothing() {
    on_all(async |world| {
        let broken = TwinSpec::Initialize(twin(json!({}), json!({"a.b": 1})));
        let spec = DeviceSpec { twin: broken, ..seed("d", keys(7, 8)) };
        let refused = world.connector.ensure_device(&spec).await;
        assert!(matches!(refused, Err(HubError::Refused(_))), "{refused:?}");
        assert_eq!(world.hub.counts().unwrap().devices, 0);
    })
    .await;
}

#[tokio::test]
async fn concurrent_specs_of_one_device_leave_one_device() {
    on_all(async |world| {
        let specs = (0..60_u8).map(|number| {
            let connector = world.connector.clone();
            let spec = seed(&format!("d{}", number / 3), keys(7, 8));
            tokio::spawn(async move { connector.ensure_device(&spec).await })
        });
        for spec in specs.collect::<Vec<_>>() {
            spec.await.unwrap().unwrap();
        }
        assert_eq!(world.hub.counts().unwrap().devices, 20);
        assert_eq!(world.shown("d19").1["properties"]["desired"]["$version"], 2);
    })
    .await;
}

#[tokio::test]
async fn a_device_arrives_with_all_its_data() {
    on_all(async |world| {
        let leaf = HubCredentials::Certificate(Sha256Thumbprint::of(b"leaf"));
        for (id, credentials, disabled) in [
            (ODD_ID, keys(7, 8), None),
            ("leaf", leaf, Some("stolen")),
            ("without-reason", keys(7, 8), Some("")),
        ] {
            let (spec, carried) = (carry(id, credentials), used(disabled));
            world.connector.receive_device(&spec, &carried).await.unwrap();
            let (device, shown) = world.shown(id);
            assert_eq!(device["status"], if disabled.is_some() { "disabled" } else { "enabled" });
            let reason = disabled.filter(|reason| !reason.is_empty());
            assert_eq!(device.get("statusReason").and_then(Value::as_str), reason, "{device}");
            assert_eq!(shown["tags"], Value::Object(carried.tags.clone()));
            let properties = &shown["properties"];
            assert_eq!(
                (&properties["desired"]["rate"], &properties["desired"]["$version"]),
                (&json!(6), &json!(7))
            );
            let reported = &properties["reported"];
            assert_eq!((&reported["firmware"], &reported["$version"]), (&json!("1.2"), &json!(4)));
            let arrived = found(world, id).await.unwrap();
            assert_eq!((arrived.carried, arrived.credentials), (carried, Some(spec.credentials)));
        }
        world
            .connector
            .receive_device(&DeviceSpec { iot_edge: true, ..carry("edge", keys(7, 8)) }, &used(None))
            .await
            .unwrap();
        assert_eq!(world.shown("edge").0["capabilities"]["iotEdge"], true);
    })
    .await;
}

#[tokio::test]
async fn a_device_that_arrives_replaces_an_existing_one_and_may_arrive_again() {
    on_all(async |world| {
        world.connector.receive_device(&carry("d", keys(1, 2)), &used(Some("stolen"))).await.unwrap();
        let mut last = found(world, "d").await.unwrap();
        let carried = Carried {
            tags: json!({"other": 1}).as_object().cloned().unwrap(),
            desired: section(json!({"rate": 9}), 3),
            reported: section(json!({}), 1),
            disabled: None,
        };
        let mut twins = Vec::new();
        for _ in 0..2 {
            world.connector.receive_device(&carry("d", keys(7, 8)), &carried).await.unwrap();
            let arrived = found(world, "d").await.unwrap();
            // Except that a device which an operator disabled here stays disabled.
            let stays = Carried { disabled: Some("stolen".to_owned()), ..carried.clone() };
            assert_eq!((&arrived.carried, &arrived.credentials), (&stays, &Some(keys(7, 8))));
            assert_eq!(removed(world, "d", &last.version).await, Removed::Changed, "a removal in flight");
            twins.push(world.shown("d").1["etag"].clone());
            last = arrived;
        }
        assert_eq!(twins[0], twins[1], "nothing is left to write into the twin");
        assert_eq!(world.hub.counts().unwrap().devices, 1);
    })
    .await;
}

#[tokio::test]
async fn a_device_whose_data_are_not_valid_is_refused() {
    on_all(async |world| {
        let carried = Carried { desired: section(json!({"a.b": 1}), 2), ..used(None) };
        let refused = world.connector.receive_device(&carry("d", keys(7, 8)), &carried).await;
        assert!(matches!(refused, Err(HubError::Refused(_))), "{refused:?}");
        assert_eq!(world.hub.counts().unwrap().devices, 0, "the device is not created without its twin");
    })
    .await;
}

#[tokio::test]
async fn a_device_is_found_with_its_current_data() {
    on_all(async |world| {
        assert_eq!(found(world, ODD_ID).await, None);
        world.connector.ensure_device(&seed(ODD_ID, keys(7, 8))).await.unwrap();
        let first = found(world, ODD_ID).await.unwrap();
        assert_eq!(found(world, ODD_ID).await.as_ref(), Some(&first), "looking changes nothing");
        assert_eq!(first.credentials, Some(keys(7, 8)));
        let desired = section(json!({"rate": 5, "deep": {"list": [1, {"a": 1.5}]}}), 2);
        let tags = json!({"site": "x"}).as_object().cloned().unwrap();
        assert_eq!(first.carried, Carried { tags, desired, reported: section(json!({}), 1), disabled: None });

        let id = DeviceId::parse(ODD_ID).unwrap();
        let mut device: Device = world.hub.device(&id).unwrap().unwrap();
        device.status = Some(wire::hub::Status::Disabled);
        device.status_reason = Some("lost".to_owned());
        let thumbprint = json!({"primaryThumbprint": "0".repeat(40)});
        let by_sha1 = json!({"type": "selfSigned", "x509Thumbprint": thumbprint});
        device.authentication = serde_json::from_value(by_sha1).unwrap();
        world.hub.put_device(&id, device, IfMatch::Any).await.unwrap();
        let second = found(world, ODD_ID).await.unwrap();
        assert_ne!(second.version, first.version);
        assert_eq!(second.credentials, None, "the service writes no such credentials");
        assert_eq!(second.carried, Carried { disabled: Some("lost".to_owned()), ..first.carried });
    })
    .await;
}

#[tokio::test]
async fn only_the_version_that_was_read_is_removed() {
    on_all(async |world| {
        assert_eq!(removed(world, ODD_ID, &HubVersion("MQ==".to_owned())).await, Removed::Gone, "absent");
        world.connector.ensure_device(&seed(ODD_ID, keys(7, 8))).await.unwrap();
        let stale = found(world, ODD_ID).await.unwrap().version;
        world.connector.ensure_device(&keep(ODD_ID, keys(7, 9))).await.unwrap();
        let before = world.shown(ODD_ID);
        assert_eq!(removed(world, ODD_ID, &stale).await, Removed::Changed);
        assert_eq!(world.shown(ODD_ID), before);

        let right = found(world, ODD_ID).await.unwrap().version;
        assert_eq!(removed(world, ODD_ID, &right).await, Removed::Gone);
        assert_eq!(found(world, ODD_ID).await, None);
        world.connector.ensure_device(&seed(ODD_ID, keys(7, 9))).await.unwrap();
        assert_eq!(
            removed(world, ODD_ID, &right).await,
            Removed::Changed,
            "created anew, it is another device"
        );
        assert!(found(world, ODD_ID).await.is_some());
    })
    .await;
}
