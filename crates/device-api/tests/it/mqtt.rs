//! Registering and polling over MQTT.

use std::time::{Duration, Instant};

use codec::mqtt::{Connect, ConnectReturnCode, Packet, QoS};
use model::{GroupAttestation, GroupCertificates, Pair, ProvisioningStatus};
use testkit::{ca::Authority, sample};

use crate::{
    http::check_error_body,
    mqtt_client::{Mqtt, POLL, REGISTER, RESPONSES, connect, connect_as, publish},
    tls::Presented,
    world::{Device, HUB, IN_TIME, SCOPE, World, group, individual},
};

/// A device that is connected and has subscribed.
async fn entered(world: &World, device: &Device) -> Mqtt {
    let mut mqtt = world.mqtt(None).await;
    mqtt.enter_as(device).await;
    mqtt
}

#[tokio::test]
async fn the_first_reply_carries_the_result() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let mut mqtt = entered(&world, &device).await;
    let response =
        mqtt.request(format!("{REGISTER}1"), r#"{"payload": null, "registrationId": "reg-1"}"#).await;
    assert_eq!(response.topic, "200/?$rid=1");
    let state = &response.json["registrationState"];
    assert_eq!(
        (response.json["status"].as_str(), state["assignedHub"].as_str()),
        (Some("assigned"), Some(HUB))
    );
    assert_eq!(
        (state["substatus"].as_str(), state["deviceId"].as_str()),
        (Some("initialAssignment"), Some("reg-1"))
    );

    let operation_id = response.json["operationId"].as_str().unwrap();
    let polled = mqtt.request(format!("{POLL}2&operationId={operation_id}"), " ").await;
    assert_eq!((polled.topic.as_str(), &polled.json), ("200/?$rid=2", &response.json));
    mqtt.send(&[Packet::Disconnect]).await;
    assert!(mqtt.is_closed().await);
    assert_eq!(world.counted().await, 1);
}

#[tokio::test]
async fn without_acknowledgement_too() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let mut mqtt = entered(&world, &device).await;
    mqtt.send(&[publish(format!("{REGISTER}1"), None, "")]).await;
    assert_eq!(mqtt.response().await.topic, "200/?$rid=1", "and no PUBACK");
}

#[tokio::test]
async fn the_request_id_comes_back_byte_for_byte() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let mut mqtt = entered(&world, &device).await;
    for id in ["1", "0001", "", "{1}", "b1e02da8-C3A0-4ff2-a121-7ea7a6b7f550", "a%20b", "ä", "1=2", "$rid"] {
        let response = mqtt.request(format!("{REGISTER}{id}"), "").await;
        assert_eq!(response.topic, format!("200/?$rid={id}"));
    }
    let later = mqtt.request(format!("{POLL}9&operationId=5.0.0&more=1"), "").await;
    assert_eq!(later.topic, "404/?$rid=9");
    let swapped = "$dps/registrations/GET/iotdps-get-operationstatus/?operationId=5.0.0&$rid=8";
    assert_eq!(mqtt.request(swapped, "").await.topic, "404/?$rid=8");
}

/// As a trace of the hosted service has it.
#[tokio::test]
async fn a_request_without_an_id_is_answered_without_one() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let mut mqtt = entered(&world, &device).await;
    let response = mqtt.request("$dps/registrations/PUT/iotdps-register/?rid=1", "").await;
    assert_eq!(response.topic, "200/?$rid=");
    let operation_id = response.json["operationId"].as_str().unwrap();
    let poll = format!("$dps/registrations/GET/iotdps-get-operationstatus/?rid=1&operationId={operation_id}");
    assert_eq!(mqtt.request(poll, "").await.topic, "200/?$rid=");
    let nothing = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=7";
    assert_eq!(mqtt.request(nothing, "").await.topic, "404/?$rid=7");
}

/// There are clients that drop a message above the QoS that they were granted (MQTT-3.8.4-6).
#[tokio::test]
async fn replies_come_at_the_granted_qos() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    for (filters, qos) in [
        (vec![], QoS::AtMostOnce),
        (vec![(RESPONSES, QoS::AtMostOnce)], QoS::AtMostOnce),
        (vec![(RESPONSES, QoS::AtLeastOnce)], QoS::AtLeastOnce),
        (vec![(RESPONSES, QoS::ExactlyOnce)], QoS::AtLeastOnce),
        (vec![(RESPONSES, QoS::AtLeastOnce), (RESPONSES, QoS::AtMostOnce)], QoS::AtMostOnce),
        (vec![("$dps/registrations/res/404/#", QoS::AtLeastOnce)], QoS::AtMostOnce),
        (vec![("$dps/registrations/res/200/#", QoS::AtLeastOnce)], QoS::AtLeastOnce),
        (vec![("$dps/#", QoS::AtLeastOnce)], QoS::AtLeastOnce),
    ] {
        let mut mqtt = world.mqtt(None).await;
        mqtt.enter(connect(&device)).await;
        if !filters.is_empty() {
            mqtt.subscribe(&filters).await;
        }
        mqtt.send(&[publish(format!("{REGISTER}1"), None, "")]).await;
        let Some(Packet::Publish(reply)) = mqtt.receive().await else { panic!("{filters:?}: no reply") };
        assert_eq!((reply.qos, reply.topic.contains("/200/")), (qos, true), "{filters:?}");
    }
}

#[tokio::test]
async fn newer_versions_see_assigning_first() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let mut mqtt = world.mqtt(None).await;
    let code = mqtt.enter(connect_as(&device, "2025-07-01-preview&ClientVersion=x")).await;
    assert_eq!(code, ConnectReturnCode::Accepted);
    let response = mqtt.request(format!("{REGISTER}1"), "{}").await;
    assert_eq!(response.topic, "202/?$rid=1&retry-after=3");
    assert_eq!(response.json.as_object().unwrap().len(), 2, "{}", response.json);
    poll_to_the_end(&mut mqtt, response.json["operationId"].as_str().unwrap()).await;
}

async fn poll_to_the_end(mqtt: &mut Mqtt, operation_id: &str) {
    let began = Instant::now();
    loop {
        let polled = mqtt.request(format!("{POLL}2&operationId={operation_id}"), "").await;
        match polled.topic.as_str() {
            "202/?$rid=2&retry-after=3" => {
                assert_eq!(polled.json["registrationState"]["status"], "assigning")
            }
            "200/?$rid=2" => return assert_eq!(polled.json["status"], "assigned"),
            other => panic!("{other}"),
        }
        assert!(began.elapsed() < Duration::from_secs(20), "it ends");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_disabled_enrollment_and_a_failure_are_no_errors() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let mut enrollment = individual("reg-1");
    enrollment.settings.provisioning_status = ProvisioningStatus::Disabled;
    world.enroll(enrollment).await;
    let mut mqtt = entered(&world, &device).await;
    let response = mqtt.request(format!("{REGISTER}1"), "").await;
    assert_eq!(response.topic, "200/?$rid=1");
    assert_eq!(
        response.json.to_string(),
        r#"{"operationId":"","status":"disabled","registrationState":{"registrationId":"reg-1","status":"disabled"}}"#
    );
    world.enroll(individual("reg-1")).await;
    world.unlink_hubs().await;
    let response = mqtt.request(format!("{REGISTER}2"), "").await;
    assert_eq!((response.topic.as_str(), &response.json["status"]), ("200/?$rid=2", &"failed".into()));
    assert_eq!(response.json["registrationState"]["errorCode"], 400_208);
}

#[tokio::test]
async fn a_certificate_needs_no_password() {
    let world = World::new(IN_TIME).await;
    let root = Authority::root("Root");
    let signing = Pair::new(Some(root.certificate()), None).unwrap();
    world.enroll_group(group("fleet", GroupAttestation::X509(GroupCertificates::Signing(signing)))).await;
    let presented = Presented::new(&root.device("reg-1"), &[]);
    let device = Device::new(SCOPE, "reg-1", sample::key(1));
    for password in [None, Some(bytes::Bytes::new())] {
        let mut mqtt = world.mqtt(Some(&presented)).await;
        let greeting = Connect { password, ..connect(&device) };
        assert_eq!(mqtt.enter(greeting).await, ConnectReturnCode::Accepted);
        let response = mqtt.request(format!("{REGISTER}1"), "").await;
        let member = &response.json["registrationState"]["x509"];
        assert_eq!(
            (response.topic.as_str(), member),
            ("200/?$rid=1", &serde_json::json!({"enrollmentGroupId": "fleet"}))
        );
    }
    let stranger = Presented::new(&Authority::root("Root").device("reg-1"), &[]);
    let mut mqtt = world.mqtt(Some(&stranger)).await;
    mqtt.enter(Connect { password: None, ..connect(&device) }).await;
    let response = mqtt.request(format!("{REGISTER}1"), "").await;
    assert_eq!(
        (response.topic.as_str(), &response.json["message"]),
        ("401/?$rid=1", &"Invalid certificate.".into())
    );
}

/// CONNECT is accepted and the reason comes with the reply, as from the hosted service.
#[tokio::test]
async fn errors_come_as_replies() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let (version, good) = ("2019-03-31", device.token());
    let long = format!(r#"{{"payload":"{}"}}"#, "x".repeat(96 * 1024));
    let cases = [
        ("another key", &device, version, device.with_key(sample::key(99)).token(), "{}", 401_002),
        ("no token", &device, version, "rubbish".into(), "{}", 401_002),
        (
            "unknown device",
            &Device::new(SCOPE, "nobody", sample::key(10)),
            version,
            good.clone(),
            "{}",
            401_002,
        ),
        (
            "unknown scope",
            &Device::new("0neX", "reg-1", sample::key(10)),
            version,
            good.clone(),
            "{}",
            401_002,
        ),
        ("no version", &device, "", good.clone(), "{}", 400_001),
        ("no date", &device, "latest", good.clone(), "{}", 400_001),
        ("no JSON", &device, version, good.clone(), "{", 400_003),
        ("too long", &device, version, good.clone(), &*long, 413_000),
    ];
    for (case, device, version, token, body, code) in cases {
        let mut mqtt = world.mqtt(None).await;
        let greeting = Connect { password: Some(token.into()), ..connect_as(device, version) };
        assert_eq!(mqtt.enter(greeting).await, ConnectReturnCode::Accepted, "{case}");
        for attempt in 1..=2 {
            let response = mqtt.request(format!("{REGISTER}{attempt}"), body.to_owned()).await;
            assert_eq!(response.topic, format!("{}/?$rid={attempt}", code / 1000), "{case}");
            assert_eq!(response.json["errorCode"], code, "{case}");
            check_error_body(case, &response.json);
        }
    }
    let mut mqtt = entered(&world, &device).await;
    for operation_id in ["5.0.0", "", "a b", "../x"] {
        let response = mqtt.request(format!("{POLL}1&operationId={operation_id}"), "").await;
        assert_eq!((response.topic.as_str(), &response.json["errorCode"]), ("404/?$rid=1", &404_203.into()));
    }
    assert_eq!((world.record("reg-1").await, world.counted().await), (None, 0));
}

/// Java publishes and only then listens for the reply; others need not wait.
#[tokio::test]
async fn replies_to_java_are_held_back() {
    let world = World::new(IN_TIME).await;
    for (agent, is_java) in [
        ("2019-03-31&ClientVersion=com.microsoft.azure.sdk.iot.dps.dps-device-client%2F2.1.0", true),
        ("2019-03-31&ClientVersion=2019-03-31", true),
        ("2019-03-31&ClientVersion=azure-iot-provisioning-device%2F1.9.1", false),
        ("2021-06-01&ClientVersion=1.15.0", false),
        ("2019-03-31", false),
    ] {
        let device = world.device("reg-1").await;
        let mut mqtt = world.mqtt(None).await;
        mqtt.enter(connect_as(&device, agent)).await;
        mqtt.request(format!("{REGISTER}0"), "").await;
        let began = Instant::now();
        mqtt.request(format!("{REGISTER}1"), "").await;
        let held_back = began.elapsed() >= IN_TIME.java_delay;
        assert_eq!(held_back, is_java, "{agent}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn four_requests_may_wait_and_a_fifth_ends_the_connection() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let requests = |count: u16| -> Vec<Packet> {
        (1..=count).map(|id| publish(format!("{REGISTER}{id}"), Some(id), "")).collect()
    };
    let held = world.hub().hold().await;
    let mut five = entered(&world, &device).await;
    five.send(&requests(4)).await;
    for id in 1..=4 {
        assert_eq!(five.receive().await, Some(Packet::PubAck(id)));
    }
    five.send(&[publish(format!("{REGISTER}5"), Some(5), "")]).await;
    assert!(five.is_closed().await);

    let mut four = entered(&world, &device).await;
    four.send(&requests(4)).await;
    for id in 1..=4 {
        assert_eq!(four.receive().await, Some(Packet::PubAck(id)));
    }
    drop(held);
    let mut topics = Vec::new();
    for _ in 1..=4 {
        topics.push(four.response().await.topic);
    }
    topics.sort();
    assert_eq!(topics, ["200/?$rid=1", "200/?$rid=2", "200/?$rid=3", "200/?$rid=4"]);
    four.send(&requests(1)).await;
    assert_eq!(four.receive().await, Some(Packet::PubAck(1)));
    assert_eq!(four.response().await.topic, "200/?$rid=1", "there is room again");
}

#[tokio::test]
async fn a_device_that_leaves_is_provisioned_all_the_same() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let held = world.hub().hold().await;
    let mut mqtt = entered(&world, &device).await;
    mqtt.send(&[publish(format!("{REGISTER}1"), Some(1), "")]).await;
    assert_eq!(mqtt.receive().await, Some(Packet::PubAck(1)));
    mqtt.send(&[Packet::Disconnect]).await;
    assert!(mqtt.is_closed().await);
    drop(held);
    let mut again = entered(&world, &device).await;
    let response = again.request(format!("{REGISTER}1"), "").await;
    assert_eq!(response.json["status"], "assigned");
    assert_eq!(world.hub().devices().len(), 1);
}
