//! Devices over AMQP: their links, and the messages over them.

use codec::amqp::{
    Body, DeliveryState, Entries, Message, MessageId, Properties, Role, SaslCode, SettleMode, Value,
    condition,
};
use serde_json::{Value as Json, json};
use wire::sas::sign;

use crate::{
    amqp_device::{AmqpDevice, data},
    device::Device,
    world::{HOST, World, key},
};

const EVENTS: &str = "/devices/d/messages/events";
const DEVICEBOUND: &str = "/devices/d/messages/devicebound";
const TWIN: &str = "/devices/d/twin";
const METHODS: &str = "/devices/d/methods/devicebound";

#[tokio::test]
async fn tokens_are_put_and_checked() {
    let world = World::new();
    world.device("d").await;
    world.device("off").await;
    let disable = r#"{"deviceId":"off","status":"disabled"}"#;
    world.ask_with("PUT /devices/off", disable, &[("if-match", "*")]).await;
    let own = format!("{HOST}/devices/d");
    let encoded = own.replace('/', "%2F");
    let expired = sign(&own, key(7).as_bytes(), world.now() as u64 - 301, None);
    let cases = [
        (own.as_str(), world.token(&own, 7, None), 200),
        (encoded.as_str(), world.token(&own, 8, None), 200),
        (own.as_str(), world.token(HOST, 5, Some("device")), 200),
        ("localhost/devices/d", world.token("localhost/devices/d", 7, None), 200),
        (own.as_str(), world.token(HOST, 4, Some("service")), 401),
        (own.as_str(), world.token(&own, 9, None), 401),
        (own.as_str(), expired, 401),
        (own.as_str(), "nonsense".to_owned(), 401),
        (own.as_str(), world.token(&format!("{HOST}/devices/e"), 7, None), 401),
        ("hub.example/devices/nobody", world.token("hub.example/devices/nobody", 7, None), 401),
        ("hub.example/devices/off", world.token("hub.example/devices/off", 7, None), 401),
        ("other.example/devices/d", world.token("other.example/devices/d", 7, None), 404),
        (HOST, world.token(HOST, 5, Some("device")), 501),
        ("hub.example/devices/d/modules/m", world.token(&own, 7, None), 501),
        ("hub.example/nowhere", world.token(&own, 7, None), 400),
    ];
    for (name, token, expected) in cases {
        let mut device = AmqpDevice::bare(&world, None).await;
        assert_eq!(device.put_token(name, &token).await, expected, "{name} {token}");
        let attached = device.attach(EVENTS, Role::Sender).await;
        let verdict = if expected == 200 { None } else { Some(condition::UNAUTHORIZED_ACCESS.to_owned()) };
        assert_eq!(attached.err(), verdict, "{name} {token}");
    }
    let mut device = AmqpDevice::with_token(&world, "d").await;
    let request = |operation: &str, kind: &str, body: Body| Message {
        properties: Properties {
            message_id: Some(MessageId::String("put-1".into())),
            ..Properties::default()
        },
        application: Entries::new()
            .with("operation", operation)
            .with("type", kind)
            .with("name", own.as_str()),
        body,
        ..Message::default()
    };
    let sas = "servicebus.windows.net:sastoken";
    for malformed in [
        request("delete-token", sas, Body::of("x")),
        request("put-token", "jwt", Body::of("x")),
        request("put-token", sas, Body::Value(Value::Int(7))),
    ] {
        assert_eq!(device.ask_cbs(malformed).await, 400);
    }
}

#[tokio::test]
async fn devices_log_in_by_sasl_and_by_certificate() {
    let world = World::new();
    world.device("d").await;
    let thumbprint = certpath::Sha256Thumbprint::of(b"the leaf");
    let body = format!(
        r#"{{"deviceId":"x","authentication":{{"x509Thumbprint":{{"primaryThumbprint":"{thumbprint}"}},"type":"selfSigned"}}}}"#
    );
    assert_eq!(world.ask("PUT /devices/x", &body).await.status, 200);
    let token = world.token(&format!("{HOST}/devices/d"), 7, None);
    let wrong = world.token(&format!("{HOST}/devices/d"), 9, None);
    for (response, expected) in [
        (format!("\0d@sas.hub\0{token}"), None),
        (format!("\0d@sas.{HOST}\0{token}"), None),
        (format!("\0d@sas.hub\0{wrong}"), Some(SaslCode::Auth)),
        (format!("\0d@sas.other\0{token}"), Some(SaslCode::Auth)),
        (format!("\0d\0{token}"), Some(SaslCode::Auth)),
        (format!("\0iothubowner@sas.root.hub\0{token}"), Some(SaslCode::Auth)),
        (format!("\0d@sas.hub\0{token}\0"), Some(SaslCode::Auth)),
        ("nonsense".to_owned(), Some(SaslCode::Auth)),
    ] {
        match AmqpDevice::log_in(&world, "PLAIN", &response, None).await {
            Ok(mut device) => {
                assert_eq!(expected, None, "{response}");
                assert!(device.attach(EVENTS, Role::Sender).await.is_ok());
            }
            Err(code) => assert_eq!(Some(code), expected, "{response}"),
        }
    }
    let events = "/devices/x/messages/events";
    let leaf: Option<&[u8]> = Some(b"the leaf");
    for mut device in [
        AmqpDevice::bare(&world, leaf).await,
        AmqpDevice::log_in(&world, "EXTERNAL", "", leaf).await.unwrap(),
        AmqpDevice::log_in(&world, "ANONYMOUS", "", leaf).await.unwrap(),
        AmqpDevice::log_in(&world, "MSSBCBS", "", leaf).await.unwrap(),
    ] {
        assert!(device.attach(events, Role::Sender).await.is_ok());
        let unauthorized = Err(condition::UNAUTHORIZED_ACCESS.to_owned());
        assert_eq!(device.attach(EVENTS, Role::Sender).await, unauthorized, "a certificate of another");
    }
    let external = AmqpDevice::log_in(&world, "EXTERNAL", "", None).await;
    assert_eq!(external.err(), Some(SaslCode::Auth), "there is no certificate");
    let mut stranger = AmqpDevice::bare(&world, Some(b"another leaf")).await;
    let unauthorized = Err(condition::UNAUTHORIZED_ACCESS.to_owned());
    assert_eq!(stranger.attach(events, Role::Sender).await, unauthorized);
}

#[tokio::test]
async fn a_device_may_attach_only_its_own_links() {
    let world = World::new();
    world.device("d").await;
    world.device("e").await;
    let mut device = AmqpDevice::with_token(&world, "d").await;
    let absolute = format!("amqps://{HOST}{TWIN}");
    for (address, role, refusal) in [
        (EVENTS, Role::Sender, None),
        ("devices/d/messages/deviceBound", Role::Receiver, None),
        (absolute.as_str(), Role::Sender, None),
        (TWIN, Role::Receiver, None),
        (METHODS, Role::Sender, None),
        (METHODS, Role::Receiver, None),
        (EVENTS, Role::Receiver, Some(condition::NOT_ALLOWED)),
        (DEVICEBOUND, Role::Sender, Some(condition::NOT_ALLOWED)),
        (EVENTS, Role::Sender, Some(condition::NOT_ALLOWED)), // a second one
        ("$cbs", Role::Sender, Some(condition::NOT_ALLOWED)), // a second one
        ("/devices/e/messages/events", Role::Sender, Some(condition::UNAUTHORIZED_ACCESS)),
        ("/devices/nobody/twin", Role::Sender, Some(condition::UNAUTHORIZED_ACCESS)),
        ("/devices/d/modules/m/twin", Role::Sender, Some(condition::NOT_IMPLEMENTED)),
        ("amqps://other.example/devices/d/twin", Role::Sender, Some(condition::NOT_FOUND)),
        ("/devices/d/files", Role::Sender, Some(condition::NOT_FOUND)),
        ("0ne00000001/registrations/d", Role::Sender, Some(condition::NOT_FOUND)),
        ("/messages/devicebound", Role::Sender, Some(condition::NOT_IMPLEMENTED)),
        (
            "amqps://hub.example/messages/serviceBound/feedback",
            Role::Receiver,
            Some(condition::NOT_IMPLEMENTED),
        ),
        (
            "messages/events/ConsumerGroups/$Default/Partitions/0",
            Role::Receiver,
            Some(condition::NOT_IMPLEMENTED),
        ),
        ("/devices/d d/twin", Role::Sender, Some(condition::INVALID_FIELD)),
        ("", Role::Sender, Some(condition::NOT_FOUND)),
    ] {
        assert_eq!(device.attach(address, role).await.err().as_deref(), refusal, "{address} {role:?}");
    }
    let mut device = AmqpDevice::with_token(&world, "d").await;
    let settled = device.attach_with(DEVICEBOUND, Role::Receiver, SettleMode::Settled, 1).await;
    assert_eq!(settled, Err(condition::NOT_ALLOWED.to_owned()), "such messages would be lost");
}

#[tokio::test]
async fn telemetry_is_accepted_and_counted() {
    let world = World::new();
    let id = world.device("d").await;
    let mut device = AmqpDevice::with_token(&world, "d").await;
    assert_eq!(world.hub.counts().unwrap().connected, 0, "a token alone is no connection");
    let events = device.attach(EVENTS, Role::Sender).await.unwrap();
    assert_eq!(world.ask("GET /devices/d", "").await.body["connectionState"], "Connected");
    assert_eq!(device.send(events, data("one")).await, DeliveryState::Accepted);
    assert_eq!(device.send(events, Message::default()).await, DeliveryState::Accepted);
    device.send_settled(events, &data("three")).await;
    let large = "x".repeat(256 * 1024);
    assert_eq!(device.send(events, data(&large)).await, DeliveryState::Accepted);
    let refused = device.send(events, data(&format!("{large}x"))).await;
    let DeliveryState::Rejected(Some(error)) = refused else { panic!("{refused:?}") };
    assert_eq!(error.condition, condition::MESSAGE_SIZE_EXCEEDED);
    let inner = data("a").encode().unwrap();
    let batch = Message { body: Body::Data(vec![inner.clone(), inner]), ..Message::default() };
    assert_eq!(device.send_formatted(events, batch, 0x8001_3700).await, DeliveryState::Accepted);
    assert_eq!(world.hub.telemetry_count(&id), Ok(Some(6)));
    device.detach(events).await;
    assert_eq!(world.hub.counts().unwrap().connected, 0, "without links there is no device");
    assert_eq!(world.hub.counts().unwrap().telemetry, 6);
}

#[tokio::test]
async fn messages_are_settled_with_the_state_of_the_device() {
    let world = World::new();
    world.device("d").await;
    let to = [
        ("iothub-to", DEVICEBOUND),
        ("iothub-messageid", "m-1"),
        ("iothub-correlationid", "c-1"),
        ("iothub-contenttype", "text/plain"),
        ("iothub-userid", "u"),
        ("iothub-app-colour", "light blue"),
    ];
    assert_eq!(world.ask_with("POST /messages/devicebound", "one", &to).await.status, 201);
    for body in ["two", "three"] {
        world.send_to_device(body).await;
    }
    let mut device = AmqpDevice::with_token(&world, "d").await;
    let link = device.attach(DEVICEBOUND, Role::Receiver).await.unwrap();
    let (one, message) = device.receive(link).await;
    assert_eq!(message.body.bytes().unwrap(), "one");
    let expected = Properties {
        message_id: Some(MessageId::String("m-1".into())),
        correlation_id: Some(MessageId::String("c-1".into())),
        to: Some("/devices/d/messages/deviceBound".into()),
        content_type: Some("text/plain".into()),
        user_id: Some("u".into()),
        absolute_expiry_time_ms: Some((world.now() + 3600) * 1000),
        ..Properties::default()
    };
    assert_eq!(message.properties, expected);
    assert_eq!(message.application.text("colour"), Some("light blue"));
    let (two, _) = device.receive(link).await;
    let (three, _) = device.receive(link).await;
    device.settle(one, DeliveryState::Accepted).await;
    device.settle(two, DeliveryState::Rejected(None)).await;
    device.settle(three, DeliveryState::Released).await;
    let (three, again) = device.receive(link).await;
    assert_eq!(again.body.bytes().unwrap(), "three", "released, so it comes again");
    let modified = DeliveryState::Modified { delivery_failed: true, undeliverable_here: false };
    device.settle(three, modified).await;
    let (_, again) = device.receive(link).await;
    assert_eq!(again.body.bytes().unwrap(), "three");
    device.detach(link).await;
    let link = device.attach(DEVICEBOUND, Role::Receiver).await.unwrap();
    let (three, again) = device.receive(link).await;
    assert_eq!(again.body.bytes().unwrap(), "three", "what a link did not settle waits");
    device.settle(three, DeliveryState::Accepted).await;
    assert!(device.is_silent().await);
    assert_eq!(world.ask("GET /devices/d", "").await.body["cloudToDeviceMessageCount"], 0);
}

fn twin_request(operation: &str, resource: Option<&str>, id: &MessageId, body: &str) -> Message {
    let mut annotations = Entries::new().with("operation", operation);
    if let Some(resource) = resource {
        annotations.insert("resource", resource);
    }
    let properties = Properties { correlation_id: Some(id.clone()), ..Properties::default() };
    Message { annotations, properties, ..data(body) }
}

fn json_of(message: &Message) -> Json {
    serde_json::from_slice(&message.body.bytes().unwrap()).unwrap()
}

#[tokio::test]
async fn a_twin_is_read_and_reported_and_its_changes_are_sent() {
    let world = World::new();
    world.device("d").await;
    world.ask("PATCH /twins/d", r#"{"tags":{"secret":1},"properties":{"desired":{"rate":5}}}"#).await;
    let mut device = AmqpDevice::with_token(&world, "d").await;
    let out = device.attach(TWIN, Role::Sender).await.unwrap();
    let back = device.attach(TWIN, Role::Receiver).await.unwrap();
    // The ID comes back in the type that it came in.
    for id in [MessageId::String("r-1".into()), MessageId::Uuid([7; 16]), MessageId::ULong(7)] {
        device.send_settled(out, &twin_request("GET", None, &id, " ")).await;
        let (_, answer) = device.receive(back).await;
        assert_eq!(answer.properties.correlation_id, Some(id));
        assert_eq!(answer.annotations.get("status"), Some(&Value::Int(200)));
        let twin = json!({"desired": {"rate": 5, "$version": 2}, "reported": {"$version": 1}});
        assert_eq!(json_of(&answer), twin);
    }
    let id = MessageId::String("r-2".into());
    let report = twin_request("PATCH", Some("/properties/reported"), &id, r#"{"on":true}"#);
    device.send_settled(out, &report).await;
    let (_, answer) = device.receive(back).await;
    assert_eq!(answer.annotations.get("status"), Some(&Value::Int(204)));
    assert_eq!(answer.annotations.get("version"), Some(&Value::Long(2)));
    assert_eq!(world.ask("GET /twins/d", "").await.body["properties"]["reported"]["on"], true);
    for refused in [
        twin_request("PATCH", Some("/properties/reported"), &id, "nonsense"),
        twin_request("PATCH", Some("/properties/reported"), &id, r#"{"a.b":1}"#),
        twin_request("PATCH", Some("/properties/desired"), &id, "{}"),
        twin_request("POST", None, &id, "{}"),
    ] {
        device.send_settled(out, &refused).await;
        let (_, answer) = device.receive(back).await;
        assert_eq!(answer.annotations.get("status"), Some(&Value::Int(400)));
        assert_eq!(json_of(&answer)["errorCode"], 400_004);
        assert_eq!(answer.properties.correlation_id.as_ref(), Some(&id));
    }
    let desired = Some("/notifications/twin/properties/desired");
    world.ask("PATCH /twins/d", r#"{"properties":{"desired":{"n":1}}}"#).await;
    assert!(device.is_silent().await, "it does not listen");
    device.send_settled(out, &twin_request("PUT", desired, &id, " ")).await;
    let (_, answer) = device.receive(back).await;
    assert_eq!(answer.annotations.get("status"), Some(&Value::Int(200)));
    world.ask("PATCH /twins/d", r#"{"properties":{"desired":{"n":2}}}"#).await;
    let (_, heard) = device.receive(back).await;
    assert_eq!(heard.properties.correlation_id, None);
    assert_eq!(json_of(&heard), json!({"n": 2, "$version": 4}));
    device.send_settled(out, &twin_request("DELETE", desired, &id, " ")).await;
    device.receive(back).await;
    world.ask("PATCH /twins/d", r#"{"properties":{"desired":{"n":3}}}"#).await;
    assert!(device.is_silent().await);
}

#[tokio::test]
async fn a_method_is_called_and_its_reply_returned() {
    let world = World::new();
    world.device("d").await;
    let mut device = AmqpDevice::with_token(&world, "d").await;
    let offline = world.ask("POST /twins/d/methods", r#"{"methodName":"m"}"#).await;
    assert_eq!(offline.verdict(), (404, "DeviceNotOnline"));
    let out = device.attach(METHODS, Role::Sender).await.unwrap();
    let back = device.attach(METHODS, Role::Receiver).await.unwrap();
    let call = world.ask("POST /twins/d/methods", r#"{"methodName":"re boot","payload":{"in":5}}"#);
    let answer = async {
        let (_, called) = device.receive(back).await;
        assert_eq!(called.application.text("IoThub-methodname"), Some("re boot"));
        assert_eq!(json_of(&called), json!({"in": 5}));
        let id = called.properties.correlation_id;
        assert!(matches!(id, Some(MessageId::Uuid(_))), "C insists on it");
        let reply = |application: Entries| Message {
            properties: Properties { correlation_id: id.clone(), ..Properties::default() },
            application,
            ..data(r#"{"ok":true}"#)
        };
        let refused = device.send(out, reply(Entries::new())).await;
        assert!(matches!(refused, DeliveryState::Rejected(Some(_))), "{refused:?}");
        let accepted = device.send(out, reply(Entries::new().with("IoThub-status", Value::Int(201)))).await;
        assert_eq!(accepted, DeliveryState::Accepted);
    };
    let (reply, ()) = tokio::join!(call, answer);
    assert_eq!(reply.body, json!({"status": 201, "payload": {"ok": true}}));
    device.detach(back).await;
    let offline = world.ask("POST /twins/d/methods", r#"{"methodName":"m"}"#).await;
    assert_eq!(offline.verdict(), (404, "DeviceNotOnline"));
}

#[tokio::test]
async fn a_token_expires_unless_another_is_put() {
    let world = World::new();
    world.device("d").await;
    let shutdown = net::CancellationToken::new();
    let (hub, token) = (world.hub.clone(), shutdown.clone());
    let maintenance = tokio::spawn(async move { hub.run_maintenance(token).await });
    let mut device = AmqpDevice::with_token(&world, "d").await;
    let events = device.attach(EVENTS, Role::Sender).await.unwrap();
    world.pass(350);
    let own = format!("{HOST}/devices/d");
    assert_eq!(device.put_token(&own, &world.token(&own, 8, None)).await, 200);
    world.pass(350);
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_eq!(device.send(events, data("still here")).await, DeliveryState::Accepted);
    world.pass(20);
    assert_eq!(device.detached().await, (events, condition::UNAUTHORIZED_ACCESS.to_owned()));
    let unauthorized = Err(condition::UNAUTHORIZED_ACCESS.to_owned());
    assert_eq!(device.attach(EVENTS, Role::Sender).await, unauthorized);
    assert_eq!(device.put_token(&own, &world.token(&own, 7, None)).await, 200);
    let events = device.attach(EVENTS, Role::Sender).await.unwrap();
    assert_eq!(device.send(events, data("again")).await, DeliveryState::Accepted);
    shutdown.cancel();
    maintenance.await.unwrap();
}

#[tokio::test]
async fn disabled_and_deleted_devices_lose_their_links() {
    let world = World::new();
    for (change, body, expected) in [
        ("PUT /devices/d", r#"{"deviceId":"d","status":"disabled"}"#, condition::UNAUTHORIZED_ACCESS),
        ("PUT /devices/d", r#"{"deviceId":"d"}"#, condition::UNAUTHORIZED_ACCESS),
        ("DELETE /devices/d", "", condition::NOT_FOUND),
    ] {
        world.device("d").await;
        let mut device = AmqpDevice::with_token(&world, "d").await;
        let events = device.attach(EVENTS, Role::Sender).await.unwrap();
        let devicebound = device.attach(DEVICEBOUND, Role::Receiver).await.unwrap();
        world.ask_with(change, body, &[("if-match", "*")]).await;
        let mut detached = [device.detached().await, device.detached().await];
        detached.sort();
        assert_eq!(
            detached,
            [(events, expected.to_owned()), (devicebound, expected.to_owned())],
            "{change} {body}"
        );
        let refused = device.attach(EVENTS, Role::Sender).await;
        assert_eq!(
            refused,
            Err(condition::UNAUTHORIZED_ACCESS.to_owned()),
            "the token put is looked at again"
        );
        assert_eq!(world.hub.counts().unwrap().connected, 0);
        world.ask_with("DELETE /devices/d", "", &[("if-match", "*")]).await;
    }
}

#[tokio::test]
async fn a_device_has_one_connection_over_all_transports() {
    let world = World::new();
    world.device("d").await;
    let mut first = AmqpDevice::with_token(&world, "d").await;
    let events = first.attach(EVENTS, Role::Sender).await.unwrap();
    let mut second = AmqpDevice::with_token(&world, "d").await;
    second.attach(EVENTS, Role::Sender).await.unwrap();
    assert_eq!(first.detached().await, (events, "amqp:link:stolen".to_owned()));
    let mut over_mqtt = Device::connect(&world, "d").await;
    assert_eq!(second.detached().await.1, "amqp:link:stolen");
    assert!(over_mqtt.is_silent().await);
    first.attach(EVENTS, Role::Sender).await.unwrap();
    assert!(over_mqtt.is_closed().await);
    assert_eq!(world.hub.counts().unwrap().connected, 1);
}

#[tokio::test]
async fn devices_on_one_connection_are_disconnected_separately() {
    let world = World::new();
    world.device("d").await;
    world.device("e").await;
    let mut gateway = AmqpDevice::with_token(&world, "d").await;
    let other = format!("{HOST}/devices/e");
    assert_eq!(gateway.put_token(&other, &world.token(&other, 7, None)).await, 200);
    let of_d = gateway.attach(EVENTS, Role::Sender).await.unwrap();
    let of_e = gateway.attach("/devices/e/messages/events", Role::Sender).await.unwrap();
    assert_eq!(world.hub.counts().unwrap().connected, 2);
    world.ask_with("DELETE /devices/d", "", &[("if-match", "*")]).await;
    assert_eq!(gateway.detached().await, (of_d, condition::NOT_FOUND.to_owned()));
    assert_eq!(gateway.send(of_e, data("x")).await, DeliveryState::Accepted);
    drop(gateway);
    for _ in 0..200 {
        if world.hub.counts().unwrap().connected == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the hub does not notice that the connection has ended");
}
