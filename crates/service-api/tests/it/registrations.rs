//! Registrations: read, listed, explained, canceled and deleted.

use http::Method;
use model::{CleanupHold, HoldReason, Instance};
use serde_json::{Value, json};
use testkit::sample;

use crate::world::{World, group, individual};

#[tokio::test]
async fn a_registration_is_returned_with_its_enrollment_and_deleted_alone() {
    let world = World::new().await;
    world.put("/enrollments/dev-1", &individual("dev-1")).send().await.ok();
    world.register("one", sample::registration("dev-1")).await;
    let registration = world.get("/registrations/DEV-1").send().await.ok();
    assert_eq!(registration["registrationId"], "dev-1");
    assert_eq!(registration["status"], "assigned");
    assert_eq!(registration["substatus"], "initialAssignment");
    assert_eq!(world.get("/enrollments/dev-1").send().await.ok()["registrationState"], registration);

    let etag = registration["etag"].as_str().unwrap();
    world.delete("/registrations/dev-1").if_match("\"other\"").send().await.refused(412_000);
    world.delete("/registrations/dev-1").if_match(etag).send().await.deleted();
    world.delete("/registrations/dev-1").send().await.refused(404_202);
    world.get("/registrations/dev-1").send().await.refused(404_202);
    let enrollment = world.get("/enrollments/dev-1").send().await.ok();
    assert_eq!(enrollment["registrationState"], json!({"registrationId": "dev-1", "status": "unassigned"}));
    for method in [Method::PUT, Method::PATCH, Method::POST] {
        world.request(method, "/registrations/dev-1").send().await.refused(405_000);
    }
}

#[tokio::test]
async fn a_group_lists_its_registrations_with_or_without_a_query() {
    let world = World::new().await;
    let path = "/registrations/group-1/query";
    world.request(Method::POST, path).send().await.refused(404_204);
    world.put("/enrollmentGroups/group-1", &group("group-1")).send().await.ok();
    assert_eq!(world.request(Method::POST, path).send().await.ok(), json!([]));
    world.register("one", sample::registration_of("dev-1", "group-1")).await;
    world.register("one", sample::registration_of("dev-2", "group-2")).await;
    for request in [
        world.request(Method::POST, path),
        world.post(path, &json!({"query": "SELECT * FROM enrollmentGroups"})),
    ] {
        let reply = request.send().await;
        assert_eq!(reply.header("x-ms-item-type"), Some("DeviceRegistration"));
        assert_eq!(reply.ok()[0]["registrationId"], "dev-1");
        assert_eq!(reply.ok().as_array().unwrap().len(), 1);
    }
    // The registrations of a deleted group remain.
    world.delete("/enrollmentGroups/group-1").send().await.deleted();
    assert_eq!(world.request(Method::POST, path).send().await.ok().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn registrations_are_listed_by_status_in_pages() {
    let world = World::new().await;
    for number in 0..3 {
        let registration = sample::registration(&format!("busy-{number}"));
        world.register("one", sample::while_assigning(registration)).await;
    }
    world.register("one", sample::registration_of("done", "group-1")).await;
    let first = world.get("/registrations?status=ASSIGNING").header("x-ms-max-item-count", "2").send().await;
    let token = first.header("x-ms-continuation").unwrap().to_owned();
    let listed = first.ok();
    assert_eq!((&listed[0]["registrationId"], listed.as_array().unwrap().len()), (&json!("busy-0"), 2));
    let pending = &listed[0]["pending"];
    assert_eq!((&pending["iotHub"], &pending["attempts"]), (&json!("hub-1.example"), &json!(0)));
    let rest = world.get("/registrations?status=assigning").header("x-ms-continuation", &token).send().await;
    assert_eq!((rest.header("x-ms-continuation"), &rest.ok()[0]["registrationId"]), (None, &json!("busy-2")));
    let done = world.get("/registrations?status=assigned").send().await.ok();
    assert_eq!((&done[0]["registrationId"], done[0].get("pending")), (&json!("done"), None));
    let message = world.get("/registrations?status=lost").send().await.refused(400_002);
    assert!(message.contains("assigning, assigned, failed, disabled"), "{message}");
    let all = world.get("/registrations").header("x-ms-max-item-count", "3").send().await;
    let token = all.header("x-ms-continuation").unwrap().to_owned();
    let rest = world.get("/registrations").header("x-ms-continuation", &token).send().await.ok();
    let ids = |listed: &Value| {
        let ids = listed.as_array().unwrap().iter().map(|it| it["registrationId"].as_str().unwrap());
        ids.map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!((ids(&all.ok()), ids(&rest)), ("busy-0 busy-1 busy-2".to_owned(), "done".to_owned()));
}

#[tokio::test]
async fn an_assignment_is_canceled_and_explained() {
    let world = World::new().await;
    let busy = sample::while_assigning(sample::registration("dev-1"));
    world.register("one", busy.clone()).await;
    let explained = world.get("/registrations/dev-1/explanation").send().await.ok();
    assert!(
        explained["explanation"][0].as_str().unwrap().contains("hub-1.example is to be called"),
        "{explained}"
    );
    let path = "/registrations/dev-1/cancel";
    world.request(Method::POST, path).if_match("\"other\"").send().await.refused(412_000);
    let canceled = world.request(Method::POST, path).send().await.ok();
    assert_eq!((&canceled["status"], &canceled["errorCode"]), (&json!("failed"), &json!(409_205)));
    world.request(Method::POST, path).send().await.refused(400_002);
    world.request(Method::POST, "/registrations/dev-2/cancel").send().await.refused(404_202);

    let left = world.get("/cleanups").send().await;
    assert_eq!(left.header("x-ms-item-type"), Some("Cleanup"));
    let left = left.ok();
    assert_eq!((&left[0]["iotHub"], &left[0]["cause"]), (&json!("hub-1.example"), &json!("cancelled")));
    assert_eq!((&left[0]["deviceId"], &left[0]["registrationId"]), (&json!("dev-1"), &json!("dev-1")));
    assert_eq!(left[0].get("reason"), None, "it will be tried");
    world.delete("/linkedHubs/hub-1.example").send().await.deleted();
    let left = world.get("/cleanups").send().await.ok();
    assert_eq!(left[0]["reason"], "hub-1.example is not linked: this waits until it is");
    world.delete("/cleanups/hub-1.example%2Fdev-1").send().await.deleted();
    world.delete("/cleanups/hub-1.example%2Fdev-1").send().await.refused(404_210);
    world.delete("/cleanups/no-slash").send().await.refused(400_002);
    assert_eq!(world.get("/cleanups").send().await.ok(), json!([]));
}

/// The state after a restore of the database from a backup.
#[tokio::test]
async fn held_cleanups_are_released_by_confirmation() {
    let world = World::new().await;
    world.register("one", sample::while_assigning(sample::registration("dev-1"))).await;
    world.request(Method::POST, "/registrations/dev-1/cancel").send().await.ok();
    let due = async || {
        let instance = world.store.instance(&sample::scope("one")).await.unwrap().unwrap();
        let hub = sample::hub_name("hub-1.example");
        world.provisioning.cleanups_due(&instance, &hub, 10).await.unwrap().len()
    };
    assert_eq!(due().await, 1);
    let instance = world.store.instance(&sample::scope("one")).await.unwrap().unwrap();
    let hold = CleanupHold { reason: HoldReason::Restored, since: sample::record("a").created };
    let held = Instance { cleanups_held: Some(hold), ..Instance::clone(&instance) };
    world.store.put_instance(held, sample::by()).await.unwrap();

    assert_eq!(due().await, 0);
    let shown = world.get("/cleanups").send().await.ok();
    let reason = "the database was restored from a backup: this waits until it is confirmed";
    assert_eq!(shown[0]["reason"], reason, "{shown}");
    world.request(Method::POST, "/cleanups/confirm").of("two").send().await.deleted();
    assert_eq!(due().await, 0, "another instance confirms for itself");
    for _ in 0..2 {
        world.request(Method::POST, "/cleanups/confirm").send().await.deleted();
        assert_eq!(due().await, 1);
    }
    assert_eq!(world.get("/cleanups").send().await.ok()[0].get("reason"), None);
}
