//! Bulk operations: each item on its own, all in one commit.

use serde_json::{Value, json};

use crate::world::{World, group, individual};

fn bulk(mode: &str, items: Vec<Value>) -> Value {
    json!({"mode": mode, "enrollments": items})
}

async fn send(world: &World, body: Value) -> Value {
    world.post("/enrollments/", &body).send().await.ok()
}

fn success() -> Value {
    json!({"isSuccessful": true, "errors": []})
}

#[tokio::test]
async fn the_four_modes() {
    let world = World::new().await;
    let items = || (0..10).map(|n| individual(&format!("dev-{n}"))).collect::<Vec<_>>();
    assert_eq!(send(&world, bulk("create", items())).await, success());
    let created = world.get("/enrollments/dev-3").send().await.ok();
    assert_eq!(send(&world, bulk("update", items())).await, success());
    let updated = world.get("/enrollments/dev-3").send().await.ok();
    assert_ne!(created["etag"], updated["etag"]);
    // The item that a client read, changed and sends back.
    let mut changed = updated.clone();
    changed["provisioningStatus"] = json!("disabled");
    assert_eq!(send(&world, bulk("updateIfMatchETag", vec![changed.clone()])).await, success());
    assert_eq!(world.get("/enrollments/dev-3").send().await.ok()["provisioningStatus"], "disabled");
    let stale = send(&world, bulk("updateIfMatchETag", vec![changed])).await;
    assert_eq!(stale["errors"][0]["errorCode"], 412_000);
    assert_eq!(send(&world, bulk("delete", items())).await, success());
    world.get("/enrollments/dev-3").send().await.refused(404_201);
}

#[tokio::test]
async fn items_that_fail_leave_the_others_alone() {
    let world = World::new().await;
    world.put("/enrollments/there", &individual("there")).send().await.ok();
    let mut unlinked = individual("unlinked");
    unlinked["iotHubs"] = json!(["unlinked.test"]);
    let items = vec![individual("there"), individual("new"), unlinked];
    let result = send(&world, bulk("create", items)).await;
    let expected = json!({"isSuccessful": false, "errors": [
        {"registrationId": "there", "errorCode": 409_201, "errorStatus": "enrollment already exists"},
        {"registrationId": "unlinked", "errorCode": 400_002, "errorStatus": "unlinked.test is not a linked hub"},
    ]});
    assert_eq!(result, expected);
    world.get("/enrollments/new").send().await.ok();
    for mode in ["update", "delete"] {
        let result = send(&world, bulk(mode, vec![individual("none"), individual("new")])).await;
        assert_eq!(result["errors"].as_array().unwrap().len(), 1, "{mode}");
        assert_eq!(result["errors"][0]["errorCode"], 404_201, "{mode}");
    }
    world.get("/enrollments/new").send().await.refused(404_201);
}

#[tokio::test]
async fn groups_in_bulk() {
    let world = World::new().await;
    let body = |mode: &str| json!({"mode": mode, "enrollmentGroups": [group("g-1"), group("g-2")]});
    assert_eq!(world.post("/enrollmentGroups", &body("create")).send().await.ok(), success());
    let result = world.post("/enrollmentgroups/", &body("create")).send().await.ok();
    assert_eq!(result["errors"][1]["enrollmentGroupId"], "g-2");
    assert_eq!(world.post("/enrollmentGroups", &body("delete")).send().await.ok(), success());
    let result = world.post("/enrollmentGroups", &body("delete")).send().await.ok();
    assert_eq!(result["errors"][0]["errorCode"], 404_204);
}

#[tokio::test]
async fn sizes_at_and_past_the_limits() {
    let world = World::new().await;
    let before = world.snapshot("one").await;
    let items = |count: usize| (0..count).map(|n| individual(&format!("dev-{n}"))).collect::<Vec<_>>();
    for body in [
        bulk("create", items(0)),
        bulk("create", items(11)),
        bulk("create", vec![individual("a"), individual("A")]),
        bulk("replace", items(1)),
    ] {
        world.post("/enrollments", &body).send().await.refused(400_002);
    }
    assert_eq!(world.snapshot("one").await, before);
    assert_eq!(send(&world, bulk("create", items(10))).await, success());
}
