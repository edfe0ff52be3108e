//! Who may not connect, and what ends a connection.

use wire::{
    hub::DeviceFilter,
    mqtt::{ConnectReturnCode, QoS, SubscribeReturn},
};

use crate::{
    device::{Credentials, Device},
    world::{HOST, World, key},
};

#[tokio::test]
async fn devices_prove_who_they_are() {
    let world = World::new();
    world.device("d").await;
    world.device("off").await;
    let disable = r#"{"deviceId":"off","status":"disabled","authentication":{"symmetricKey":{"primaryKey":"KEY","secondaryKey":"KEY"}}}"#;
    let disable = disable.replace("KEY", &key(7).to_base64());
    world.ask_with("PUT /devices/off", &disable, &[("if-match", "*")]).await;
    let with = |password: Option<String>| Credentials { password, ..Credentials::token(&world, "d", 7) };
    let policy = |name: &str, byte: u8| with(Some(world.token(HOST, byte, Some(name))));
    let sign = |resource: &str, expiry: i64| {
        with(Some(wire::sas::sign(resource, key(7).as_bytes(), expiry as u64, None)))
    };
    let own = format!("{HOST}/devices/d");
    let cases = [
        ("the primary key", "d", Credentials::token(&world, "d", 7), None),
        ("the secondary key", "d", Credentials::token(&world, "d", 8), None),
        ("a device policy", "d", policy("device", 5), None),
        (
            "an alias",
            "d",
            Credentials { host: "localhost:18883".into(), ..Credentials::token(&world, "d", 7) },
            None,
        ),
        ("a service policy", "d", policy("service", 4), Some(ConnectReturnCode::NotAuthorized)),
        ("another key", "d", Credentials::token(&world, "d", 9), Some(ConnectReturnCode::NotAuthorized)),
        (
            "another device's token",
            "d",
            sign(&format!("{HOST}/devices/e"), world.now() + 60),
            Some(ConnectReturnCode::NotAuthorized),
        ),
        (
            "another hub's token",
            "d",
            sign("other.example/devices/d", world.now() + 60),
            Some(ConnectReturnCode::NotAuthorized),
        ),
        ("an expired token", "d", sign(&own, world.now()), Some(ConnectReturnCode::NotAuthorized)),
        ("nonsense", "d", with(Some("nonsense".into())), Some(ConnectReturnCode::NotAuthorized)),
        ("nothing", "d", with(None), Some(ConnectReturnCode::NotAuthorized)),
        ("no device", "x", Credentials::token(&world, "x", 7), Some(ConnectReturnCode::NotAuthorized)),
        (
            "a disabled device",
            "off",
            Credentials::token(&world, "off", 7),
            Some(ConnectReturnCode::NotAuthorized),
        ),
        (
            "another host",
            "d",
            Credentials { host: "other.example".into(), ..Credentials::token(&world, "d", 7) },
            Some(ConnectReturnCode::NotAuthorized),
        ),
        (
            "another client",
            "d",
            Credentials { client_id: "e".into(), ..Credentials::token(&world, "d", 7) },
            Some(ConnectReturnCode::IdentifierRejected),
        ),
        (
            "a certificate for a key device",
            "d",
            Credentials::certificate("d", b"leaf"),
            Some(ConnectReturnCode::NotAuthorized),
        ),
    ];
    for (what, id, shown, expected) in cases {
        assert_eq!(Device::try_connect(&world, id, shown).await.err(), expected, "{what}");
    }
    // The refused ones left nothing behind.
    assert!(world.hub.counts().unwrap().connected <= 1);
}

#[tokio::test]
async fn only_a_devices_own_topics_are_granted() {
    let world = World::new();
    world.device("d").await;
    let mut device = Device::connect(&world, "d").await;
    let own = DeviceFilter::Devicebound.topic("d");
    let codes = device
        .subscribe_to(&[
            "#",
            "devices/+/messages/devicebound/#",
            "devices/e/messages/devicebound/#",
            &own,
            "$iothub/#",
        ])
        .await;
    let expected = [false, false, false, true, false].map(|granted| {
        if granted { SubscribeReturn::Granted(QoS::AtLeastOnce) } else { SubscribeReturn::Failure }
    });
    assert_eq!(codes, expected);
}

#[tokio::test]
async fn hostile_publishes_end_the_connection_and_change_nothing() {
    let world = World::new();
    world.device("d").await;
    world.device("e").await;
    for topic in [
        "devices/e/messages/events/",
        "devices/d/modules/m/messages/events/",
        "$iothub/twin/PATCH/properties/desired/?$rid=1",
        "$iothub/twin/GET/",
        "$iothub/methods/res/x/?$rid=1",
        "$dps/registrations/PUT/iotdps-register/?$rid=1",
        "anything",
    ] {
        let mut device = Device::connect(&world, "d").await;
        device.publish(topic, "{}").await;
        assert!(device.is_closed().await, "{topic}");
    }
    let mut device = Device::connect(&world, "d").await;
    device.send_bytes(&[0xff, 0x00, 0x13, 0x37]).await;
    assert!(device.is_closed().await);
    let mut device = Device::connect(&world, "d").await;
    // Replies to calls that nobody made are dropped.
    device.publish("$iothub/methods/res/200/?$rid=99", "{}").await;
    device.publish("$iothub/methods/res/200/?$rid=nonsense", "{}").await;
    assert!(device.is_left_alone().await);
    for id in ["d", "e"] {
        let twin = world.ask(&format!("GET /twins/{id}"), "").await.body;
        assert_eq!(twin["version"], 2, "{id}");
    }
    assert_eq!(world.hub.counts().unwrap().telemetry, 0);
}

#[tokio::test]
async fn a_device_that_does_not_listen_is_not_told() {
    let world = World::new();
    world.device("d").await;
    let mut device = Device::connect(&world, "d").await;
    device.subscribe(&[DeviceFilter::TwinReplies]).await;
    world.ask("PATCH /twins/d", r#"{"properties":{"desired":{"n":1}}}"#).await;
    world
        .ask_with("POST /messages/devicebound", "x", &[("iothub-to", "/devices/d/messages/devicebound")])
        .await;
    assert!(device.is_left_alone().await);
    assert_eq!(device.twin().await["desired"]["n"], 1);
}
