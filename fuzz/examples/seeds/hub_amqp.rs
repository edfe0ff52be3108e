//! Seeds of AMQP at a hub: what devices send.

use codec::amqp::{
    Body, Detach, Entries, Message, MessageId, Performative, Properties, Protocol, Role, Value,
};
use muster_fuzz::hub;

use crate::{
    amqp::{attach, beginning, credit, frames, header, plain, sasl_frame, transfer},
    put,
};

/// Writes them all.
pub fn write() {
    let resource = format!("{}/devices/dev-1", hub::HOST);
    let put_token = Message {
        properties: Properties { message_id: Some(MessageId::String("1".into())), ..Properties::default() },
        application: Entries::new()
            .with("operation", "put-token")
            .with("type", "servicebus.windows.net:sastoken")
            .with("name", resource),
        body: Body::Value(Value::String(hub::device_token())),
        ..Message::default()
    };
    let twin = |operation: &str, resource: Option<&str>, body: &'static str| {
        let mut annotations = Entries::new().with("operation", operation);
        resource.into_iter().for_each(|resource| annotations.insert("resource", resource));
        let properties =
            Properties { correlation_id: Some(MessageId::String("2".into())), ..Properties::default() };
        Message { annotations, properties, body: Body::of(body), ..Message::default() }
    };
    let claimed = [frames(&beginning("$cbs")), frames(&[transfer(0, 0, &put_token)])].concat();
    let telemetry = Message { body: Body::of("{}"), ..Message::default() };
    let lives = [
        (
            "telemetry",
            vec![attach(2, Role::Sender, "/devices/dev-1/messages/events"), transfer(2, 1, &telemetry)],
        ),
        (
            "twin",
            vec![
                attach(2, Role::Sender, "/devices/dev-1/twin"),
                attach(3, Role::Receiver, "/devices/dev-1/twin"),
                credit(3),
                transfer(2, 1, &twin("GET", None, " ")),
                transfer(2, 2, &twin("PATCH", Some("/properties/reported"), "{\"a\":1}")),
                transfer(2, 3, &twin("PUT", Some("/notifications/twin/properties/desired"), " ")),
            ],
        ),
        (
            "messages",
            vec![
                attach(2, Role::Receiver, "amqps://hub.example/devices/dev-1/messages/devicebound"),
                credit(2),
                attach(3, Role::Receiver, "/devices/dev-1/methods/devicebound"),
                attach(4, Role::Sender, "/devices/dev-1/methods/devicebound"),
                Performative::Detach(Detach { handle: 2, closed: true, error: None }),
            ],
        ),
        ("foreign", vec![attach(2, Role::Sender, "/devices/dev-2/twin")]),
    ];
    for (name, life) in lives {
        put("hub_amqp", name, &[header(Protocol::Amqp), claimed.clone(), frames(&life)].concat());
    }
    let life = [
        header(Protocol::Sasl),
        sasl_frame(&plain("dev-1@sas.hub", &hub::device_token())),
        header(Protocol::Amqp),
        frames(&beginning("/devices/dev-1/twin")),
    ];
    put("hub_amqp", "plain", &life.concat());
}
