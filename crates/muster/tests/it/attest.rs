//! `muster attest explain` against an emulator.

use serde_json::json;
use testkit::{
    ca::Authority,
    sample,
    tpm::{Kind, SoftTpm},
};

use crate::program::{ProgramOutput, World};

async fn explain(world: &World, more: &[&str]) -> ProgramOutput {
    world.muster(&["attest", "explain"], more).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_explanation_names_why_a_device_is_admitted_or_refused() {
    let world = World::start().await;
    let root = Authority::root("Root");
    let factory = root.intermediate("Factory");
    world.enroll_ca("factory", &root).await;
    let leaf = factory.device("device-1");
    let chain = world.write("chain.pem", &format!("{}{}", leaf.pem(), factory.identity().pem()));
    let alone = world.write("leaf.pem", &leaf.pem());

    let ended = explain(&world, &["--registration-id", "device-1", "--cert", &chain]).await;
    assert_eq!(
        (ended.code, ended.last_line()),
        (0, "outcome     admitted by the group factory"),
        "{ended:?}"
    );
    let path = "the group factory fits: CN=device-1 ← CN=Factory ← CN=Root";
    assert!(ended.stdout.contains(path), "{ended:?}");

    let ended = explain(&world, &["--registration-id", "device-1", "--cert", &alone]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.last_line().contains("missing is CN=Factory"), "{ended:?}");

    let ended = explain(&world, &["--registration-id", "other", "--cert", &chain, "--json"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    let reason = r#"the leaf's common name is "device-1", not the registration ID"#;
    assert_eq!((&ended.json()["outcome"], &ended.json()["reason"]), (&json!("refused"), &json!(reason)));

    let ended = explain(&world, &["--registration-id", "device-1", "--id-scope", "0neFFFFFFFF"]).await;
    assert!(ended.last_line().contains("which is not this instance's"), "{ended:?}");
    let ended = explain(&world, &["--registration-id", "device-1", "--sas-token", "rubbish"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("sasToken"), "{ended:?}");
    world.stop().await;
}

/// A device with such a chain cannot connect, even if a group's certificate or its symmetric key would admit it.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_the_tls_handshake_refuses_admits_nothing() {
    let world = World::start().await;
    let root = Authority::root("Root");
    world.enroll_ca("factory", &root).await;
    let key = sample::key(1);
    let attestation = json!({"type": "symmetricKey", "symmetricKey": {
        "primaryKey": key.to_base64(), "secondaryKey": key.to_base64()}});
    let enrollment = json!({"registrationId": "by-key", "attestation": attestation});
    world.service().create_enrollment(&enrollment).await.unwrap();
    let leaf = root.device("device-1");
    let chain = std::iter::once(leaf.pem()).chain(std::iter::repeat_n(root.identity().pem(), 10));
    let chain = world.write("chain.pem", &chain.collect::<String>());
    let alone = world.write("leaf.pem", &leaf.pem());
    let resource = format!("{}/registrations/by-key", world.emulator.info().id_scope);
    let token = wire::sas::sign(&resource, key.as_bytes(), 4_102_444_800, Some("registration"));
    for presented in
        [&["--registration-id", "device-1"][..], &["--registration-id", "by-key", "--sas-token", &token]]
    {
        let ended = explain(&world, &[presented, &["--cert", &alone]].concat()).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        let ended = explain(&world, &[presented, &["--cert", &chain]].concat()).await;
        let refused =
            "outcome     refused: the TLS handshake refuses the client's chain: it has 11 certificates";
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.last_line().starts_with(refused), "{ended:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_explanation_names_whether_a_tpm_is_challenged() {
    let world = World::start().await;
    let [tpm, other] = [(); 2].map(|()| SoftTpm::new(Kind::Rsa, Kind::Rsa));
    let endorsement_key = &tpm.identity().endorsement_key;
    let attestation = json!({"type": "tpm", "tpm": {"endorsementKey": endorsement_key}});
    let enrollment = json!({"registrationId": "tpm-1", "attestation": attestation});
    world.service().create_enrollment(&enrollment).await.unwrap();
    let [own, foreign] = [&tpm, &other].map(|tpm| tpm.identity().endorsement_key.to_base64());
    let storage = tpm.identity().storage_root_key.to_base64();
    let resource = format!("{}/registrations/tpm-1", world.emulator.info().id_scope);
    let token = wire::sas::sign(&resource, sample::key(1).as_bytes(), 4_102_444_800, Some("registration"));
    for (presented, code, outcome) in [
        (
            &["--endorsement-key", &own, "--storage-root-key", &storage][..],
            0,
            "challenged: admitted as soon as its TPM opens the challenge",
        ),
        (
            &["--endorsement-key", &own],
            1,
            "refused: the device did not send its TPM's storage root key, which is not known yet",
        ),
        (
            &["--endorsement-key", &foreign, "--storage-root-key", &storage],
            1,
            "refused: the TPM's endorsement key is not the enrolled one",
        ),
        (&[], 1, "refused: the enrollment wants a TPM and the device named none"),
        (
            &["--sas-token", &token],
            1,
            "refused: the SAS token was not signed with the key of a TPM challenge that is open",
        ),
    ] {
        let ended = explain(&world, &[&["--registration-id", "tpm-1"], presented].concat()).await;
        assert_eq!(ended.code, code, "{presented:?}: {ended:?}");
        let last_line = ended.last_line().strip_prefix("outcome     ");
        assert!(
            last_line.is_some_and(|last_line| last_line.starts_with(outcome)),
            "{presented:?}: {ended:?}"
        );
        let named = presented.contains(&"--endorsement-key");
        assert_eq!(ended.stdout.contains("a TPM whose endorsement key has the SHA-256"), named, "{ended:?}");
    }
    let ended = explain(&world, &["--registration-id", "tpm-1", "--endorsement-key", "rubbish"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
    assert!(ended.stderr.contains("tpm.endorsementKey"), "{ended:?}");
    let ended = explain(&world, &["--registration-id", "tpm-1", "--storage-root-key", &storage]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_attempts_are_stored_for_the_operator() {
    let world = World::start().await;
    let key = testkit::sample::key(77).to_base64();
    let register = ["--registration-id", "device-1", "--key", &key];
    let refused = world.muster(&["device", "register"], &register).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(!refused.stderr.contains("signature"), "the device gets no detailed reason: {refused:?}");

    let mut attempts = String::new();
    for _ in 0..50 {
        attempts = world.muster(&["registration", "attempts", "device-1"], &[]).await.stdout;
        if attempts.contains("from 127.0.0.1") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert!(attempts.contains("refuses: the SAS token's signature fits neither key"), "{attempts}");
    let explained = explain(&world, &["--registration-id", "device-1"]).await;
    assert!(explained.stdout.contains("from 127.0.0.1: refused: the SAS token's signature"), "{explained:?}");
    let found = world.muster(&["registration", "attempts"], &["--reason", "wrongKey", "--since", "1h"]).await;
    assert!(found.stdout.contains("device-1") && found.stdout.contains("127.0.0.1"), "{found:?}");
    let none = world.muster(&["registration", "attempts"], &["--reason", "revoked"]).await;
    assert_eq!((none.code, none.stdout.trim()), (0, "no refused attempt is stored"));
    let why = world.muster(&["why", "device-1"], &[]).await;
    assert!(why.stdout.contains("attempt       refused from 127.0.0.1: wrongKey: "), "{why:?}");
    assert!(why.last_line().starts_with("next: Compare the key of the device"), "{why:?}");
    let none = world.muster(&["registration", "attempts", "device-2"], &[]).await;
    assert_eq!((none.code, none.stdout.trim()), (0, "no refused attempt of device-2 is stored"));
    world.stop().await;
}
