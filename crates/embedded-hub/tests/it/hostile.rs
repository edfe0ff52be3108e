//! Refused connections, and what ends a connection.

use std::time::Duration;

use codec::{
    amqp::{Body, DeliveryState, Entries, Message, MessageId, Properties, Role, SettleMode, condition},
    mqtt::{ConnectReturnCode, QoS, SubscribeReturn},
};
use wire::topics::DeviceFilter;

use crate::{
    amqp_device::{AmqpDevice, data},
    device::{Credentials, Device},
    world::{HOST, World, key},
};

#[tokio::test]
async fn devices_are_authenticated() {
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
        ("an expired token", "d", sign(&own, world.now() - 301), Some(ConnectReturnCode::NotAuthorized)),
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
    for (what, id, presented, expected) in cases {
        assert_eq!(Device::try_connect(&world, id, presented).await.err(), expected, "{what}");
    }
    // The refused ones are not counted.
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
            "devices/+/messages/events/#",
            "devices/e/messages/devicebound/#",
            &own,
            "$iothub/#",
        ])
        .await;
    let expected = [false, false, false, true, true].map(|granted| {
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
    // Replies to unknown calls are dropped.
    device.publish("$iothub/methods/res/200/?$rid=99", "{}").await;
    device.publish("$iothub/methods/res/200/?$rid=nonsense", "{}").await;
    assert!(device.is_silent().await);
    for id in ["d", "e"] {
        let twin = world.ask(&format!("GET /twins/{id}"), "").await.body;
        assert_eq!(twin["version"], 2, "{id}");
    }
    assert_eq!(world.hub.counts().unwrap().telemetry, 0);
}

#[tokio::test]
async fn a_device_without_subscriptions_receives_nothing() {
    let world = World::new();
    world.device("d").await;
    let mut device = Device::connect(&world, "d").await;
    device.subscribe(&[DeviceFilter::TwinReplies]).await;
    world.ask("PATCH /twins/d", r#"{"properties":{"desired":{"n":1}}}"#).await;
    world
        .ask_with("POST /messages/devicebound", "x", &[("iothub-to", "/devices/d/messages/devicebound")])
        .await;
    assert!(device.is_silent().await);
    assert_eq!(device.twin().await["desired"]["n"], 1);
}

#[tokio::test]
async fn the_devices_and_links_of_a_connection_are_bounded() {
    let world = World::new();
    let mut gateway = AmqpDevice::bare(&world, None).await;
    for n in 0..9 {
        world.device(&format!("d{n}")).await;
        let own = format!("{HOST}/devices/d{n}");
        let put = gateway.put_token(&own, &world.token(&own, 7, None)).await;
        assert_eq!(put, if n < 8 { 200 } else { 403 }, "{n}");
    }
    for n in 0..8 {
        for (node, role) in [
            ("messages/events", Role::Sender),
            ("messages/devicebound", Role::Receiver),
            ("twin", Role::Sender),
            ("twin", Role::Receiver),
            ("methods/devicebound", Role::Sender),
            ("methods/devicebound", Role::Receiver),
        ] {
            assert!(gateway.attach(&format!("/devices/d{n}/{node}"), role).await.is_ok(), "{n} {node}");
        }
    }
    assert_eq!(world.hub.counts().unwrap().connected, 8);
    gateway.try_attach("/devices/d0/twin", Role::Sender).await;
    assert_eq!(gateway.closed().await, condition::RESOURCE_LIMIT_EXCEEDED);
}

#[tokio::test]
async fn unsettled_messages_are_bounded_over_amqp() {
    let world = World::new();
    world.device("d").await;
    for n in 0..20 {
        world.send_to_device(&n.to_string()).await;
    }
    let mut device = AmqpDevice::with_token(&world, "d").await;
    let link = device.attach("/devices/d/messages/devicebound", Role::Receiver).await.unwrap();
    let mut deliveries = Vec::new();
    for n in 0..8 {
        let (delivery, message) = device.receive(link).await;
        assert_eq!(message.body.bytes().unwrap(), n.to_string());
        deliveries.push(delivery);
    }
    assert!(device.is_silent().await, "the ninth waits, whatever the link's credit");
    device.settle(deliveries[0], DeliveryState::Accepted).await;
    assert_eq!(device.receive(link).await.1.body.bytes().unwrap(), "8");
}

#[tokio::test]
async fn a_device_that_does_not_read_its_answers_is_disconnected() {
    let world = World::new();
    world.device("d").await;
    let mut device = AmqpDevice::with_token(&world, "d").await;
    let out = device.attach("/devices/d/twin", Role::Sender).await.unwrap();
    // Without credit the hub cannot send the answers.
    let back = device.attach_with("/devices/d/twin", Role::Receiver, SettleMode::Settled, 0).await.unwrap();
    let request = Message {
        annotations: Entries::new().with("operation", "GET"),
        properties: Properties {
            correlation_id: Some(MessageId::String("r".into())),
            ..Properties::default()
        },
        ..data(" ")
    };
    for _ in 0..8 * 32 {
        assert_eq!(device.send(out, request.clone()).await, DeliveryState::Accepted);
    }
    assert_eq!(device.send(out, request.clone()).await, DeliveryState::Accepted);
    let mut detached = [device.detached().await, device.detached().await];
    detached.sort();
    let exceeded = condition::RESOURCE_LIMIT_EXCEEDED.to_owned();
    assert_eq!(detached, [(out, exceeded.clone()), (back, exceeded)]);
    assert_eq!(world.hub.counts().unwrap().connected, 0);
}

#[tokio::test]
async fn requests_without_a_link_for_the_answer_change_nothing() {
    let world = World::new();
    world.device("d").await;
    let mut device = AmqpDevice::with_token(&world, "d").await;
    let out = device.attach("/devices/d/twin", Role::Sender).await.unwrap();
    let request = Message {
        annotations: Entries::new().with("operation", "PATCH").with("resource", "/properties/reported"),
        body: Body::of(r#"{"n":1}"#),
        ..Message::default()
    };
    let refused = device.send(out, request).await;
    let DeliveryState::Rejected(Some(error)) = refused else { panic!("{refused:?}") };
    assert_eq!(error.condition, condition::PRECONDITION_FAILED);
    assert_eq!(world.ask("GET /twins/d", "").await.body["version"], 2);
}

#[tokio::test(start_paused = true)]
async fn an_unauthenticated_client_is_disconnected() {
    let world = World::new();
    let mut stranger = AmqpDevice::bare(&world, None).await;
    tokio::time::advance(Duration::from_secs(29)).await;
    assert!(stranger.is_silent().await);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(stranger.closed().await, condition::UNAUTHORIZED_ACCESS);
}
