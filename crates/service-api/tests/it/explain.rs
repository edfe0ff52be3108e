//! Explanations: why a device would be admitted or refused, without registering it.

use serde_json::{Value, json};
use testkit::{
    ca::{Authority, Profile},
    sample,
};

use crate::world::{World, group, individual};

const GROUP: &str = "group-1";

/// Creates a world with an X.509 group, a symmetric key group, and an individual enrollment with a symmetric key.
async fn world(root: &Authority) -> World {
    let world = World::new().await;
    let certificates = json!({"primary": {"certificate": root.identity().pem()}});
    let attestation = json!({"type": "x509", "x509": {"signingCertificates": certificates}});
    let by_certificate = json!({"enrollmentGroupId": "factory", "attestation": attestation});
    world.put("/enrollmentGroups/factory", &by_certificate).send().await.ok();
    world.put(&format!("/enrollmentGroups/{GROUP}"), &group(GROUP)).send().await.ok();
    world.put("/enrollments/dev-9", &individual("dev-9")).send().await.ok();
    world
}

async fn explain(world: &World, device: &Value) -> Value {
    world.post("/attestation/explain", device).send().await.ok()
}

fn token(id: &str, key: &model::SymmetricKey) -> String {
    wire::sas::sign(&format!("one/registrations/{id}"), key.as_bytes(), 4_000_000_000, Some("registration"))
}

#[tokio::test]
async fn the_explanation_follows_a_chain_to_its_group() {
    let root = Authority::root("Root");
    let world = world(&root).await;
    let line = root.intermediate("Line");
    let device = |sent: &[String]| json!({"registrationId": "dev-1", "certificates": sent});
    let leaf = line.device("dev-1").pem();

    let explained = explain(&world, &device(&[leaf.clone(), line.identity().pem()])).await;
    assert_eq!(explained["outcome"], "admitted");
    let factory = json!({"type": "group", "enrollmentGroupId": "factory"});
    assert_eq!(explained["enrollment"], factory);
    let considered =
        json!([{"enrollment": factory, "verdict": "fits", "path": ["CN=dev-1", "CN=Line", "CN=Root"]}]);
    assert_eq!(explained["considered"], considered);
    let presented = explained["presented"][0].as_str().unwrap();
    assert!(
        presented.starts_with("certificate 1, the leaf: CN=dev-1, issued by CN=Line, valid"),
        "{presented}"
    );

    let explained = explain(&world, &device(std::slice::from_ref(&leaf))).await;
    assert_eq!(explained["outcome"], "refused");
    let reason = explained["reason"].as_str().unwrap();
    assert!(reason.contains("issued CN=dev-1; missing is CN=Line"), "{reason}");

    let expired = root.authority(&Profile::ca("Line").expired());
    let again = [expired.device("dev-1").pem(), expired.identity().pem()];
    let explained = explain(&world, &device(&again)).await;
    assert!(
        explained["unfitCertificates"][0].as_str().unwrap().starts_with("CN=Line: expired"),
        "{explained}"
    );
    assert_eq!(explained["considered"][0]["verdict"], "refuses");
}

#[tokio::test]
async fn the_explanation_tries_a_token_with_every_group() {
    let root = Authority::root("Root");
    let world = world(&root).await;
    let secrets =
        world.post(&format!("/enrollmentGroups/{GROUP}/attestationmechanism"), &json!({})).send().await;
    let key = secrets.ok()["symmetricKey"]["primaryKey"].as_str().unwrap().to_owned();
    let key = model::SymmetricKey::parse(&key).unwrap();
    let device = |id: &str, token: String| json!({"registrationId": id, "sasToken": token});

    let explained = explain(&world, &device("dev-1", token("dev-1", &key.derive("dev-1")))).await;
    assert_eq!(explained["enrollment"]["enrollmentGroupId"], GROUP);
    let explained = explain(&world, &device("dev-1", token("dev-1", &key))).await;
    assert_eq!(explained["considered"][0]["reason"], "the SAS token's signature fits neither key");
    let explained = explain(&world, &device("dev-1", token("dev-2", &key))).await;
    assert!(explained["reason"].as_str().unwrap().contains("not for this registration"), "{explained}");
    assert!(!explained.to_string().contains(key.to_base64().as_str()), "no key is returned");
}

#[tokio::test]
async fn an_individual_enrollment_takes_precedence_in_the_explanation() {
    let root = Authority::root("Root");
    let world = world(&root).await;
    let leaf = root.device("dev-9").pem();
    let explained = explain(&world, &json!({"registrationId": "dev-9", "certificates": [leaf]})).await;
    assert_eq!(explained["reason"], "the enrollment wants a SAS token and the device sent none");
    let considered = explained["considered"].as_array().unwrap();
    assert_eq!(considered.len(), 1, "the group that its certificate leads to is not asked: {explained}");
    let reason = considered[0]["reason"].as_str().unwrap();
    assert!(reason.contains("an individual enrollment alone decides about its registration ID"), "{reason}");

    let disabled = json!({"provisioningStatus": "disabled", "registrationId": "dev-8",
        "attestation": {"type": "symmetricKey", "symmetricKey":
            {"primaryKey": sample::key(8).to_base64(), "secondaryKey": sample::key(9).to_base64()}}});
    world.put("/enrollments/dev-8", &disabled).send().await.ok();
    let with_token = json!({"registrationId": "dev-8", "sasToken": token("dev-8", &sample::key(8))});
    assert_eq!(explain(&world, &with_token).await["outcome"], "disabled");
    let nothing = explain(&world, &json!({"registrationId": "dev-7"})).await;
    assert_eq!(
        nothing["reason"],
        "the device sent neither a SAS token, a client certificate nor the keys of a TPM"
    );
    assert_eq!((&nothing["presented"], &nothing["considered"]), (&json!([]), &json!([])));
}

#[tokio::test]
async fn the_explanation_names_a_wrong_id_scope() {
    let world = World::new().await;
    let explained = explain(&world, &json!({"registrationId": "dev-1", "idScope": "two"})).await;
    assert_eq!(explained["reason"], "the device addresses the ID scope two, which is not this instance's");
}

#[tokio::test]
async fn an_explanation_writes_and_counts_nothing() {
    let root = Authority::root("Root");
    let world = world(&root).await;
    let before = world.snapshot("one").await;
    let leaf = root.device("dev-1").pem();
    assert_eq!(
        explain(&world, &json!({"registrationId": "dev-1", "certificates": [leaf]})).await["outcome"],
        "admitted"
    );
    assert_eq!(world.snapshot("one").await, before);
}

#[tokio::test]
async fn the_explanation_names_the_first_of_many_groups() {
    let world = World::new().await;
    for number in 0..30 {
        let id = format!("group-{number:02}");
        world.put(&format!("/enrollmentGroups/{id}"), &group(&id)).send().await.ok();
    }
    let device = json!({"registrationId": "dev-1", "sasToken": token("dev-1", &sample::key(1))});
    let explained = explain(&world, &device).await;
    assert_eq!((explained["considered"].as_array().unwrap().len(), &explained["omitted"]), (19, &json!(11)));
}
