//! `muster device register` against an emulator.

use serde_json::json;
use testkit::ca::{Authority, Identity, Profile};

use crate::program::{ProgramOutput, World};

async fn register(world: &World, id: &str, more: &[&str]) -> ProgramOutput {
    let more = [&["--registration-id", id], more].concat();
    world.muster(&["device", "register"], &more).await
}

#[track_caller]
fn check(ended: &ProgramOutput, id: &str) {
    assert_eq!(ended.code, 0, "{ended:?}");
    let state = ended.json();
    assert_eq!((&state["registrationId"], &state["status"]), (&json!(id), &json!("assigned")), "{ended:?}");
    assert!(state["assignedHub"].as_str().unwrap().starts_with("127.0.0.1"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_registers_with_each_kind_of_key() {
    let world = World::start().await;
    let enrollment = json!({"registrationId": "own-key", "attestation": {"type": "symmetricKey"}});
    let enrollment = world.service().create_enrollment(&enrollment).await.unwrap();
    let group = json!({"enrollmentGroupId": "keys", "attestation": {"type": "symmetricKey"}});
    let group = world.service().create_group(&group).await.unwrap();
    for transport in ["https", "mqtt"] {
        let transport = ["--transport", transport];
        check(&register(&world, "sample-1", &transport).await, "sample-1");
        for slot in ["primaryKey", "secondaryKey"] {
            let key = enrollment["attestation"]["symmetricKey"][slot].as_str().unwrap();
            let arguments = [&transport[..], &["--key", key, "--payload", "{\"model\":7}"]].concat();
            check(&register(&world, "own-key", &arguments).await, "own-key");
            let key = group["attestation"]["symmetricKey"][slot].as_str().unwrap();
            let arguments = [&transport[..], &["--group-key", key]].concat();
            check(&register(&world, "member-1", &arguments).await, "member-1");
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_registers_with_each_kind_of_certificate() {
    let world = World::start().await;
    let lone = Identity::self_signed(&Profile::device("lone"));
    let client = json!({"clientCertificates": {"primary": {"certificate": lone.pem()}}});
    let enrollment = json!({"registrationId": "lone", "attestation": {"type": "x509", "x509": client}});
    world.service().create_enrollment(&enrollment).await.unwrap();

    let root = Authority::root("Root");
    let factory = root.intermediate("Factory");
    let member = factory.device("member");
    world.enroll_ca("factory", &root).await;
    let chain = format!("{}{}", member.pem(), factory.identity().pem());

    for transport in ["https", "mqtt"] {
        for (id, chain, identity) in [("lone", &lone.pem(), &lone), ("member", &chain, &member)] {
            let (chain, key) =
                (world.write("chain.pem", chain), world.write("leaf.key", &identity.key_pem()));
            let arguments = ["--transport", transport, "--cert", &chain, "--cert-key", &key, "--json"];
            let ended = register(&world, id, &arguments).await;
            check(&ended, id);
            assert_eq!(ended.stdout.lines().count(), 1, "--json prints one line");
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_fails_if_the_device_is_not_assigned() {
    let world = World::start().await;
    let wrong = model::SymmetricKey::from_bytes(&[9; 32]).unwrap().to_base64();
    let disabled = json!({"registrationId": "off", "attestation": {"type": "symmetricKey"}, "provisioningStatus": "disabled"});
    let enrollment = world.service().create_enrollment(&disabled).await.unwrap();
    let key = enrollment["attestation"]["symmetricKey"]["primaryKey"].as_str().unwrap();
    for transport in ["https", "mqtt"] {
        let ended = register(&world, "sample-1", &["--transport", transport, "--key", &wrong]).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
        assert!(ended.stderr.contains("sample-1 was not assigned: refused: 401"), "{ended:?}");

        let ended = register(&world, "off", &["--transport", transport, "--key", key]).await;
        assert_eq!((ended.code, &ended.json()["status"]), (1, &json!("disabled")), "{ended:?}");
    }
    world.stop().await;
}
