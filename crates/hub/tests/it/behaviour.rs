//! What every kind of connector does. Each test runs on all kinds.

use model::{
    DeviceId, HubCredentials, InitialTwin, Order, Sha256Thumbprint, SymmetricKeyPair, TwinCollection,
    TwinOrder,
};
use provisioning::ports::{HubError, Removed};
use serde_json::{Value, json};
use testkit::sample::{self, key};
use wire::hub::{Device, IfMatch, TwinChange};

use crate::world::{WAYS, World};

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

fn seed(id: &str, credentials: HubCredentials) -> Order {
    Order { credentials, iot_edge: false, twin: TwinOrder::Seed(start()), ..sample::order(id) }
}

fn keep(id: &str, credentials: HubCredentials) -> Order {
    Order { twin: TwinOrder::Keep { if_lost: start() }, ..seed(id, credentials) }
}

/// Does the same on every kind of connector.
async fn on_all(test: impl AsyncFn(&World)) {
    for way in WAYS {
        eprintln!("{way:?}");
        test(&World::new(way)).await;
    }
}

#[tokio::test]
async fn a_device_is_created_with_its_twin_and_repeating_changes_nothing() {
    on_all(async |world| {
        // Every character that a device ID may have beside letters and digits.
        let id = "dev-1:.+%_#*?!(),=@;$'";
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
            assert_ne!(device["etag"], created.0["etag"], "a removal that is on its way does not find it");
            (device["etag"], twin["deviceEtag"]) = (created.0["etag"].clone(), created.0["etag"].clone());
            assert_eq!((device, twin), created);
        }
    })
    .await;
}

#[tokio::test]
async fn a_blank_start_leaves_a_new_twin_untouched() {
    on_all(async |world| {
        for (id, blank) in [("a", InitialTwin::default()), ("b", twin(json!({}), json!({"x": null})))] {
            let order = Order { twin: TwinOrder::Keep { if_lost: blank }, ..seed(id, keys(7, 8)) };
            world.connector.ensure_device(&order).await.unwrap();
            let shown = world.shown(id).1;
            assert_eq!(shown["tags"], json!({}), "{id}");
            assert_eq!(shown["properties"]["desired"].get("x"), None, "{id}");
        }
    })
    .await;
}

#[tokio::test]
async fn only_what_is_given_counts_as_a_change_of_the_twin() {
    on_all(async |world| {
        for (id, given, version) in
            [("t", twin(json!({"a": 1}), Value::Null), 1), ("d", twin(Value::Null, json!({"a": 1})), 2)]
        {
            let order = Order { twin: TwinOrder::Seed(given), ..seed(id, keys(7, 8)) };
            for _ in 0..2 {
                world.connector.ensure_device(&order).await.unwrap();
                assert_eq!(world.shown(id).1["properties"]["desired"]["$version"], version, "{id}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn credentials_and_capabilities_are_refreshed_and_all_else_stays() {
    on_all(async |world| {
        world.connector.ensure_device(&seed("d", keys(7, 8))).await.unwrap();
        let id = DeviceId::parse("d").unwrap();
        let mut device: Device = world.hub.device(&id).unwrap().unwrap();
        device.status = Some(wire::hub::Status::Disabled);
        device.status_reason = Some("lost".to_owned());
        world.hub.put_device(&id, device, IfMatch::Any).await.unwrap();
        let (before, twin_before) = world.shown("d");
        let leaf = HubCredentials::Certificate(Sha256Thumbprint::of(b"leaf"));
        for (order, kind) in [
            (keep("d", keys(7, 9)), "sas"),
            (keep("d", leaf.clone()), "selfSigned"),
            (Order { iot_edge: true, ..keep("d", leaf.clone()) }, "selfSigned"),
            (keep("d", leaf), "selfSigned"),
        ] {
            world.connector.ensure_device(&order).await.unwrap();
            let (device, twin) = world.shown("d");
            assert_eq!((&device["status"], &device["statusReason"]), (&json!("disabled"), &json!("lost")));
            assert_eq!(device["generationId"], before["generationId"]);
            assert_eq!(device["authentication"]["type"], kind);
            assert_eq!(device["capabilities"]["iotEdge"], order.iot_edge);
            assert_eq!(device.get("deviceScope").is_some(), order.iot_edge, "{device}");
            assert_eq!(twin["etag"], twin_before["etag"], "the twin stays");
            world.connector.ensure_device(&order).await.unwrap();
            assert_eq!(world.shown("d").0["etag"], device["etag"], "nothing is left to write");
        }
        let thumbprints = &world.shown("d").0["authentication"]["x509Thumbprint"];
        assert_eq!(thumbprints["primaryThumbprint"], Sha256Thumbprint::of(b"leaf").as_str());
    })
    .await;
}

#[tokio::test]
async fn a_used_twin_is_kept_or_seeded_as_ordered() {
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
async fn a_lost_device_starts_again_and_removing_may_be_repeated() {
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

#[tokio::test]
async fn what_no_twin_may_hold_is_refused_and_changes_nothing() {
    on_all(async |world| {
        let broken = TwinOrder::Seed(twin(json!({}), json!({"a.b": 1})));
        let order = Order { twin: broken, ..seed("d", keys(7, 8)) };
        let refused = world.connector.ensure_device(&order).await;
        assert!(matches!(refused, Err(HubError::Refused(_))), "{refused:?}");
        assert_eq!(world.hub.counts().unwrap().devices, 0);
    })
    .await;
}

#[tokio::test]
async fn orders_that_meet_at_one_device_leave_one_device() {
    on_all(async |world| {
        let orders = (0..60_u8).map(|number| {
            let connector = world.connector.clone();
            let order = seed(&format!("d{}", number / 3), keys(7, 8));
            tokio::spawn(async move { connector.ensure_device(&order).await })
        });
        for order in orders.collect::<Vec<_>>() {
            order.await.unwrap().unwrap();
        }
        assert_eq!(world.hub.counts().unwrap().devices, 20);
        assert_eq!(world.shown("d19").1["properties"]["desired"]["$version"], 2);
    })
    .await;
}
