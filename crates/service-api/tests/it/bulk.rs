//! Bulk operations: independent items in one commit.

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
async fn each_mode_of_a_bulk_operation_works() {
    let world = World::new().await;
    let items = || (0..10).map(|n| individual(&format!("dev-{n}"))).collect::<Vec<_>>();
    assert_eq!(send(&world, bulk("create", items())).await, success());
    let created = world.get("/enrollments/dev-3").send().await.ok();
    let unread = send(&world, bulk("update", items())).await;
    assert_eq!(unread["errors"][9]["errorCode"], 409_201, "as recorded of the hosted service");
    let read = items().into_iter().map(|mut item| {
        item["etag"] = json!("anything");
        item
    });
    assert_eq!(send(&world, bulk("update", read.collect())).await, success());
    let updated = world.get("/enrollments/dev-3").send().await.ok();
    assert_ne!(created["etag"], updated["etag"]);
    // An item as a client reads it, changes it, and sends it back.
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
        let mut there = individual("new");
        there["etag"] = json!("*");
        let result = send(&world, bulk(mode, vec![individual("none"), there])).await;
        assert_eq!(result["errors"].as_array().unwrap().len(), 1, "{mode}");
        assert_eq!(result["errors"][0]["errorCode"], 404_201, "{mode}");
    }
    world.get("/enrollments/new").send().await.refused(404_201);
}

#[tokio::test]
async fn bulk_operations_work_for_groups() {
    let world = World::new().await;
    let body = |mode: &str| json!({"mode": mode, "enrollmentGroups": [group("g-1"), group("g-2")]});
    assert_eq!(world.post("/enrollmentGroups", &body("create")).send().await.ok(), success());
    let result = world.post("/enrollmentgroups/", &body("create")).send().await.ok();
    let exists = json!({"enrollmentGroupId": "g-2", "errorCode": 409_202, "errorStatus": "enrollment group already exists"});
    assert_eq!(result["errors"][1], exists);
    assert_eq!(world.post("/enrollmentGroups", &body("update")).send().await.ok(), result, "without an etag");
    assert_eq!(world.post("/enrollmentGroups", &body("delete")).send().await.ok(), success());
    let result = world.post("/enrollmentGroups", &body("delete")).send().await.ok();
    assert_eq!(result["errors"][0]["errorCode"], 404_204);
}

/// A malformed item does not affect the others, in every mode and for both kinds of enrollments.
#[tokio::test]
async fn an_unreadable_item_fails_alone() {
    let kinds = [
        ("enrollments", "registrationId", individual as fn(&str) -> Value, [404_201, 409_201]),
        ("enrollmentGroups", "enrollmentGroupId", group as fn(&str) -> Value, [404_204, 409_202]),
    ];
    for (collection, id_name, sample, [missing, exists]) in kinds {
        let world = World::new().await;
        let path = format!("/{collection}");
        for (mode, others) in [("create", None), ("update", Some(exists)), ("delete", None)] {
            let bad = [
                (json!("text"), ""),
                (json!({}), ""),
                (json!({id_name: "a b"}), "a b"),
                (json!({id_name: 5}), ""),
                (sample("twice"), "twice"),
            ];
            let mut items = vec![sample("twice"), sample("good")];
            items.extend(bad.iter().map(|(item, _)| item.clone()));
            let result = world.post(&path, &json!({"mode": mode, collection: items})).send().await.ok();
            let errors = result["errors"].as_array().unwrap();
            let named: Vec<_> = errors.iter().map(|error| (&error[id_name], &error["errorCode"])).collect();
            let invalid = bad.iter().map(|(_, id)| (json!(id), json!(400_002)));
            let first = ["twice", "good"].iter().filter_map(|id| Some((json!(id), json!(others?))));
            let expected: Vec<_> = first.chain(invalid).collect();
            let expected: Vec<_> = expected.iter().map(|(id, code)| (id, code)).collect();
            assert_eq!((named, &result["isSuccessful"]), (expected, &json!(false)), "{collection} {mode}");
            let good = world.get(&format!("{path}/good")).send().await;
            match mode {
                "create" => drop(good.ok()),
                "update" => {
                    good.ok();
                }
                _ => drop(good.refused(missing)),
            }
        }
    }
}

#[tokio::test]
async fn bulk_operations_have_one_to_ten_items() {
    let world = World::new().await;
    let before = world.snapshot("one").await;
    let items = |count: usize| (0..count).map(|n| individual(&format!("dev-{n}"))).collect::<Vec<_>>();
    for body in [bulk("create", items(0)), bulk("create", items(11)), bulk("replace", items(1))] {
        world.post("/enrollments", &body).send().await.refused(400_002);
    }
    assert_eq!(world.snapshot("one").await, before);
    assert_eq!(send(&world, bulk("create", items(10))).await, success());
}
