//! Devices with a TPM, over HTTPS and MQTT: the challenge, its proof, and the key that comes with the assignment.

use base64::{Engine, engine::general_purpose::STANDARD};
use codec::mqtt::{Connect, ConnectReturnCode};
use model::{HubCredentials, IndividualAttestation, IndividualEnrollment, SymmetricKey, TpmAttestation};
use serde_json::{Value, json};
use testkit::{
    sample,
    tpm::{Kind, SoftTpm},
};

use crate::{
    http::{Reply, VERSION, register_path},
    mqtt_client::{Mqtt, POLL, REGISTER, connect},
    tls::ByteStream,
    world::{AT_ONCE, Device, IN_TIME, SCOPE, World, individual},
};

/// A device whose TPM is enrolled.
pub struct TpmDevice {
    pub tpm: SoftTpm,
    pub name: String,
}

impl TpmDevice {
    async fn new(world: &World, name: &str, kind: Kind) -> TpmDevice {
        TpmDevice::enrolled(world, kind, individual(name)).await
    }

    /// With the rest of its enrollment.
    pub async fn enrolled(world: &World, kind: Kind, enrollment: IndividualEnrollment) -> TpmDevice {
        let (tpm, name) = (SoftTpm::new(kind, kind), enrollment.registration_id.to_string());
        let endorsement_key = tpm.identity().endorsement_key.clone();
        let attestation =
            IndividualAttestation::Tpm(TpmAttestation { endorsement_key, storage_root_key: None });
        world.enroll(IndividualEnrollment { attestation, ..enrollment }).await;
        TpmDevice { tpm, name }
    }

    /// With the key from a challenge.
    fn with(&self, key: SymmetricKey) -> Device {
        Device::new(SCOPE, &self.name, key)
    }

    /// Before it has one.
    fn without_key(&self) -> Device {
        self.with(sample::key(1))
    }

    pub fn body(&self) -> Value {
        let identity = self.tpm.identity();
        let (endorsement, storage) = (&identity.endorsement_key, &identity.storage_root_key);
        let tpm = json!({"endorsementKey": endorsement.to_base64(), "storageRootKey": storage.to_base64()});
        json!({"registrationId": self.name, "tpm": tpm})
    }

    pub fn open(&self, json: &Value) -> SymmetricKey {
        self.tpm.open(&STANDARD.decode(json["authenticationKey"].as_str().unwrap()).unwrap()).key
    }

    /// Opens a challenge, which must have the members that SDKs look for and no others.
    fn challenged(&self, json: &Value) -> Device {
        let members: Vec<_> = json.as_object().unwrap().keys().collect();
        assert_eq!(members, ["message", "authenticationKey", "keyName"], "{json}");
        assert_eq!(
            (&json["message"], &json["keyName"]),
            (&"Authorization required".into(), &"registration".into())
        );
        self.with(self.open(json))
    }

    /// The key that an assigned device is handed must be the one that its hub knows.
    pub fn check_handed(&self, world: &World, json: &Value) {
        assert_eq!(json["status"], "assigned", "{json}");
        let state = &json["registrationState"];
        let mut devices = world.hub().devices().into_iter();
        let (_, at_hub) = devices.find(|(id, _)| id.as_str() == self.name).unwrap();
        let HubCredentials::SymmetricKeys(pair) = at_hub.credentials else { panic!("{at_hub:?}") };
        assert_eq!(pair.primary, self.open(&state["tpm"]), "{state}");
    }
}

async fn put(world: &World, device: &TpmDevice, body: &Value, token: Option<String>) -> Reply {
    let mut http = world.http(None).await;
    let mut call = http.call("PUT", register_path(&device.without_key(), VERSION));
    if let Some(token) = token {
        call = call.token(token);
    }
    call.body(body.to_string()).send().await
}

async fn challenge(world: &World, device: &TpmDevice) -> Device {
    let reply = put(world, device, &device.body(), None).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("content-type")),
        (401, Some("application/json; charset=utf-8"))
    );
    device.challenged(&reply.json())
}

#[tokio::test]
async fn over_https_with_and_without_naming_the_tpm_again() {
    for (kind, again) in [(Kind::Rsa, true), (Kind::P256, false)] {
        let world = World::new(IN_TIME).await;
        let device = TpmDevice::new(&world, "reg-1", kind).await;
        let proved = challenge(&world, &device).await;
        let body = if again { device.body() } else { json!({"registrationId": "reg-1"}) };
        let reply = put(&world, &device, &body, Some(proved.token())).await;
        assert_eq!(reply.status, 202);
        reply.assigned();
        device.check_handed(&world, &reply.json());
        // Some clients ask again whatever the first reply said.
        let polled = world.http(None).await.poll(&proved, &reply.operation_id()).await;
        assert_eq!(polled.status, 200);
        device.check_handed(&world, &polled.json());
        assert_eq!((world.hub().calls().len(), world.counted().await), (1, 1));
    }
}

#[tokio::test]
async fn a_hub_that_takes_its_time() {
    let world = World::new(AT_ONCE).await;
    let device = TpmDevice::new(&world, "reg-1", Kind::P256).await;
    let held = world.hub().hold().await;
    let proved = challenge(&world, &device).await;
    let reply = put(&world, &device, &device.body(), Some(proved.token())).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["status"]), (202, &"assigning".into()));
    let same = put(&world, &device, &device.body(), Some(proved.token())).await;
    assert_eq!(same.operation_id(), reply.operation_id());
    drop(held);
    let ended = world.http(None).await.poll_to_the_end(&proved, &reply.operation_id()).await;
    device.check_handed(&world, &ended.json());
    assert_eq!(world.counted().await, 1);
}

#[tokio::test]
async fn what_is_refused_says_what_to_do_only_to_who_holds_a_token() {
    let world = World::new(IN_TIME).await;
    let device = TpmDevice::new(&world, "reg-1", Kind::P256).await;
    let thief = TpmDevice { tpm: SoftTpm::new(Kind::P256, Kind::P256), name: "reg-1".into() };
    let unknown = device.without_key().token();
    let reply = put(&world, &device, &device.body(), Some(unknown)).await;
    reply.check_error("a token before a challenge", 401_002);
    assert_eq!(reply.json()["message"], "Unauthorized");
    let theirs = challenge(&world, &thief).await;
    let reply = put(&world, &thief, &thief.body(), Some(theirs.token())).await;
    reply.check_error("another TPM", 401_002);
    assert_eq!(reply.json()["message"], "Unauthorized");
    let unknown = TpmDevice { name: "reg-9".into(), ..thief };
    let theirs = challenge(&world, &unknown).await;
    let reply = put(&world, &unknown, &unknown.body(), Some(theirs.token())).await;
    reply.check_error("an unknown device", 401_002);
    assert_eq!(reply.json()["message"], "Unauthorized");

    let proved = challenge(&world, &device).await;
    let reply = put(&world, &device, &device.body(), Some(device.without_key().token())).await;
    reply.check_error("another key", 401_002);
    assert_eq!(reply.json()["message"], "Unauthorized");
    put(&world, &device, &device.body(), Some(proved.token())).await.assigned();
    let replayed = put(&world, &device, &device.body(), Some(proved.token())).await;
    replayed.check_error("a replayed proof", 401_002);
    assert!(replayed.json()["message"].as_str().unwrap().contains("ask for a new one"));
    assert_eq!((world.hub().calls().len(), world.counted().await), (1, 1));
}

#[tokio::test]
async fn keys_that_are_none_are_refused_by_name() {
    let world = World::new(IN_TIME).await;
    let device = TpmDevice::new(&world, "reg-1", Kind::P256).await;
    let good = device.body()["tpm"]["endorsementKey"].clone();
    for (tpm, expected) in [
        (json!({"endorsementKey": "?"}), "tpm.endorsementKey must be base64"),
        (json!({"endorsementKey": "AAAA"}), "tpm.endorsementKey must be one TPM2B_PUBLIC"),
        (
            json!({"endorsementKey": good, "storageRootKey": "AAIACA=="}),
            "tpm.storageRootKey must be an RSA or ECC key",
        ),
    ] {
        let reply = put(&world, &device, &json!({"tpm": tpm}), None).await;
        reply.check_error(expected, 400_002);
        assert!(reply.json()["message"].as_str().unwrap().starts_with(expected), "{}", reply.text);
    }
}

/// Without a password a device is let in over MQTT only to be challenged.
pub async fn asking(stream: ByteStream, device: &Device) -> Mqtt {
    let mut mqtt = Mqtt::new(stream);
    let username = format!("{}/api-version=2021-06-01&attestation=tpm", device.resource());
    let greeting = Connect { username: Some(username), password: None, ..connect(device) };
    assert_eq!(mqtt.enter(greeting).await, ConnectReturnCode::Accepted);
    mqtt
}

#[tokio::test]
async fn over_mqtt() {
    let world = World::new(IN_TIME).await;
    let device = TpmDevice::new(&world, "reg-1", Kind::Rsa).await;
    let mut mqtt = asking(world.dial_mqtts(None).await, &device.without_key()).await;
    let response = mqtt.request(format!("{REGISTER}1"), device.body().to_string()).await;
    assert_eq!(response.topic, "401/?$rid=1");
    let proved = device.challenged(&response.json);
    let unproved = mqtt.request(format!("{REGISTER}2"), "").await;
    assert_eq!((unproved.topic.as_str(), &unproved.json["errorCode"]), ("401/?$rid=2", &401_002.into()));

    let mut mqtt = world.mqtt(None).await;
    mqtt.enter_as(&proved).await;
    let response = mqtt.request(format!("{REGISTER}3"), device.body().to_string()).await;
    assert_eq!(response.topic, "200/?$rid=3");
    device.check_handed(&world, &response.json);
    let operation_id = response.json["operationId"].as_str().unwrap();
    let response = mqtt.request(format!("{POLL}4&operationId={operation_id}"), "").await;
    device.check_handed(&world, &response.json);
    let replayed = mqtt.request(format!("{REGISTER}5"), device.body().to_string()).await;
    assert_eq!((replayed.topic.as_str(), &replayed.json["errorCode"]), ("401/?$rid=5", &401_002.into()));
    assert_eq!(world.counted().await, 1);
}
