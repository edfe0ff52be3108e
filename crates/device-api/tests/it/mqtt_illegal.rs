//! What no client of the device API does over MQTT. The connection ends; the service does not.

use codec::mqtt::{Packet, Publish, QoS};

use crate::{
    mqtt_client::{REGISTER, connect, publish},
    world::{IN_TIME, World},
};

#[tokio::test]
async fn illegal_traffic_ends_the_connection() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let register = |qos, retain, packet_id| {
        let topic = format!("{REGISTER}1");
        Packet::Publish(Publish { dup: false, qos, retain, topic, packet_id, payload: "{}".into() })
    };
    let cases = [
        ("a topic of a hub", publish("devices/reg-1/messages/events/", None, "x")),
        ("a topic of the service's own", publish("$dps/registrations/res/200/?$rid=1", None, "x")),
        ("register without a query", publish("$dps/registrations/PUT/iotdps-register/", None, "x")),
        ("another verb", publish("$dps/registrations/DELETE/iotdps-register/?$rid=1", None, "x")),
        ("retained", register(QoS::AtMostOnce, true, None)),
        ("retained, acknowledged", register(QoS::AtLeastOnce, true, Some(1))),
        ("QoS 2", register(QoS::ExactlyOnce, false, Some(1))),
        ("a second CONNECT", Packet::Connect(connect(&device))),
        ("a release", Packet::PubRel(1)),
        ("a server's packet", Packet::PingResp),
    ];
    for (case, packet) in cases {
        let mut mqtt = world.mqtt(None).await;
        mqtt.enter_as(&device).await;
        mqtt.send(&[packet]).await;
        assert!(mqtt.is_closed().await, "{case}");
    }
    assert_eq!((world.record("reg-1").await, world.hub().calls().len()), (None, 0));

    let mut mqtt = world.mqtt(None).await;
    mqtt.enter_as(&device).await;
    assert_eq!(mqtt.request(format!("{REGISTER}1"), "").await.json["status"], "assigned");
}

#[tokio::test]
async fn packets_past_the_limit_end_the_connection() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let mut mqtt = world.mqtt(None).await;
    mqtt.enter_as(&device).await;
    mqtt.send(&[publish(format!("{REGISTER}1"), Some(1), vec![b'x'; 200_000])]).await;
    assert!(mqtt.is_closed().await);
}
