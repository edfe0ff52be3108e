//! Devices with a TPM in swtpm, used by our client and by tpm2-tools.

use std::sync::Arc;

use ::fleet::{Device, HubClient, HubEndpoint, HubError, HubRegistry, Tpm, TpmKeyKind, Trust};
use base64::{Engine, engine::general_purpose::STANDARD};
use model::{DeviceId, HubName, RegistrationId, SymmetricKey};
use net::client::{Call, Deadlines, HttpsConnection};
use serde_json::{Value, json};
use testkit::swtpm::Swtpm;
use wire::sas::{ConnectionString, UnsignedToken};

use crate::program::{ProgramOutput, World, muster};

const KINDS: [&str; 2] = ["rsa", "ecc"];

/// Runs `muster device tpm-identity`.
async fn identity(tpm: &Swtpm, kind: &str) -> Value {
    let ended =
        muster(["device", "tpm-identity", "--tpm", &tpm.address(), "--tpm-keys", kind, "--json"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.json()
}

async fn enroll(world: &World, id: &str, identity: &Value) {
    let attestation = json!({"type": "tpm", "tpm": {"endorsementKey": identity["endorsementKey"]}});
    let enrollment = json!({"registrationId": id, "attestation": attestation});
    world.service().create_enrollment(&enrollment).await.unwrap();
}

async fn register(world: &World, tpm: &Swtpm, more: &[&str]) -> ProgramOutput {
    world.muster(&["device", "register"], &[&["--tpm", &tpm.address(), "--json"], more].concat()).await
}

#[track_caller]
fn assigned(ended: &ProgramOutput) -> Value {
    assert_eq!((ended.code, &ended.json()["status"]), (0, &json!("assigned")), "{ended:?}");
    ended.json()
}

/// Makes a device with this TPM, used by our client.
async fn device(tpm: &Swtpm, id: &str, kind: TpmKeyKind) -> Device {
    let tpm = Tpm::open(&tpm.address().parse().unwrap(), kind).await.unwrap();
    Device::with_tpm(RegistrationId::parse(id).unwrap(), Arc::new(tpm))
}

fn trust(world: &World) -> Trust {
    Trust::from_pem(&std::fs::read(&world.emulator.info().ca_file).unwrap()).unwrap()
}

/// Connects to the hub with a token that the TPM signs, and reads the twin.
async fn visit_hub(world: &World, device: &Device, state: &Value) -> Result<Value, HubError> {
    let text = |member: &str| state[member].as_str().unwrap();
    let name = HubName::parse(text("assignedHub")).unwrap();
    let endpoint = HubEndpoint { name, mqtts_port: world.emulator.info().ports.mqtts, trust: trust(world) };
    let device_id = DeviceId::parse(text("deviceId")).unwrap();
    let mut hub = HubClient::connect(&endpoint, device, &device_id).await?;
    let twin = hub.twin().await?;
    hub.disconnect().await;
    Ok(twin)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_registers_and_signs_its_hub_tokens_in_the_tpm() {
    let (world, tpm) = (World::start().await, Swtpm::start());
    for (kind, key_kind) in [("rsa", TpmKeyKind::Rsa), ("ecc", TpmKeyKind::Ecc)] {
        let identity = identity(&tpm, kind).await;
        let id = identity["registrationId"].as_str().unwrap();
        enroll(&world, id, &identity).await;
        for transport in ["https", "mqtt", "mqtt-ws", "amqp", "amqp-ws", "https"] {
            let state =
                assigned(&register(&world, &tpm, &["--tpm-keys", kind, "--transport", transport]).await);
            assert_eq!(state["registrationId"], id);
            let device = device(&tpm, id, key_kind).await;
            let twin = visit_hub(&world, &device, &state).await.unwrap();
            assert_eq!(twin["desired"]["$version"], 1, "{twin}");
        }
        let enrollment = world.service().enrollment(id).await.unwrap();
        assert_eq!(enrollment["attestation"]["tpm"]["storageRootKey"], identity["storageRootKey"]);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_with_another_tpm_is_refused() {
    let (world, tpm, thief) = (World::start().await, Swtpm::start(), Swtpm::start());
    enroll(&world, "dev-1", &identity(&tpm, "rsa").await).await;
    for kind in KINDS {
        let more = ["--registration-id", "dev-1", "--tpm-keys", kind];
        let ended = register(&world, &thief, &more).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
        assert!(ended.stderr.contains("dev-1 was not assigned: refused: 401002 Unauthorized"), "{ended:?}");
    }
    let state = assigned(&register(&world, &tpm, &["--registration-id", "dev-1"]).await);
    // The other TPM has the right IDs but not the key.
    let mut thief = device(&thief, "dev-1", TpmKeyKind::Rsa).await;
    assert!(visit_hub(&world, &thief, &state).await.is_err());
    thief = device(&tpm, "dev-1", TpmKeyKind::Rsa).await;
    assert!(visit_hub(&world, &thief, &state).await.is_ok());
    world.stop().await;
}

/// Sends `PUT …/register` as a device without state between requests.
async fn put(world: &World, id: &str, tpm: &Tpm, token: Option<&str>) -> (u16, Value) {
    let info = world.emulator.info();
    let deadline = std::time::Duration::from_secs(30);
    let deadlines = Deadlines { connect: deadline, exchange: deadline };
    let config = trust(world).anonymous();
    let mut connection =
        HttpsConnection::open(&info.device_endpoint, info.ports.https, config, deadlines).await.unwrap();
    let (endorsement, storage) = (&tpm.identity().endorsement_key, &tpm.identity().storage_root_key);
    let body = json!({"tpm": {"endorsementKey": endorsement, "storageRootKey": storage}}).to_string().into();
    let path_and_query = format!("/{}/registrations/{id}/register?api-version=2021-06-01", info.id_scope);
    let call =
        Call { method: http::Method::PUT, path_and_query, authorization: token, body, ..Call::default() };
    let response = connection.call(call).await.unwrap();
    (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap())
}

/// Makes a registration token, signed with the current key of the TPM.
async fn token(world: &World, id: &str, tpm: &Tpm) -> String {
    let resource = format!("{}/registrations/{id}", world.emulator.info().id_scope);
    let token = UnsignedToken::new(&resource, 4_102_444_800, Some("registration"));
    token.signed(&tpm.sign(token.text().as_bytes()).await.unwrap())
}

async fn challenged(world: &World, id: &str, tpm: &Tpm) -> String {
    let (status, challenge) = put(world, id, tpm, None).await;
    assert_eq!(status, 401, "{challenge}");
    tpm.import(challenge["authenticationKey"].as_str().unwrap()).await.unwrap();
    token(world, id, tpm).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_survives_a_restart_and_a_replayed_proof_is_refused() {
    let (world, tpm) = (World::start().await, Swtpm::start());
    enroll(&world, "dev-1", &identity(&tpm, "rsa").await).await;
    let tpm = Tpm::open(&tpm.address().parse().unwrap(), TpmKeyKind::Rsa).await.unwrap();
    let proof = challenged(&world, "dev-1", &tpm).await;
    let world = world.restarted().await;
    let refused = |(status, body): (u16, Value)| {
        assert_eq!((status, &body["errorCode"]), (401, &json!(401_002)), "{body}");
        assert!(body["message"].as_str().unwrap().contains("ask for a new one"), "{body}");
    };
    let (status, body) = put(&world, "dev-1", &tpm, Some(&proof)).await;
    assert_eq!((status, &body["status"]), (202, &json!("assigned")), "{body}");
    refused(put(&world, "dev-1", &tpm, Some(&proof)).await);
    let world = world.restarted().await;
    refused(put(&world, "dev-1", &tpm, Some(&proof)).await);
    world.stop().await;
}

/// Splits an `authenticationKey` into its fields, each with its size.
fn fields(blob: &[u8]) -> Vec<&[u8]> {
    let (mut fields, mut rest) = (Vec::new(), blob);
    while let [high, low, ..] = rest {
        let (field, next) = rest.split_at(2 + usize::from(u16::from_be_bytes([*high, *low])));
        fields.push(field);
        rest = next;
    }
    fields
}

/// tpm2-tools also open the blob, and sign with the key that the hub has.
#[tokio::test(flavor = "multi_thread")]
async fn tpm2_tools_open_the_challenge() {
    let (world, tpm) = (World::start().await, Swtpm::start());
    for (kind, endorsement, storage) in
        [("rsa", "0x81010001", "0x81000001"), ("ecc", "0x81010002", "0x81000002")]
    {
        let id = format!("dev-{kind}");
        enroll(&world, &id, &identity(&tpm, kind).await).await;
        let more = ["--tpm-keys", kind, "--registration-id", &id];
        let state = assigned(&register(&world, &tpm, &more).await);
        let blob = STANDARD.decode(state["tpm"]["authenticationKey"].as_str().unwrap()).unwrap();
        let [id_object, secret, duplicate, seed, area, _] = fields(&blob)[..] else { panic!("{state}") };

        // The header that tpm2-tools expect before the two parts of a credential.
        let header = [0xBA, 0xDC, 0xC0, 0xDE, 0, 0, 0, 1];
        tpm.write("credential", &[&header, id_object, secret].concat());
        tpm.write("duplicate", duplicate);
        tpm.write("seed", seed);
        tpm.write("area", area);
        tpm.write("message", b"what is signed");
        tpm.tool("tpm2_startauthsession", &["--policy-session", "-S", "session"]);
        tpm.tool("tpm2_policysecret", &["-S", "session", "-c", "e"]);
        let activate =
            ["-c", storage, "-C", endorsement, "-i", "credential", "-o", "inner", "-P", "session:session"];
        tpm.tool("tpm2_activatecredential", &activate);
        tpm.tool("tpm2_flushcontext", &["session"]);
        let import =
            ["-C", storage, "-u", "area", "-i", "duplicate", "-s", "seed", "-k", "inner", "-r", "private"];
        tpm.tool("tpm2_import", &import);
        tpm.tool("tpm2_load", &["-C", storage, "-u", "area", "-r", "private", "-c", "key"]);
        let signed = tpm.tool("tpm2_hmac", &["-c", "key", "-g", "sha256", "message"]).stdout;
        tpm.tool("tpm2_flushcontext", &["-t"]);

        let hub =
            world.emulator.info().hubs.iter().find(|hub| hub.host_name == state["assignedHub"]).unwrap();
        let connection = ConnectionString::parse(&hub.connection_string).unwrap();
        let mut registry =
            HubRegistry::new(&connection, world.emulator.info().ports.https, trust(&world)).unwrap();
        let at_hub = registry.device(&DeviceId::parse(&id).unwrap()).await.unwrap().unwrap();
        let key = at_hub.pointer("/authentication/symmetricKey/primaryKey").and_then(Value::as_str).unwrap();
        let key = SymmetricKey::parse(key).unwrap();
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key.as_bytes());
        let expected = aws_lc_rs::hmac::sign(&key, b"what is signed");
        assert_eq!(signed, expected.as_ref(), "{kind}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_tpm_is_reported() {
    let ended = muster(["device", "tpm-identity", "--tpm", "swtpm:127.0.0.1:1"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("swtpm:127.0.0.1:1: the TPM cannot be reached"), "{ended:?}");
    let ended = muster(["device", "tpm-identity", "--tpm", "tpm0"]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("must be a device such as /dev/tpmrm0, or swtpm:HOST:PORT"), "{ended:?}");
}
