//! The SASL mechanism TPM: the challenge comes before there are requests.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use codec::amqp::{
    Entries, Protocol, SaslCode, SaslFrame, SaslInit, decode_protocol, decode_sasl, encode_protocol,
    encode_sasl,
};
use model::{HubCredentials, IndividualAttestation, IndividualEnrollment, SymmetricKey, TpmAttestation};
use net::client::{AmqpClient, Login};
use serde_json::Value;
use testkit::{
    sample,
    tpm::{Kind, SoftTpm},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    lines::{amqp_said, poll, register},
    tls::ByteStream,
    world::{Device, IN_TIME, SCOPE, World, individual},
};

const ID: &str = "reg-1";

/// The size of SASL frames.
const FRAME: usize = 512;

async fn enrolled(world: &World, kind: Kind) -> SoftTpm {
    let tpm = SoftTpm::new(kind, kind);
    let endorsement_key = tpm.identity().endorsement_key.clone();
    let attestation = IndividualAttestation::Tpm(TpmAttestation { endorsement_key, storage_root_key: None });
    world.enroll(IndividualEnrollment { attestation, ..individual(ID) }).await;
    tpm
}

/// The client's side of SASL, frame by frame.
pub struct Sasl {
    pub stream: ByteStream,
    input: BytesMut,
}

/// What the server says next.
enum Next {
    Asked(Bytes),
    Over(SaslCode),
}

impl Sasl {
    /// Chooses the mechanism, which must be offered.
    pub async fn begin(stream: ByteStream, first: Vec<u8>) -> Sasl {
        let mut sasl = Sasl { stream, input: BytesMut::new() };
        let mut output = BytesMut::new();
        encode_protocol(Protocol::Sasl, &mut output);
        sasl.stream.write_all(&output).await.unwrap();
        let header = sasl.decoded(|input| decode_protocol(input).unwrap()).await;
        assert_eq!(header, Protocol::Sasl);
        let SaslFrame::Mechanisms(offered) = sasl.frame().await else { panic!("no mechanisms") };
        assert!(offered.iter().any(|name| name == "TPM"), "{offered:?}");
        let init = SaslInit { mechanism: "TPM".into(), initial_response: Some(first.into()), hostname: None };
        sasl.send(SaslFrame::Init(init)).await;
        sasl
    }

    async fn send(&mut self, frame: SaslFrame) {
        let mut output = BytesMut::new();
        encode_sasl(&frame, FRAME, &mut output).unwrap();
        self.stream.write_all(&output).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    async fn frame(&mut self) -> SaslFrame {
        self.decoded(|input| decode_sasl(input, FRAME).unwrap()).await
    }

    async fn decoded<T>(&mut self, decode: impl Fn(&mut BytesMut) -> Option<T>) -> T {
        loop {
            if let Some(decoded) = decode(&mut self.input) {
                return decoded;
            }
            assert_ne!(self.stream.read_buf(&mut self.input).await.unwrap(), 0, "the server hung up");
        }
    }

    async fn next(&mut self) -> Next {
        match self.frame().await {
            SaslFrame::Challenge(bytes) => Next::Asked(bytes),
            SaslFrame::Outcome(code) => Next::Over(code),
            other => panic!("{other:?}"),
        }
    }

    async fn asked(&mut self) -> Bytes {
        match self.next().await {
            Next::Asked(bytes) => bytes,
            Next::Over(code) => panic!("over with {code:?}"),
        }
    }

    pub async fn respond(&mut self, bytes: &[u8]) {
        self.send(SaslFrame::Response([&[0], bytes].concat().into())).await;
    }

    pub async fn over(&mut self) -> SaslCode {
        match self.next().await {
            Next::Over(code) => code,
            Next::Asked(bytes) => panic!("asked {bytes:?}"),
        }
    }

    /// As far as the challenge.
    async fn challenged(&mut self, tpm: &SoftTpm) -> Device {
        Device::new(SCOPE, ID, self.opened(tpm).await.unwrap())
    }

    /// The key in the challenge, if there is one.
    pub async fn opened(&mut self, tpm: &SoftTpm) -> Result<SymmetricKey, SaslCode> {
        assert_eq!(self.asked().await, [0][..]);
        self.respond(tpm.identity().storage_root_key.as_bytes()).await;
        let first = match self.next().await {
            Next::Asked(first) => first,
            Next::Over(code) => return Err(code),
        };
        self.send(SaslFrame::Response(Bytes::from_static(&[0]))).await;
        let second = self.asked().await;
        assert_eq!((first[0], second[0]), (0x80, 0xC1));
        Ok(tpm.open(&[&first[1..], &second[1..]].concat()).key)
    }
}

fn first(tpm: &SoftTpm) -> Vec<u8> {
    first_of(SCOPE, ID, tpm)
}

/// What the mechanism begins with.
pub fn first_of(scope: &str, id: &str, tpm: &SoftTpm) -> Vec<u8> {
    [format!("\0{scope}\0{id}\0").as_bytes(), tpm.identity().endorsement_key.as_bytes()].concat()
}

/// The key that an assigned device is handed must be the one that its hub knows.
fn check_handed(world: &World, tpm: &SoftTpm, json: &Value) {
    let blob =
        json["registrationState"]["tpm"]["authenticationKey"].as_str().unwrap_or_else(|| panic!("{json}"));
    let at_hub = world.hub().devices().into_values().next().unwrap();
    let HubCredentials::SymmetricKeys(pair) = at_hub.credentials else { panic!("{at_hub:?}") };
    assert_eq!(pair.primary, tpm.open(&STANDARD.decode(blob).unwrap()).key);
}

#[tokio::test]
async fn a_device_proves_itself_by_its_tpm() {
    for kind in [Kind::Rsa, Kind::P256] {
        let world = World::new(IN_TIME).await;
        let tpm = enrolled(&world, kind).await;
        let mut sasl = Sasl::begin(world.dial_amqps(None).await, first(&tpm)).await;
        let device = sasl.challenged(&tpm).await;
        sasl.respond(device.token().as_bytes()).await;
        assert_eq!(sasl.over().await, SaslCode::Ok);

        let properties = Entries::new()
            .with("com.microsoft:api-version", "2019-03-31")
            .with("com.microsoft:client-version", device.agent);
        let resource = device.resource();
        let link = (&*resource, properties);
        let client = AmqpClient::open(sasl.stream, "localhost", Login::Bare, link, Duration::from_secs(30));
        let mut client = client.await.unwrap();
        let said = amqp_said(&mut client, &register("")).await;
        said.assigned();
        check_handed(&world, &tpm, &said.json);
        let polled = amqp_said(&mut client, &poll(said.operation_id())).await;
        check_handed(&world, &tpm, &polled.json);
        let again = amqp_said(&mut client, &register("")).await;
        assert_eq!(again.error_code(), Some(401_002), "a proof is good once: {again:?}");
        assert_eq!(world.counted().await, 1);
    }
}

#[tokio::test]
async fn who_does_not_open_the_challenge_is_not_let_in() {
    let world = World::new(IN_TIME).await;
    let (tpm, thief) = (enrolled(&world, Kind::P256).await, SoftTpm::new(Kind::P256, Kind::P256));

    for id in [ID, "unknown"] {
        let mut sasl = Sasl::begin(world.dial_amqps(None).await, first_of(SCOPE, id, &thief)).await;
        let key = sasl.opened(&thief).await.unwrap();
        sasl.respond(Device::new(SCOPE, id, key).token().as_bytes()).await;
        assert_eq!(sasl.over().await, SaslCode::Auth, "another TPM as {id}");
    }

    for (case, key) in [("no token", None), ("another key", Some(sample::key(1)))] {
        let mut sasl = Sasl::begin(world.dial_amqps(None).await, first(&tpm)).await;
        sasl.challenged(&tpm).await;
        let token = key.map(|key: SymmetricKey| Device::new(SCOPE, ID, key).token()).unwrap_or_default();
        sasl.respond(token.as_bytes()).await;
        assert_eq!(sasl.over().await, SaslCode::Auth, "{case}");
    }

    for (case, response) in
        [("nothing", vec![]), ("no key", b"\x000ne\0r\0".to_vec()), ("no names", b"\0\0\0".to_vec())]
    {
        let mut sasl = Sasl::begin(world.dial_amqps(None).await, response).await;
        assert_eq!(sasl.over().await, SaslCode::Auth, "{case}");
    }
    let mut sasl = Sasl::begin(world.dial_amqps(None).await, first(&tpm)).await;
    sasl.asked().await;
    sasl.respond(b"no key").await;
    assert_eq!(sasl.over().await, SaslCode::Auth, "no storage root key");
    assert_eq!((world.record(ID).await, world.counted().await), (None, 0));
}
