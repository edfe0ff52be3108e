//! Who may connect over MQTT, and what may be subscribed to.

use codec::mqtt::{
    Connect,
    ConnectReturnCode::{self, Accepted, NotAuthorized, UnacceptableProtocolVersion},
    Packet, QoS,
    SubscribeReturn::{Failure, Granted},
    Will,
};
use testkit::sample;

use crate::{
    mqtt_client::{RESPONSES, connect},
    world::{Device, IN_TIME, SCOPE, World},
};

#[tokio::test]
async fn connection_return_codes() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let good = connect(&device);
    let named = |name: &str| Connect { username: Some(name.into()), ..connect(&device) };
    let called = |id: &str| Connect { client_id: id.into(), ..connect(&device) };
    let will = Will { topic: "x".into(), payload: "y".into(), qos: QoS::AtMostOnce, retain: false };
    let asking = format!("{SCOPE}/registrations/reg-1/api-version=2019-03-31&attestation=tpm");
    let cases: [(&str, Connect, ConnectReturnCode); 23] = [
        ("as it should be", good.clone(), Accepted),
        ("a clean session", Connect { clean_session: true, ..good.clone() }, Accepted),
        ("no keep-alive", Connect { keep_alive_secs: 0, ..good.clone() }, Accepted),
        ("the name in capitals", called("REG-1"), Accepted),
        (
            "no client version",
            named(&format!("{SCOPE}/registrations/reg-1/api-version=2019-03-31")),
            Accepted,
        ),
        (
            "more parameters",
            named(&format!("{SCOPE}/registrations/reg-1/api-version=2019-03-31&DeviceClientType=x&a")),
            Accepted,
        ),
        ("no version at all", named(&format!("{SCOPE}/registrations/reg-1")), Accepted),
        ("a token that is none", Connect { password: Some("x".into()), ..good.clone() }, Accepted),
        ("another name", called("reg-2"), NotAuthorized),
        ("a longer name", called("reg-1/m"), NotAuthorized),
        ("no user name", Connect { username: None, password: None, ..good.clone() }, NotAuthorized),
        ("an empty user name", named(""), NotAuthorized),
        ("only the scope", named(SCOPE), NotAuthorized),
        ("another middle", named(&format!("{SCOPE}/devices/reg-1/api-version=2019-03-31")), NotAuthorized),
        ("no device", named(&format!("{SCOPE}/registrations//api-version=2019-03-31")), NotAuthorized),
        ("a bad device", named(&format!("{SCOPE}/registrations/a b/api-version=2019-03-31")), NotAuthorized),
        ("a bad scope", named("a_b/registrations/reg-1/api-version=2019-03-31"), NotAuthorized),
        ("no password", Connect { password: None, ..good.clone() }, NotAuthorized),
        ("an empty password", Connect { password: Some("".into()), ..good.clone() }, NotAuthorized),
        ("no password, for a challenge", Connect { password: None, ..named(&asking) }, Accepted),
        ("a will", Connect { will: Some(will), ..good.clone() }, NotAuthorized),
        (
            "no client ID",
            Connect { client_id: String::new(), clean_session: true, ..good.clone() },
            NotAuthorized,
        ),
        ("a password that is no text", Connect { password: Some(vec![0xFF, 0xFE].into()), ..good }, Accepted),
    ];
    for (case, greeting, expected) in cases {
        let mut mqtt = world.mqtt(None).await;
        assert_eq!(mqtt.enter(greeting).await, expected, "{case}");
        if expected != Accepted {
            assert!(mqtt.is_closed().await, "{case}");
        }
    }
}

/// A scope that is nobody's is found out with the first request, like a wrong key.
#[tokio::test]
async fn unknown_scopes_may_connect() {
    let world = World::new(IN_TIME).await;
    let mut mqtt = world.mqtt(None).await;
    assert_eq!(mqtt.enter(connect(&Device::new("0neNOBODY", "reg-1", sample::key(1)))).await, Accepted);
}

#[tokio::test]
async fn other_versions_of_the_protocol_are_refused() {
    let world = World::new(IN_TIME).await;
    let v31 = b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01a";
    let v5 = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01a";
    for bytes in [&v31[..], &v5[..]] {
        let mut mqtt = world.mqtt(None).await;
        mqtt.send_bytes(bytes).await;
        match mqtt.receive().await {
            Some(Packet::ConnAck(ack)) => assert_eq!(ack.code, UnacceptableProtocolVersion),
            other => panic!("{other:?}"),
        }
        assert!(mqtt.is_closed().await);
    }
}

#[tokio::test]
async fn what_can_be_subscribed_to_are_replies() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let mut mqtt = world.mqtt(None).await;
    mqtt.enter(connect(&device)).await;
    let (zero, one, two) = (QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce);
    for (filters, expected) in [
        (vec![(RESPONSES, one)], vec![Granted(one)]),
        (vec![(RESPONSES, zero)], vec![Granted(zero)]),
        (vec![(RESPONSES, two)], vec![Granted(one)]),
        (vec![("#", one)], vec![Failure]),
        (vec![("$dps/#", one)], vec![Granted(one)]),
        (vec![("$dps/registrations/res/+/#", one)], vec![Granted(one)]),
        (vec![("$dps/registrations/res/200/#", zero)], vec![Granted(zero)]),
        (vec![("$dps/registrations/PUT/#", one)], vec![Failure]),
        (vec![("+/registrations/res/#", one)], vec![Failure]),
        (vec![("devices/reg-1/messages/devicebound/#", zero), (RESPONSES, one)], vec![Failure, Granted(one)]),
    ] {
        assert_eq!(mqtt.subscribe(&filters).await, expected, "{filters:?}");
    }
    let filters = vec![RESPONSES.to_owned()];
    mqtt.send(&[Packet::Unsubscribe(codec::mqtt::Unsubscribe { packet_id: 9, filters }), Packet::PingReq])
        .await;
    assert_eq!(mqtt.receive().await, Some(Packet::UnsubAck(9)));
    assert_eq!(mqtt.receive().await, Some(Packet::PingResp));
}
