//! Import and export of enrollments.

use http::Method;
use serde_json::{Value, json};
use testkit::{
    ca::{Identity, Profile},
    sample,
};

use crate::world::{World, group, individual};

fn keyed(mut enrollment: Value) -> Value {
    let (primary, secondary) = (sample::key(7).to_base64(), sample::key(8).to_base64());
    enrollment["attestation"]["symmetricKey"] = json!({"primaryKey": primary, "secondaryKey": secondary});
    enrollment
}

async fn import(world: &World, items: &[Value], options: Value) -> Value {
    let mut body = options;
    body["enrollments"] = json!(items);
    world.post("/enrollments/import", &body).send().await.ok()
}

fn counts(created: u64, replaced: u64, unchanged: u64) -> Value {
    json!({"created": created, "replaced": replaced, "unchanged": unchanged, "errors": []})
}

#[tokio::test]
async fn a_second_import_changes_nothing() {
    let world = World::new().await;
    let items: Vec<_> = (0..100).map(|number| keyed(individual(&format!("dev-{number}")))).collect();
    assert_eq!(import(&world, &items, json!({"dryRun": true})).await, counts(100, 0, 0));
    world.get("/enrollments/dev-1").send().await.refused(404_201);
    assert_eq!(import(&world, &items, json!({})).await, counts(100, 0, 0));
    let before = world.snapshot("one").await;
    assert_eq!(import(&world, &items, json!({})).await, counts(0, 0, 100));
    assert_eq!(import(&world, &items, json!({"replace": true})).await, counts(0, 0, 100));
    assert_eq!(world.snapshot("one").await, before, "nothing is written, nor counted");

    // Keys that are left out stay, as in any write.
    assert_eq!(import(&world, &[individual("dev-1")], json!({})).await, counts(0, 0, 1));
    let mut changed = items[1].clone();
    changed["provisioningStatus"] = json!("disabled");
    let refused = import(&world, &[items[0].clone(), changed.clone()], json!({})).await;
    assert_eq!((&refused["unchanged"], &refused["errors"][0]["index"]), (&json!(1), &json!(1)));
    assert_eq!(refused["errors"][0]["errorCode"], 409_201, "{refused}");
    let replace = json!({"replace": true, "dryRun": true});
    assert_eq!(import(&world, &[changed.clone()], replace).await, counts(0, 1, 0));
    assert_eq!(world.get("/enrollments/dev-1").send().await.ok()["provisioningStatus"], "enabled");
    assert_eq!(import(&world, &[changed], json!({"replace": true})).await, counts(0, 1, 0));
    assert_eq!(world.get("/enrollments/dev-1").send().await.ok()["provisioningStatus"], "disabled");
}

#[tokio::test]
async fn items_that_fail_leave_the_others_of_an_import_alone() {
    let world = World::new().await;
    let mut unlinked = keyed(individual("unlinked"));
    unlinked["iotHubs"] = json!(["unlinked.test"]);
    let items = [
        individual("keyless"),
        keyed(individual("good")),
        keyed(individual("GOOD")),
        unlinked,
        json!({"registrationId": "a b"}),
        json!(7),
    ];
    let result = import(&world, &items, json!({})).await;
    let errors: Vec<_> = result["errors"].as_array().unwrap().iter().map(|error| &error["index"]).collect();
    assert_eq!(
        (&result["created"], errors),
        (&json!(1), vec![&json!(0), &json!(2), &json!(3), &json!(4), &json!(5)])
    );
    let text = result["errors"][0]["errorStatus"].as_str().unwrap();
    assert!(text.contains("no primary key"), "{text}");
    world.get("/enrollments/good").send().await.ok();
    assert_eq!(
        import(&world, &[individual("keyless")], json!({"generateKeys": true})).await,
        counts(1, 0, 0)
    );
    for count in [0, 101] {
        let items = vec![individual("x"); count];
        world.post("/enrollments/import", &json!({"enrollments": items})).send().await.refused(400_002);
    }
}

/// What one instance exports, another one imports, keys and certificates included; then both export the same.
#[tokio::test]
async fn an_export_is_imported_whole() {
    let world = World::new().await;
    let certificate = json!({"primary": {"certificate": Identity::self_signed(&Profile::ca("Root")).pem()}});
    let mut by_certificate = group("by-certificate");
    by_certificate["attestation"] = json!({"type": "x509", "x509": {"signingCertificates": certificate}});
    let mut settings = keyed(individual("dev-1"));
    settings["initialTwin"] = json!({"tags": {"site": "north"}, "properties": {"desired": {"rate": 7}}});
    settings["optionalDeviceInformation"] = json!({"shelf": 4});
    for enrollment in [settings, individual("dev-2")] {
        let path = format!("/enrollments/{}", enrollment["registrationId"].as_str().unwrap());
        world.put(&path, &enrollment).send().await.ok();
    }
    world.put("/enrollmentGroups/by-certificate", &by_certificate).send().await.ok();
    world.put("/enrollmentGroups/keys", &group("keys")).send().await.ok();
    for (path, list, count) in
        [("/enrollments", "enrollments", 2), ("/enrollmentGroups", "enrollmentGroups", 2)]
    {
        let export = async |scope: &str| {
            let path = format!("{path}/export");
            let mut exported = world.request(Method::POST, &path).of(scope).send().await.ok();
            for enrollment in exported.as_array_mut().unwrap() {
                for stamp in ["etag", "createdDateTimeUtc", "lastUpdatedDateTimeUtc"] {
                    assert!(enrollment.as_object_mut().unwrap().remove(stamp).is_some(), "{enrollment}");
                }
            }
            exported
        };
        let exported = export("one").await;
        let body = json!({list: exported});
        let path = format!("{path}/import");
        assert_eq!(world.post(&path, &body).of("two").send().await.ok(), counts(count, 0, 0), "{exported}");
        assert_eq!(export("two").await, exported);
        assert_eq!(world.post(&path, &body).of("two").send().await.ok(), counts(0, 0, count));
    }
}
