//! Symmetric keys: kept by writes, regenerated, and used by devices.

use model::{KeySlot, KeyUse, LastAttestation, Registration};
use serde_json::{Value, json};
use testkit::sample;

use crate::world::{TestReply, World, group, individual};

/// Returns a path and a body for each kind of enrollment.
fn kinds() -> [(&'static str, Value); 2] {
    [("/enrollments/x-1", individual("x-1")), ("/enrollmentGroups/x-1", group("x-1"))]
}

fn keys(reply: &Value) -> [String; 2] {
    ["primaryKey", "secondaryKey"]
        .map(|name| reply["attestation"]["symmetricKey"][name].as_str().unwrap().to_owned())
}

fn warning(reply: &TestReply) -> &str {
    reply.header("x-muster-warning").unwrap_or_default()
}

#[tokio::test]
async fn a_write_without_keys_keeps_them_with_a_warning() {
    let world = World::new().await;
    let given = sample::key(7).to_base64();
    for (path, body) in kinds() {
        let created = world.put(path, &body).send().await;
        assert_eq!(warning(&created), "", "made, not kept");
        let [primary, secondary] = keys(&created.ok());
        for (member, kept) in [
            (json!({"type": "symmetricKey"}), "the primary and secondary keys stayed"),
            (json!({"type": "symmetricKey", "symmetricKey": null}), "the primary and secondary keys stayed"),
            (
                json!({"type": "symmetricKey", "symmetricKey": {"primaryKey": "", "secondaryKey": null}}),
                "the primary and secondary keys stayed",
            ),
            (
                json!({"type": "symmetricKey", "symmetricKey": {"primaryKey": primary, "secondaryKey": ""}}),
                "the secondary key stayed",
            ),
            (
                json!({"type": "symmetricKey", "symmetricKey": {"secondaryKey": secondary}}),
                "the primary key stayed",
            ),
        ] {
            let mut body = body.clone();
            body["attestation"] = member;
            let put = world.put(path, &body).if_match("*").send().await;
            assert_eq!(keys(&put.ok()), [primary.clone(), secondary.clone()]);
            assert!(warning(&put).starts_with(kept), "{put:?}");
            assert!(warning(&put).contains("keys/regenerate"), "{put:?}");
        }
        let mut body = body.clone();
        body["attestation"]["symmetricKey"] = json!({"primaryKey": given, "secondaryKey": secondary});
        let put = world.put(path, &body).if_match("*").send().await;
        assert_eq!((keys(&put.ok()), warning(&put)), ([given.clone(), secondary], ""));
    }
}

#[tokio::test]
async fn a_bulk_update_names_the_enrollments_whose_keys_are_kept() {
    let world = World::new().await;
    for id in ["dev-1", "dev-2"] {
        world.put(&format!("/enrollments/{id}"), &individual(id)).send().await.ok();
    }
    let mut items = [individual("dev-1"), individual("dev-2")];
    items.iter_mut().for_each(|item| item["etag"] = json!("*"));
    let given = json!({"primaryKey": sample::key(1).to_base64(), "secondaryKey": sample::key(2).to_base64()});
    items[0]["attestation"]["symmetricKey"] = given;
    let bulk = world.post("/enrollments", &json!({"mode": "update", "enrollments": items})).send().await;
    assert_eq!(bulk.ok()["isSuccessful"], true);
    assert!(warning(&bulk).starts_with("dev-2: the primary and secondary keys stayed"), "{bulk:?}");
}

#[tokio::test]
async fn one_key_or_both_are_regenerated() {
    let world = World::new().await;
    for (path, body) in kinds() {
        let created = world.put(path, &body).send().await.ok();
        let regenerate = async |body: &Value, if_match: Option<&str>| {
            let request = world.post(&format!("{path}/keys/regenerate"), body);
            match if_match {
                Some(etag) => request.if_match(etag).send().await,
                None => request.send().await,
            }
        };
        let before = keys(&created);
        let reply = regenerate(&json!({"keys": "secondary"}), created["etag"].as_str()).await;
        assert!(warning(&reply).contains("until that device registers again"), "{reply:?}");
        let first = reply.ok();
        assert_eq!(keys(&first)[0], before[0]);
        assert_ne!(keys(&first)[1], before[1]);
        let both = keys(&regenerate(&json!({"keys": "both"}), Some("*")).await.ok());
        let one = keys(&regenerate(&json!({"keys": "primary"}), None).await.ok());
        assert!(both[0] != before[0] && both[1] != keys(&first)[1] && one[0] != both[0] && one[1] == both[1]);

        // An old version changes nothing, and neither does a body without a selection.
        regenerate(&json!({"keys": "both"}), created["etag"].as_str()).await.refused(412_000);
        for body in [json!({}), json!({"keys": "all"}), json!({"keys": ["primary"]}), json!([])] {
            regenerate(&body, None).await.refused(400_002);
        }
        let mechanism = world.post(&format!("{path}/attestationmechanism"), &json!({})).send().await.ok();
        assert_eq!(mechanism["symmetricKey"]["primaryKey"], json!(one[0]));
        assert_eq!(mechanism["symmetricKey"]["secondaryKey"], json!(one[1]));
    }
    let nowhere = world.post("/enrollments/none/keys/regenerate", &json!({"keys": "both"}));
    nowhere.if_match("*").send().await.refused(404_201);
    let nowhere = world.post("/enrollmentGroups/none/keys/regenerate", &json!({"keys": "both"}));
    nowhere.send().await.refused(404_204);

    let tpm = json!({"type": "tpm", "tpm": {"endorsementKey": sample::tpm_identity(7, 8).endorsement_key.to_base64()}});
    let body = json!({"registrationId": "dev-t", "attestation": tpm});
    world.put("/enrollments/dev-t", &body).send().await.ok();
    let refused = world.post("/enrollments/dev-t/keys/regenerate", &json!({"keys": "both"})).send().await;
    assert!(refused.refused(400_002).contains("has no symmetric keys"), "{refused:?}");
}

#[tokio::test]
async fn registrations_show_the_key_that_the_device_used() {
    let world = World::new().await;
    let ours = sample::keys(40);
    let mut body = individual("dev-1");
    let given = json!({"primaryKey": ours.primary.to_base64(), "secondaryKey": ours.secondary.to_base64()});
    body["attestation"]["symmetricKey"] = given;
    world.put("/enrollments/dev-1", &body).send().await.ok();
    let attestation = LastAttestation::SymmetricKey(Some(KeyUse::of(&ours, KeySlot::Secondary)));
    world.register("one", Registration { attestation, ..sample::registration("dev-1") }).await;
    let seen = async || {
        let listed = world.get("/registrations?status=assigned").send().await.ok();
        let explained = world.get("/registrations/dev-1/explanation").send().await.ok();
        assert_eq!(listed[0]["attestationKey"], explained["attestationKey"]);
        let state = world.get("/registrations/dev-1").send().await.ok();
        assert_eq!(state.get("attestationKey"), None, "Azure's clients see what they know");
        (explained["attestationKey"].clone(), explained["explanation"][1].as_str().unwrap().to_owned())
    };
    let (key, sentence) = seen().await;
    assert_eq!(key, json!({"slot": "secondary", "isReplaced": false}));
    assert_eq!(sentence, "It last proved itself by the secondary key of its enrollment.");
    world.post("/enrollments/dev-1/keys/regenerate", &json!({"keys": "primary"})).send().await.ok();
    assert_eq!(seen().await.0, key, "of another key");
    world.post("/enrollments/dev-1/keys/regenerate", &json!({"keys": "secondary"})).send().await.ok();
    let (key, sentence) = seen().await;
    assert_eq!(key, json!({"slot": "secondary", "isReplaced": true}));
    assert!(sentence.contains("does not have any more, then the secondary one"), "{sentence}");
    let tpm = sample::tpm_identity(7, 8).endorsement_key.to_base64();
    body["attestation"] = json!({"type": "tpm", "tpm": {"endorsementKey": tpm}});
    world.put("/enrollments/dev-1", &body).if_match("*").send().await.ok();
    assert_eq!(seen().await.0, key, "without keys");
}
