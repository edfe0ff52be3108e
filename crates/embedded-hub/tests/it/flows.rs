//! Connected devices and services: twins, methods, messages, telemetry.

use std::{
    task::{Context, Waker},
    time::Duration,
};

use codec::mqtt::{Packet, QoS};
use serde_json::{Value, json};
use wire::topics::{DeviceFilter, DevicePublish, HubPublish};

use crate::{
    device::{Credentials, Device},
    world::{HOST, World},
};

#[tokio::test]
async fn a_device_reads_and_reports_its_twin() {
    let world = World::new();
    world.device("d").await;
    world.ask("PATCH /twins/d", r#"{"tags":{"secret":1},"properties":{"desired":{"rate":5}}}"#).await;
    let mut device = Device::connect(&world, "d").await;
    device.subscribe(&[DeviceFilter::TwinReplies]).await;
    let twin = device.twin().await;
    assert_eq!(twin, json!({"desired": {"rate": 5, "$version": 2}, "reported": {"$version": 1}}));
    let answer = device.report(r#"{"on":true,"gone":null}"#).await;
    assert_eq!(answer, ("$iothub/twin/res/204/?$rid=7&$version=2".to_owned(), String::new()));
    assert_eq!(device.twin().await["reported"], json!({"on": true, "$version": 2}));
    let returned = world.ask("GET /twins/d", "").await.body;
    assert_eq!(returned["properties"]["reported"]["on"], true);
    assert_eq!(returned["connectionState"], "Connected");
    for patch in ["[1]", "nonsense", r#"{"a.b":1}"#, r#"{"a":[null]}"#, r#"{"a":99999999999999999999}"#] {
        let (topic, body) = device.report(patch).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (topic.as_str(), &body["errorCode"]),
            ("$iothub/twin/res/400/?$rid=7", &json!(400_004)),
            "{patch}"
        );
    }
    assert_eq!(device.twin().await["reported"], json!({"on": true, "$version": 2}));
}

#[tokio::test]
async fn a_subscribed_device_receives_desired_changes_in_order() {
    let world = World::new();
    let id = world.device("d").await;
    let mut device = Device::connect(&world, "d").await;
    world.ask("PATCH /twins/d", r#"{"properties":{"desired":{"n":0}}}"#).await;
    device.subscribe(&[DeviceFilter::Desired]).await;
    world.ask("PATCH /twins/d", r#"{"tags":{"n":1}}"#).await;
    let changes = (1..=20).map(|n| {
        let (hub, id) = (world.hub.clone(), id.clone());
        let change = serde_json::from_value(json!({"properties": {"desired": {"n": n}}})).unwrap();
        tokio::spawn(async move {
            hub.change_twin(&id, change, embedded_hub::twin::Mode::Patch, wire::hub::IfMatch::Absent)
                .await
                .unwrap()
        })
    });
    for change in changes.collect::<Vec<_>>() {
        change.await.unwrap();
    }
    for version in 3..23 {
        let change = device.next_publish().await;
        assert_eq!(change.topic, format!("$iothub/twin/PATCH/properties/desired/?$version={version}"));
        let body: Value = serde_json::from_slice(&change.payload).unwrap();
        assert_eq!(body["$version"], version);
    }
    world.ask("PUT /twins/d", r#"{"properties":{"desired":{"m":1}}}"#).await;
    let replaced: Value = serde_json::from_slice(&device.next_publish().await.payload).unwrap();
    assert_eq!(replaced, json!({"m": 1, "n": null, "$version": 23}));
}

#[tokio::test]
async fn a_change_whose_caller_is_canceled_reaches_the_device() {
    let world = World::new();
    world.device("d").await;
    let mut device = Device::connect(&world, "d").await;
    device.subscribe(&[DeviceFilter::Desired]).await;
    let mut request = Box::pin(world.ask("PATCH /twins/d", r#"{"properties":{"desired":{"n":1}}}"#));
    // Until the change is spawned, not until it is complete.
    assert!(request.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(request);
    assert_eq!(device.next_publish().await.payload, r#"{"n":1,"$version":2}"#);
}

#[tokio::test]
async fn a_method_call_returns_the_reply_of_the_device() {
    let world = World::new();
    world.device("d").await;
    let mut device = Device::connect(&world, "d").await;
    device.subscribe(&[DeviceFilter::Methods]).await;
    let call = world.ask("POST /twins/d/methods", r#"{"methodName":"re boot","payload":{"in":5}}"#);
    let answer = async {
        let called = device.next_publish().await;
        assert_eq!(called.payload, r#"{"in":5}"#);
        let Ok(HubPublish::MethodCall { name: "re%20boot", request_id }) = HubPublish::parse(&called.topic)
        else {
            panic!("{}", called.topic)
        };
        device
            .publish(&DevicePublish::MethodReply { status: 201, request_id }.topic(), r#"{"ok":true}"#)
            .await;
        // A second reply is dropped.
        device.publish(&DevicePublish::MethodReply { status: 500, request_id }.topic(), "").await;
    };
    let (reply, ()) = tokio::join!(call, answer);
    assert_eq!((reply.status.as_u16(), &reply.body), (200, &json!({"status": 201, "payload": {"ok": true}})));
    assert!(device.is_silent().await);
}

#[tokio::test]
async fn a_method_waits_for_the_device_and_then_for_its_reply() {
    let world = World::new();
    world.device("d").await;
    let call = world.ask("POST /twins/d/methods", r#"{"methodName":"m","connectTimeoutInSeconds":20}"#);
    let answer = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut device = Device::connect(&world, "d").await;
        device.subscribe(&[DeviceFilter::Methods]).await;
        let called = device.next_publish().await;
        assert_eq!(called.payload, "", "a call without a payload");
        let Ok(HubPublish::MethodCall { request_id, .. }) = HubPublish::parse(&called.topic) else {
            panic!()
        };
        device.publish(&DevicePublish::MethodReply { status: 200, request_id }.topic(), "").await;
        device
    };
    let (reply, mut device) = tokio::join!(call, answer);
    assert_eq!(reply.body, json!({"status": 200, "payload": null}));
    let silent = world.ask("POST /twins/d/methods", r#"{"methodName":"m","responseTimeoutInSeconds":5}"#);
    assert_eq!(silent.await.verdict(), (504, "GatewayTimeout"));
    device.next_publish().await;
    let call = world.ask("POST /twins/d/methods", r#"{"methodName":"m"}"#);
    let leave = async {
        device.next_publish().await;
        device.send(Packet::Disconnect).await;
    };
    assert_eq!(tokio::join!(call, leave).0.verdict(), (404, "DeviceNotOnline"));
}

#[tokio::test]
async fn messages_are_queued_acknowledged_and_redelivered() {
    let world = World::new();
    world.device("d").await;
    let to = [("iothub-to", "/devices/d/messages/deviceBound"), ("iothub-app-colour", "light blue")];
    for body in ["one", "two"] {
        let headers = [to.as_slice(), &[("iothub-messageid", body)]].concat();
        let reply = world.ask_with("POST /messages/devicebound", body, &headers).await;
        assert_eq!((reply.status.as_u16(), &reply.body["messageId"]), (201, &json!(body)));
    }
    assert_eq!(world.ask("GET /devices/d", "").await.body["cloudToDeviceMessageCount"], 2);
    let world = world.reopened().await;
    let mut device = Device::connect(&world, "d").await;
    device.subscribe(&[DeviceFilter::Devicebound]).await;
    let Some(Packet::Publish(first)) = device.next().await else { panic!("no message") };
    assert_eq!((first.payload.as_ref(), first.qos), (b"one".as_slice(), QoS::AtLeastOnce));
    assert_eq!(
        first.topic,
        "devices/d/messages/devicebound/%24.to=%2Fdevices%2Fd%2Fmessages%2FdeviceBound&%24.mid=one&colour=light%20blue"
    );
    drop(device);
    let mut device = Device::connect(&world, "d").await;
    device.subscribe(&[DeviceFilter::Devicebound]).await;
    assert_eq!(device.next_publish().await.payload, "one", "not acknowledged, so it comes again");
    assert_eq!(device.next_publish().await.payload, "two");
    assert!(device.is_silent().await);
    assert_eq!(world.ask("GET /devices/d", "").await.body["cloudToDeviceMessageCount"], 0);
    world.ask_with("POST /messages/devicebound", "three", &to).await;
    assert_eq!(device.next_publish().await.payload, "three");
}

#[tokio::test]
async fn a_queue_is_bounded_purged_and_drained() {
    let world = World::new();
    world.device("d").await;
    let to = [("iothub-to", "/devices/d/messages/devicebound")];
    let send = async |body: String| world.ask_with("POST /messages/devicebound", &body, &to).await;
    for n in 0..50 {
        assert_eq!(send(n.to_string()).await.status, 201);
    }
    assert_eq!(send("full".into()).await.verdict(), (403, "DeviceMaximumQueueDepthExceeded"));
    let mut device = Device::connect(&world, "d").await;
    device.subscribe(&[DeviceFilter::Devicebound]).await;
    for n in 0..50 {
        assert_eq!(device.next_publish().await.payload, n.to_string());
    }
    assert!(device.is_silent().await);
    device.send(Packet::Disconnect).await;
    assert!(device.is_closed().await);
    send("a".into()).await;
    send("b".into()).await;
    let purged = world.ask("DELETE /devices/d/commands", "").await.body;
    assert_eq!(purged, json!({"deviceId": "d", "moduleId": null, "totalMessagesPurged": 2}));
    let stale = [to[0], ("iothub-expiry", "2020-01-01T00:00:00Z")];
    assert_eq!(
        world.ask_with("POST /messages/devicebound", "x", &stale).await.verdict(),
        (400, "ArgumentInvalid")
    );
    send("old".into()).await;
    world.pass(3601);
    let mut device = Device::connect(&world, "d").await;
    device.subscribe(&[DeviceFilter::Devicebound]).await;
    assert!(device.is_silent().await, "an expired message is not sent");
    let large = "x".repeat(64 * 1024 + 1);
    assert_eq!(send(large).await.verdict(), (413, "MessageTooLarge"));
    let unknown = [("iothub-to", "/devices/x/messages/devicebound")];
    assert_eq!(
        world.ask_with("POST /messages/devicebound", "x", &unknown).await.verdict(),
        (404, "DeviceNotFound")
    );
}

#[tokio::test]
async fn telemetry_is_counted_and_activity_recorded() {
    let world = World::new();
    let id = world.device("d").await;
    let shutdown = net::CancellationToken::new();
    let (hub, token) = (world.hub.clone(), shutdown.clone());
    let maintenance = tokio::spawn(async move { hub.run_maintenance(token).await });
    world.pass(10);
    let mut device = Device::connect(&world, "d").await;
    for n in 0..3 {
        device.publish_acknowledged("devices/d/messages/events/%24.mid=1&k=v", &n.to_string()).await;
    }
    assert_eq!(
        world.ask("GET /statistics/service", "").await.body,
        json!({"connectedDeviceCount": 1, "telemetryMessageCount": 3})
    );
    world.pass(10);
    device.publish_acknowledged("devices/d/messages/events/", "").await;
    assert_eq!(world.hub.telemetry_count(&id), Ok(Some(4)));
    device.send(Packet::Disconnect).await;
    assert!(device.is_closed().await);
    shutdown.cancel();
    maintenance.await.unwrap();
    let world = world.reopened().await;
    assert_eq!(world.hub.telemetry_count(&id), Ok(Some(4)));
    let returned = world.ask("GET /devices/d", "").await.body;
    let time = model::Timestamp::from_unix_seconds(world.now()).to_string();
    assert_eq!(
        (&returned["connectionState"], &returned["lastActivityTime"]),
        (&json!("Disconnected"), &json!(time))
    );
    assert_eq!(returned["connectionStateUpdatedTime"], json!(time));
}

#[tokio::test]
async fn one_connection_per_device() {
    let world = World::new();
    world.device("d").await;
    let mut first = Device::connect(&world, "d").await;
    let mut second = Device::connect(&world, "d").await;
    assert!(first.is_closed().await);
    assert!(second.is_silent().await);
    assert_eq!(world.hub.counts().unwrap().connected, 1);
    assert_eq!(world.ask("GET /devices/d", "").await.body["connectionState"], "Connected");
}

#[tokio::test]
async fn only_changed_credentials_end_a_connection() {
    let world = World::new();
    world.device("d").await;
    let mut device = Device::connect(&world, "d").await;
    let returned = world.ask("GET /devices/d", "").await.body.to_string();
    let put = async |body: &str| world.ask_with("PUT /devices/d", body, &[("if-match", "*")]).await.status;
    assert_eq!(put(&returned).await, 200);
    assert!(device.is_silent().await);
    assert_eq!(put(r#"{"deviceId":"d"}"#).await, 200);
    assert!(device.is_closed().await);
}

#[tokio::test]
async fn a_device_that_does_not_read_gets_no_calls_and_is_disconnected_for_messages() {
    let world = World::new();
    world.device("d").await;
    let mut device = Device::connect(&world, "d").await;
    device.subscribe(&[DeviceFilter::Methods, DeviceFilter::Desired, DeviceFilter::Devicebound]).await;
    let large = json!({"methodName": "m", "payload": "x".repeat(100_000)}).to_string();
    let stuck = world.ask("POST /twins/d/methods", &large);
    let fill = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        for n in 0..32 {
            let patch = json!({"properties": {"desired": {"n": n}}}).to_string();
            assert_eq!(world.ask("PATCH /twins/d", &patch).await.status, 200);
        }
        let call = world.ask("POST /twins/d/methods", r#"{"methodName":"m"}"#).await;
        assert_eq!(call.verdict(), (429, "ThrottlingException"));
        let to = [("iothub-to", "/devices/d/messages/devicebound")];
        assert_eq!(world.ask_with("POST /messages/devicebound", "hello", &to).await.status, 201);
        assert!(device.is_closed().await);
    };
    let (stuck, ()) = tokio::join!(stuck, fill);
    assert_eq!(stuck.verdict(), (404, "DeviceNotOnline"));
    let mut device = Device::connect(&world, "d").await;
    device.subscribe(&[DeviceFilter::Devicebound]).await;
    assert_eq!(device.next_publish().await.payload, "hello");
}

#[tokio::test]
async fn disabled_deleted_and_expired_devices_are_disconnected() {
    let world = World::new();
    for id in ["disabled", "deleted", "expired", "kept"] {
        world.device(id).await;
    }
    let mut disabled = Device::connect(&world, "disabled").await;
    world
        .ask_with(
            "PUT /devices/disabled",
            r#"{"deviceId":"disabled","status":"disabled"}"#,
            &[("if-match", "*")],
        )
        .await;
    assert!(disabled.is_closed().await);
    let mut deleted = Device::connect(&world, "deleted").await;
    world.ask_with("DELETE /devices/deleted", "", &[("if-match", "*")]).await;
    assert!(deleted.is_closed().await);
    let mut expired = Device::connect(&world, "expired").await;
    let certificate_holder = Credentials {
        password: Some(wire::sas::sign(
            &format!("{HOST}/devices/kept"),
            crate::world::key(7).as_bytes(),
            world.now() as u64 + 600,
            None,
        )),
        ..Credentials::token(&world, "kept", 7)
    };
    let mut kept = Device::try_connect(&world, "kept", certificate_holder).await.unwrap();
    let shutdown = net::CancellationToken::new();
    let (hub, token) = (world.hub.clone(), shutdown.clone());
    tokio::spawn(async move { hub.run_maintenance(token).await });
    world.pass(361);
    assert!(expired.is_closed().await);
    assert!(kept.is_silent().await);
    shutdown.cancel();
}
