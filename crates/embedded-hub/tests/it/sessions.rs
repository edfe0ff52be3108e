//! Stored MQTT sessions, subscriptions, and the messages that match them.

use codec::{
    amqp::{Entries, Role},
    mqtt::{Packet, QoS, SubscribeReturn, Unsubscribe},
};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use wire::topics::{DeviceFilter, DevicePublish, HubPublish};

use crate::{
    amqp_device::AmqpDevice,
    device::{Credentials, Device},
    world::World,
};

const ALL: [DeviceFilter; 4] =
    [DeviceFilter::Desired, DeviceFilter::Devicebound, DeviceFilter::Methods, DeviceFilter::TwinReplies];

async fn connect(world: &World, clean_session: bool) -> Device<DuplexStream> {
    let presented = Credentials { clean_session, ..Credentials::token(world, "d", 7) };
    Device::try_connect(world, "d", presented).await.unwrap()
}

/// Changes a desired property and sends a message; checks that the device receives both.
async fn receives(world: &World, device: &mut Device<DuplexStream>, number: u32) {
    world.ask("PATCH /twins/d", &json!({"properties": {"desired": {"n": number}}}).to_string()).await;
    let desired = device.next_publish().await;
    assert!(desired.topic.starts_with("$iothub/twin/PATCH/properties/desired/"), "{}", desired.topic);
    world.send_to_device(&number.to_string()).await;
    let message = device.next_publish().await;
    assert_eq!((message.payload.as_ref(), message.qos), (number.to_string().as_bytes(), QoS::AtLeastOnce));
}

async fn receives_nothing(world: &World, device: &mut Device<DuplexStream>) {
    world.ask("PATCH /twins/d", r#"{"properties":{"desired":{"n":0}}}"#).await;
    assert!(device.is_silent().await);
}

#[tokio::test]
async fn a_session_survives_a_reconnection_and_a_restart() {
    let mut world = World::new();
    world.device("d").await;
    let mut device = connect(&world, false).await;
    assert!(!device.is_resumed, "there was none");
    device.subscribe(&ALL).await;
    receives(&world, &mut device, 1).await;
    for number in 2..6 {
        if number % 2 == 0 {
            // As after a renewed token, or a connection that broke.
            drop(device);
        } else {
            device.send(Packet::Disconnect).await;
            assert!(device.is_closed().await);
            world = world.reopened().await;
        }
        device = connect(&world, false).await;
        assert!(device.is_resumed, "{number}");
        receives(&world, &mut device, number).await;
    }
    // The end of a subscription is stored, too.
    let filters = vec![DeviceFilter::Desired.topic("d")];
    device.send(Packet::Unsubscribe(Unsubscribe { packet_id: 7, filters })).await;
    assert_eq!(device.next().await, Some(Packet::UnsubAck(7)));
    drop(device);
    let mut device = connect(&world, false).await;
    assert!(device.is_resumed);
    receives_nothing(&world, &mut device).await;
}

#[tokio::test]
async fn a_clean_session_removes_the_stored_one() {
    let world = World::new();
    world.device("d").await;
    let mut device = connect(&world, false).await;
    device.subscribe(&ALL).await;
    drop(device);
    let mut device = connect(&world, true).await;
    assert!(!device.is_resumed);
    receives_nothing(&world, &mut device).await;
    device.subscribe(&ALL).await;
    receives(&world, &mut device, 1).await;
    drop(device);
    let mut device = connect(&world, false).await;
    assert!(!device.is_resumed, "it ended with its connection");
    receives_nothing(&world, &mut device).await;
    // A device that was created again has no session of the earlier one.
    device.subscribe(&ALL).await;
    drop(device);
    world.ask_with("DELETE /devices/d", "", &[("if-match", "*")]).await;
    world.device("d").await;
    assert!(!connect(&world, false).await.is_resumed);
}

#[tokio::test]
async fn an_unacknowledged_message_is_sent_again_with_its_identifier() {
    let world = World::new();
    world.device("d").await;
    let mut device = connect(&world, false).await;
    device.subscribe(&[DeviceFilter::Devicebound]).await;
    for body in ["one", "two", "three"] {
        world.send_to_device(body).await;
    }
    let next = async |device: &mut Device<DuplexStream>| match device.next().await {
        Some(Packet::Publish(publish)) => publish,
        other => panic!("{other:?}"),
    };
    let first = [next(&mut device).await, next(&mut device).await, next(&mut device).await];
    assert!(first.iter().all(|message| !message.dup));
    device.send(Packet::PubAck(first[1].packet_id.unwrap())).await;
    assert!(device.is_silent().await);
    device.send(Packet::Disconnect).await;
    assert!(device.is_closed().await);
    let mut device = connect(&world, false).await;
    for before in [&first[0], &first[2]] {
        let again = next(&mut device).await;
        assert_eq!((again.packet_id, again.dup, &again.payload), (before.packet_id, true, &before.payload));
        device.send(Packet::PubAck(again.packet_id.unwrap())).await;
    }
    assert!(device.is_silent().await);
    assert_eq!(world.ask("GET /devices/d", "").await.body["cloudToDeviceMessageCount"], 0);
}

/// Some clients drop a message above the QoS that they were granted (MQTT-3.8.4-6).
#[tokio::test]
async fn messages_are_sent_at_the_granted_qos() {
    let world = World::new();
    world.device("d").await;
    let own = DeviceFilter::Devicebound.topic("d");
    for (qos, granted) in [
        (QoS::AtMostOnce, QoS::AtMostOnce),
        (QoS::AtLeastOnce, QoS::AtLeastOnce),
        (QoS::ExactlyOnce, QoS::AtLeastOnce),
    ] {
        let mut device = connect(&world, true).await;
        for number in 0..20 {
            world.send_to_device(&number.to_string()).await;
        }
        assert_eq!(device.subscribe_with(&[&own], qos).await, [SubscribeReturn::Granted(granted)]);
        for number in 0..20 {
            let message = device.next_publish().await;
            assert_eq!((message.qos, message.payload.as_ref()), (granted, number.to_string().as_bytes()));
        }
        assert!(device.is_silent().await);
        assert_eq!(world.ask("GET /devices/d", "").await.body["cloudToDeviceMessageCount"], 0, "{qos:?}");
    }
}

/// The Azure SDK for Embedded C names no device; it must receive its own messages, and no others.
#[tokio::test]
async fn a_filter_for_any_device_matches_only_its_own_messages() {
    let world = World::new();
    world.device("d").await;
    world.device("other").await;
    let mut device = connect(&world, false).await;
    let filters = ["devices/+/messages/devicebound/#"];
    assert_eq!(device.subscribe_to(&filters).await, [SubscribeReturn::Granted(QoS::AtLeastOnce)]);
    let to_other = [("iothub-to", "/devices/other/messages/devicebound")];
    assert_eq!(world.ask_with("POST /messages/devicebound", "other", &to_other).await.status, 201);
    for text in ["own", "own after a reconnection"] {
        world.send_to_device(text).await;
        let message = device.next_publish().await;
        assert!(message.topic.starts_with("devices/d/messages/devicebound/"), "{}", message.topic);
        assert_eq!(message.payload, text);
        device.send(Packet::PubAck(message.packet_id.unwrap())).await;
        assert!(device.is_silent().await);
        drop(device);
        device = connect(&world, false).await;
    }
}

#[tokio::test]
async fn narrower_and_wider_filters_receive_what_they_match() {
    let world = World::new();
    world.device("d").await;
    let mut device = connect(&world, true).await;
    let filters = ["$iothub/methods/POST/reboot/#", "$iothub/twin/#", "devices/d/#"];
    let codes = device.subscribe_to(&filters).await;
    assert!(codes.iter().all(|code| *code != SubscribeReturn::Failure), "{codes:?}");
    receives(&world, &mut device, 1).await;
    let call =
        world.ask("POST /twins/d/methods", r#"{"methodName":"reboot","payload":18446744073709551616}"#);
    let answer = async {
        let called = device.next_publish().await;
        assert_eq!(called.payload, "18446744073709551616", "as it was sent");
        let Ok(HubPublish::MethodCall { request_id, .. }) = HubPublish::parse(&called.topic) else {
            panic!()
        };
        let topic = DevicePublish::MethodReply { status: 200, request_id }.topic();
        device.publish(&topic, "[18446744073709551617]").await;
    };
    let (reply, ()) = tokio::join!(call, answer);
    assert_eq!(reply.status, 200);
    let other = world.ask("POST /twins/d/methods", r#"{"methodName":"other"}"#).await;
    assert_eq!(other.verdict(), (404, "DeviceNotOnline"));
    // A request without `$rid` is answered without one.
    device.publish("$iothub/twin/GET/?rid=1", "").await;
    assert_eq!(device.next_publish().await.topic, "$iothub/twin/res/200/?$rid=");
}

/// The SDK for Node reads bytes as ASCII; another character has terminated its process.
#[tokio::test]
async fn json_for_a_device_is_ascii_over_mqtt() {
    let world = World::new();
    world.device("d").await;
    let mut device = connect(&world, true).await;
    device.subscribe(&ALL).await;
    let text = "10 °C – 😀";
    let properties = json!({"properties": {"desired": {"text": text}}}).to_string();
    world.ask("PATCH /twins/d", &properties).await;
    let desired = device.next_publish().await;
    assert!(desired.payload.is_ascii());
    assert_eq!(serde_json::from_slice::<Value>(&desired.payload).unwrap()["text"], text);
    device.publish("$iothub/twin/GET/?$rid=1", "").await;
    let twin = device.next_publish().await;
    assert!(twin.payload.is_ascii());
    assert_eq!(serde_json::from_slice::<Value>(&twin.payload).unwrap()["desired"]["text"], text);
    let body = json!({"methodName": "m", "payload": text, "responseTimeoutInSeconds": "5"}).to_string();
    let call = world.ask("POST /twins/d/methods", &body);
    let receive = async {
        let called = device.next_publish().await;
        assert!(called.payload.is_ascii());
        assert_eq!(serde_json::from_slice::<Value>(&called.payload).unwrap(), text);
    };
    assert_eq!(tokio::join!(call, receive).0.verdict(), (504, "GatewayTimeout"));
}

#[tokio::test]
async fn the_model_of_a_device_is_stored_and_returned() {
    let world = World::new();
    world.device("d").await;
    let model = async |world: &World| world.ask("GET /twins/d", "").await.body["modelId"].clone();
    assert_eq!(model(&world).await, "");
    let more = "&model-id=dtmi%3Acom%3Aexample%3AThermostat%3B1";
    let presented = Credentials { more, ..Credentials::token(&world, "d", 7) };
    let mut device = Device::try_connect(&world, "d", presented).await.unwrap();
    assert_eq!(model(&world).await, "dtmi:com:example:Thermostat;1");
    device.send(Packet::Disconnect).await;
    assert!(device.is_closed().await);
    let world = world.reopened().await;
    let _device = connect(&world, false).await;
    assert_eq!(model(&world).await, "dtmi:com:example:Thermostat;1", "a device that says none keeps it");
}

/// The SDK for Java announces it on every link, that for .NET on those that it sends over.
#[tokio::test]
async fn the_model_is_read_from_amqp_links() {
    let world = World::new();
    world.device("d").await;
    let model = async || world.ask("GET /twins/d", "").await.body["modelId"].clone();
    let mut device = AmqpDevice::with_token(&world, "d").await;
    device.attach("/devices/d/messages/devicebound", Role::Receiver).await.unwrap();
    assert_eq!(model().await, "");
    device.link_properties = Entries::new().with("com.microsoft:model-id", "dtmi:com:example:Pump;2");
    device.attach("/devices/d/messages/events", Role::Sender).await.unwrap();
    assert_eq!(model().await, "dtmi:com:example:Pump;2");
    for announces_nothing in [String::new(), "m".repeat(2049)] {
        device.link_properties = Entries::new().with("com.microsoft:model-id", announces_nothing);
        let link = device.attach("/devices/d/methods/devicebound", Role::Receiver).await.unwrap();
        device.detach(link).await;
        assert_eq!(model().await, "dtmi:com:example:Pump;2");
    }
}

/// MQTT-3.3.1-1, also if the server could not record what it had sent.
#[tokio::test]
async fn a_message_that_a_killed_server_may_have_sent_is_repeated_with_dup() {
    let world = World::new();
    world.device("d").await;
    let mut device = connect(&world, false).await;
    device.subscribe(&[DeviceFilter::Devicebound]).await;
    world.send_to_device("before").await;
    let first = device.next_publish().await;
    assert!(!first.dup);
    let world = world.killed();
    let mut device = connect(&world, false).await;
    assert!(device.is_resumed);
    let again = device.next_publish().await;
    assert_eq!((again.dup, again.packet_id, &again.payload), (true, first.packet_id, &first.payload));
    device.send(Packet::PubAck(again.packet_id.unwrap())).await;
    world.send_to_device("after").await;
    assert!(!device.next_publish().await.dup, "no earlier process can have sent it");
}

/// The SDK for Node reconnects at once after this, but only after a long time if the close has an error.
#[tokio::test]
async fn a_shutdown_ends_amqp_sessions_and_closes_without_an_error() {
    let world = World::new();
    world.device("d").await;
    let shutdown = net::CancellationToken::new();
    let mut device = AmqpDevice::with_token_until(&world, "d", shutdown.clone()).await;
    shutdown.cancel();
    assert_eq!(device.ended().await, ("amqp:link:detach-forced".to_owned(), None));
}
