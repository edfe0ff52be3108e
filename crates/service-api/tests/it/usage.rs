//! Metering: each successful call is counted once, and no other call.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use testkit::sample;

use crate::world::{World, group, individual};

async fn usage(world: &World) -> Vec<(String, u64)> {
    let report = world.get("/usage").send().await.ok();
    let row = |row: &Value| (row["kind"].as_str().unwrap().to_owned(), row["count"].as_u64().unwrap());
    report["usage"].as_array().unwrap().iter().map(row).collect()
}

#[tokio::test]
async fn each_success_is_counted_once() {
    let world = World::new().await;
    assert_eq!(usage(&world).await, []);
    world.put("/enrollments/a", &individual("a")).send().await.ok();
    world.put("/enrollments/a", &individual("a")).if_match("*").send().await.ok();
    world.put("/enrollmentGroups/g", &group("g")).send().await.ok();
    world.get("/enrollments/a").send().await.ok();
    world.get("/enrollmentGroups/g").send().await.ok();
    world.request(Method::POST, "/enrollments/a/attestationmechanism").send().await.ok();
    world.post("/enrollments/query", &json!({"query": "SELECT *"})).send().await.ok();
    let bulk = json!({"mode": "create", "enrollments": [individual("b"), individual("c"), individual("a")]});
    world.post("/enrollments", &bulk).send().await.ok();
    world.register("one", sample::registration_of("d", "g")).await;
    world.get("/registrations/d").send().await.ok();
    world.request(Method::POST, "/registrations/g/query").send().await.ok();
    world.delete("/registrations/d").send().await.deleted();
    world.delete("/enrollments/a").send().await.deleted();
    let expected = [
        ("enrollmentRead", 2),
        ("enrollmentChange", 4),
        ("enrollmentBulk", 1),
        ("enrollmentQuery", 1),
        ("attestationRead", 1),
        ("registrationRead", 1),
        ("registrationDelete", 1),
        ("registrationQuery", 1),
    ];
    assert_eq!(usage(&world).await, expected.map(|(kind, count)| (kind.to_owned(), count)));
}

#[tokio::test]
async fn failures_are_not_counted() {
    let world = World::new().await;
    world.get("/enrollments/none").send().await.refused(404_201);
    world.delete("/enrollments/none").send().await.refused(404_201);
    world.delete("/registrations/none").send().await.refused(404_202);
    world.put("/enrollments/none", &individual("none")).if_match("*").send().await.refused(412_000);
    world.put("/enrollments/a", &json!({})).send().await.refused(400_002);
    world.request(Method::POST, "/registrations/none/query").send().await.refused(404_204);
    world.request(Method::POST, "/enrollments/none/attestationmechanism").send().await.refused(404_201);
    let bulk = json!({"mode": "update", "enrollments": [individual("none")]});
    assert_eq!(world.post("/enrollments", &bulk).send().await.ok()["isSuccessful"], false);
    assert_eq!(usage(&world).await, []);
}

#[tokio::test]
async fn usage_is_reported_by_day() {
    let world = World::new().await;
    world.put("/enrollments/a", &individual("a")).send().await.ok();
    world.clock.advance(Duration::from_secs(86_400));
    world.get("/enrollments/a").send().await.ok();
    world.get("/enrollments/a").send().await.ok();
    let report = world.get("/usage?from=2026-11-23&to=2026-11-24").send().await.ok();
    let expected = json!({"usage": [
        {"day": "2026-11-23", "kind": "enrollmentChange", "count": 1},
        {"day": "2026-11-24", "kind": "enrollmentRead", "count": 2}
    ], "total": 3});
    assert_eq!(report, expected);
    assert_eq!(world.get("/usage?to=2026-11-23").send().await.ok()["total"], 1);
    assert_eq!(world.get("/usage?from=2026-11-24").send().await.ok()["total"], 2);
    for query in ["from=yesterday", "to=2026-13-01", "from=2026-11-24&to=2026-11-23", "from=2000-01-01"] {
        world.get(&format!("/usage?{query}")).send().await.refused(400_002);
    }
}
