//! Registrations: shown with their enrollment and alone, listed by group, deleted, never edited.

use http::Method;
use serde_json::json;
use testkit::sample;

use crate::world::{World, group, individual};

#[tokio::test]
async fn a_registration_is_shown_with_its_enrollment_and_goes_alone() {
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
    assert_eq!(enrollment.get("registrationState"), None);
    for method in [Method::PUT, Method::PATCH, Method::POST] {
        world.ask(method, "/registrations/dev-1").send().await.refused(405_000);
    }
}

#[tokio::test]
async fn a_group_lists_its_registrations_with_or_without_a_query() {
    let world = World::new().await;
    let path = "/registrations/group-1/query";
    world.ask(Method::POST, path).send().await.refused(404_204);
    world.put("/enrollmentGroups/group-1", &group("group-1")).send().await.ok();
    assert_eq!(world.ask(Method::POST, path).send().await.ok(), json!([]));
    world.register("one", sample::registration_of("dev-1", "group-1")).await;
    world.register("one", sample::registration_of("dev-2", "group-2")).await;
    for ask in
        [world.ask(Method::POST, path), world.post(path, &json!({"query": "SELECT * FROM enrollmentGroups"}))]
    {
        let answer = ask.send().await;
        assert_eq!(answer.header("x-ms-item-type"), Some("DeviceRegistration"));
        assert_eq!(answer.ok()[0]["registrationId"], "dev-1");
        assert_eq!(answer.ok().as_array().unwrap().len(), 1);
    }
    // What a deleted group leaves behind stays in sight.
    world.delete("/enrollmentGroups/group-1").send().await.deleted();
    assert_eq!(world.ask(Method::POST, path).send().await.ok().as_array().unwrap().len(), 1);
}
