//! What is peculiar to AMQP: how a device comes in, what its links and messages look like, and how errors are told.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use codec::amqp::{
    AmqpError, Body, Entries, Message, MessageId, Properties, Protocol, SaslCode, SaslFrame, SaslInit, Value,
    condition, decode_protocol, decode_sasl, encode_protocol, encode_sasl,
};
use model::{IndividualAttestation, IndividualCertificates, IndividualEnrollment, Pair};
use net::client::{AmqpClient, AmqpClientError, Login};
use testkit::{
    ca::{Identity, Profile},
    sample,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    http::check_error_body,
    lines::{amqp_client, poll, refused, register},
    tls::{ByteStream, Presented},
    world::{Device, IN_TIME, OTHER_SCOPE, SCOPE, World, individual},
};

/// A device that is connected with its token.
async fn entered(world: &World, device: &Device) -> AmqpClient<ByteStream> {
    let stream = world.dial_amqps(None).await;
    amqp_client(stream, device, Some(&device.token()), &device.resource()).await.unwrap()
}

/// Enrolls a device by its certificate.
async fn certified(world: &World, id: &str) -> (Device, Presented) {
    let own = Identity::self_signed(&Profile::device(id));
    let client = Pair::new(Some(own.certificate()), None).unwrap();
    let attestation = IndividualAttestation::X509(IndividualCertificates::Client(client));
    world.enroll(IndividualEnrollment { attestation, ..individual(id) }).await;
    (Device::new(SCOPE, id, sample::key(1)), Presented::new(&own, &[]))
}

#[tokio::test]
async fn replies_carry_what_sdks_look_for() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let mut client = entered(&world, &device).await;
    for correlation_id in [
        None,
        Some(MessageId::String("b1e02da8-C3A0".into())),
        Some(MessageId::Uuid([7; 16])),
        Some(MessageId::ULong(0)),
        Some(MessageId::Binary(vec![0, 1].into())),
    ] {
        let properties = Properties { correlation_id: correlation_id.clone(), ..Properties::default() };
        let reply = client.request(&Message { properties, ..register("{}") }).await.unwrap();
        assert_eq!(reply.properties.correlation_id, correlation_id, "of the same type");
        assert_eq!(reply.properties.content_type.as_deref(), Some("application/json; charset=utf-8"));
        assert!(matches!(&reply.body, Body::Data(sections) if sections.len() == 1));
        assert!(reply.application.is_empty(), "nothing to wait for");
    }
    client.close().await;
}

/// SDKs write the same address in different ways.
#[tokio::test]
async fn addresses_and_bodies_as_sdks_write_them() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let resource = device.resource();
    for address in [
        resource.clone(),
        format!("/{resource}"),
        format!("amqps://localhost/{resource}"),
        resource.to_ascii_uppercase(),
    ] {
        let stream = world.dial_amqps(None).await;
        let mut client = amqp_client(stream, &device, Some(&device.token()), &address).await.unwrap();
        for body in [Body::Absent, Body::of(""), Body::of(" "), Body::Value("{}".into())] {
            let reply = client.request(&Message { body, ..register("") }).await.unwrap();
            let json: serde_json::Value = serde_json::from_slice(&reply.body.bytes().unwrap()).unwrap();
            assert_eq!(json["status"], "assigned", "{address}");
        }
    }
}

/// The condition of the error that a first request ends with.
async fn ended_with(result: Result<AmqpClient<ByteStream>, AmqpClientError>) -> Option<AmqpError> {
    match result {
        Ok(mut client) => match client.request(&register("{}")).await {
            Err(AmqpClientError::Ended(error) | AmqpClientError::Rejected(error)) => error,
            other => panic!("{other:?}"),
        },
        Err(AmqpClientError::Ended(error)) => error,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn links_lead_to_the_registration_of_the_login_and_nowhere_else() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    for (address, code) in [
        (format!("{SCOPE}/registrations/reg-2"), 401_002),
        (format!("{OTHER_SCOPE}/registrations/reg-1"), 401_002),
        (format!("{SCOPE}/devices/reg-1"), 404_000),
        ("$cbs".to_owned(), 404_000),
    ] {
        let stream = world.dial_amqps(None).await;
        let error = ended_with(amqp_client(stream, &device, Some(&device.token()), &address).await).await;
        let error = error.unwrap();
        let expected = if code == 401_002 { condition::UNAUTHORIZED_ACCESS } else { condition::NOT_FOUND };
        assert_eq!(error.condition, expected, "{address}");
        let said = refused(&error);
        assert_eq!(said.error_code(), Some(code), "{address}");
        check_error_body(&address, &said.json);
    }
}

#[tokio::test]
async fn who_shows_nothing_is_not_let_in() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let bare = amqp_client(world.dial_amqps(None).await, &device, None, &device.resource()).await;
    let error = ended_with(bare).await.unwrap();
    assert_eq!(error.condition, condition::UNAUTHORIZED_ACCESS);
    for (name, password) in [
        (device.resource(), ""),
        (device.resource(), "rubbish"),
        ("reg-1".to_owned(), &*device.token()),
        (String::new(), &*device.token()),
    ] {
        let login = Login::Plain { name: &name, password };
        let stream = world.dial_amqps(None).await;
        let link = (&*device.resource(), Entries::new());
        let refused = AmqpClient::open(stream, "localhost", login, link, Duration::from_secs(30)).await;
        match refused.err() {
            Some(AmqpClientError::NotAccepted(SaslCode::Auth)) => {}
            other => panic!("{name} {other:?}"),
        }
    }
}

/// EXTERNAL and ANONYMOUS are offered to those whose certificate speaks for them.
#[tokio::test]
async fn sasl_mechanisms() {
    let world = World::new(IN_TIME).await;
    let (_, presented) = certified(&world, "reg-1").await;
    let certified = ["PLAIN", "TPM", "EXTERNAL", "ANONYMOUS"];
    for (presented, offered, mechanism, code) in [
        (Some(&presented), &certified[..], "EXTERNAL", SaslCode::Ok),
        (Some(&presented), &certified, "ANONYMOUS", SaslCode::Ok),
        (Some(&presented), &certified, "SCRAM-SHA-256", SaslCode::Auth),
        (None, &["PLAIN", "TPM"], "EXTERNAL", SaslCode::Auth),
        (None, &["PLAIN", "TPM"], "ANONYMOUS", SaslCode::Auth),
    ] {
        let mut stream = world.dial_amqps(presented).await;
        let init = SaslInit { mechanism: mechanism.into(), initial_response: None, hostname: None };
        let mut bytes = BytesMut::new();
        encode_protocol(Protocol::Sasl, &mut bytes);
        encode_sasl(&SaslFrame::Init(init), 512, &mut bytes).unwrap();
        stream.write_all(&bytes).await.unwrap();
        let mut heard = BytesMut::new();
        let mut frames = Vec::new();
        while frames.len() < 2 {
            assert_ne!(stream.read_buf(&mut heard).await.unwrap(), 0, "{mechanism}");
            if heard.starts_with(b"AMQP") {
                decode_protocol(&mut heard).unwrap();
            }
            while let Some(frame) = decode_sasl(&mut heard, 512).unwrap() {
                frames.push(frame);
            }
        }
        let offered = offered.iter().map(ToString::to_string).collect();
        assert_eq!(frames, [SaslFrame::Mechanisms(offered), SaslFrame::Outcome(code)], "{mechanism}");
    }
}

/// Each error comes as a rejection with the body that HTTPS has; who is not authorized loses the link after it.
#[tokio::test]
async fn errors_come_as_rejections() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let long = format!(r#"{{"payload":"{}"}}"#, "x".repeat(96 * 1024));
    let other = Message { application: Entries::new(), ..register("{}") };
    let argument = "com.microsoft:argument-error";
    for (case, request, condition, code) in [
        ("no JSON", register("{"), argument, 400_003),
        (
            "a value for JSON",
            Message { body: Body::Value(Value::Bool(true)), ..register("") },
            argument,
            400_003,
        ),
        ("too long", register(&long), argument, 413_000),
        ("no operation", other, condition::NOT_FOUND, 404_000),
        ("an unknown operation", poll("5.0.0"), condition::NOT_FOUND, 404_203),
        ("an impossible operation", poll("a b"), condition::NOT_FOUND, 404_203),
    ] {
        let mut client = entered(&world, &device).await;
        for _ in 0..2 {
            match client.request(&request).await {
                Err(AmqpClientError::Rejected(Some(error))) => {
                    assert_eq!(error.condition, condition, "{case}");
                    let said = refused(&error);
                    assert_eq!((said.error_code(), said.retry_after_secs), (Some(code), None), "{case}");
                    check_error_body(case, &said.json);
                }
                other => panic!("{case}: {other:?}"),
            }
        }
    }
    let mut impostor = entered(&world, &device.with_key(sample::key(99))).await;
    let first = impostor.request(&register("{}")).await;
    assert!(matches!(first, Err(AmqpClientError::Rejected(Some(_)))), "{first:?}");
    match impostor.request(&register("{}")).await {
        Err(AmqpClientError::Ended(Some(error))) => {
            assert_eq!(error.condition, condition::UNAUTHORIZED_ACCESS)
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((world.record("reg-1").await, world.counted().await), (None, 0));
}

#[tokio::test]
async fn the_version_stands_in_the_links_properties() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let (name, token) = (device.resource(), device.token());
    for (version, expected) in
        [(None, Some(400_001)), (Some("latest"), Some(400_001)), (Some("2026-11-01"), None)]
    {
        let properties = version.map(|version| Entries::new().with("com.microsoft:api-version", version));
        let login = Login::Plain { name: &name, password: &token };
        let link = (&*name, properties.unwrap_or_default());
        let stream = world.dial_amqps(None).await;
        let client = AmqpClient::open(stream, "localhost", login, link, Duration::from_secs(30)).await;
        match (client.unwrap().request(&register("{}")).await, expected) {
            (Err(AmqpClientError::Rejected(Some(error))), Some(code)) => {
                assert_eq!(refused(&error).error_code(), Some(code), "{version:?}");
            }
            (Ok(reply), None) => {
                let json: serde_json::Value = serde_json::from_slice(&reply.body.bytes().unwrap()).unwrap();
                assert_eq!(json["status"], "assigning", "the newest clients insist on it");
                assert_eq!(reply.application.get("retry-after"), Some(&Value::Int(3)));
            }
            (other, _) => panic!("{version:?}: {other:?}"),
        }
    }
}

/// Java sends and only then listens for the reply; others need not wait.
#[tokio::test]
async fn replies_to_java_are_held_back() {
    let world = World::new(IN_TIME).await;
    let device = world.device("reg-1").await;
    let (name, token) = (device.resource(), device.token());
    for (agent, is_java) in
        [("com.microsoft.azure.sdk.iot.dps.dps-device-client/2.1.0", true), ("azure-iot-x/1.9.1", false)]
    {
        let properties = Entries::new()
            .with("com.microsoft:api-version", "2019-03-31")
            .with("com.microsoft:client-version", agent);
        let login = Login::Plain { name: &name, password: &token };
        let stream = world.dial_amqps(None).await;
        let link = (&*name, properties);
        let client = AmqpClient::open(stream, "localhost", login, link, Duration::from_secs(30)).await;
        let mut client = client.unwrap();
        client.request(&register("{}")).await.unwrap();
        let began = Instant::now();
        client.request(&register("{}")).await.unwrap();
        assert_eq!(began.elapsed() >= IN_TIME.java_delay, is_java, "{agent}: {:?}", began.elapsed());
    }
}
