//! `GET /log`.

use model::Timestamp;
use provisioning::ports::LogRetention;
use serde_json::{Value, json};

use crate::world::{World, group, individual};

/// Returns operation, kind and key of each entry.
fn entries(log: &Value) -> Vec<[&str; 3]> {
    let entries = log["entries"].as_array().unwrap().iter();
    entries.map(|entry| ["operation", "kind", "key"].map(|name| entry[name].as_str().unwrap())).collect()
}

async fn log(world: &World, query: &str) -> Value {
    world.get(&format!("/log?{query}")).send().await.ok()
}

#[tokio::test]
async fn the_log_shows_who_changed_what() {
    let world = World::new().await;
    let start = log(&world, "").await;
    world.put("/enrollments/Dev-1", &individual("Dev-1")).send().await.ok();
    world.put("/enrollmentGroups/g", &group("g")).send().await.ok();
    world.get("/enrollments/dev-1").send().await.ok();
    let bulk = json!({"mode": "delete", "enrollments": [individual("dev-1")]});
    world.post("/enrollments", &bulk).send().await.ok();
    world.put("/allocationPolicy", &json!({"allocationPolicy": "static"})).send().await.ok();
    let next = start["next"].as_str().unwrap();
    let page = log(&world, &format!("after={next}")).await;
    assert_eq!(
        entries(&page),
        [
            ["enrollment.put", "enrollment", "dev-1"],
            ["enrollment.put", "enrollmentGroup", "g"],
            ["enrollment.bulk", "enrollment", "dev-1"],
            ["allocationPolicy.put", "instance", ""],
        ]
    );
    assert_eq!(page["entries"][0]["actor"], json!({"kind": "operator", "name": "provisioningserviceowner"}));
    let deleted = page["entries"].as_array().unwrap().iter().map(|entry| entry["deleted"] == true);
    assert_eq!(deleted.collect::<Vec<_>>(), [false, false, true, false]);
    assert_eq!(page["more"], false);
    assert!(!page.to_string().contains("Key"), "nothing secret: {page}");

    let count = async |query: &str| entries(&log(&world, &format!("after={next}&{query}")).await).len();
    assert_eq!(count("kind=enrollmentGroup").await, 1);
    assert_eq!(count("key=DEV-1").await, 2);
    assert_eq!(count("actor=provisioningserviceowner").await, 4);
    assert_eq!(count("actor=other").await, 0);
    assert_eq!(count("since=2099-01-01T00:00:00Z").await, 0);
    assert_eq!(count("limit=1").await, 1);
}

#[tokio::test]
async fn pages_follow_each_other_without_gaps() {
    let world = World::new().await;
    let ids: Vec<String> = (0..7).map(|number| format!("dev-{number}")).collect();
    for id in &ids {
        world.put(&format!("/enrollments/{id}"), &individual(id)).send().await.ok();
    }
    let (mut after, mut found, mut more) = (String::new(), Vec::new(), true);
    while more {
        let page = log(&world, &format!("after={after}&kind=enrollment&limit=2")).await;
        found.extend(entries(&page).iter().map(|[_, _, key]| (*key).to_owned()));
        after = page["next"].as_str().unwrap().to_owned();
        more = page["more"].as_bool().unwrap();
    }
    assert_eq!(found, ids);
}

#[tokio::test]
async fn invalid_parameters_are_refused() {
    let world = World::new().await;
    for query in ["after=x", "since=yesterday", "kind=device", "limit=0", "limit=1001", "limit=x"] {
        let name = query.split('=').next().unwrap();
        let message = world.get(&format!("/log?{query}")).send().await.refused(400_002);
        assert!(message.contains(name), "{message}");
    }
}

#[tokio::test]
async fn foreign_and_trimmed_positions_are_gone() {
    let world = World::new().await;
    let message = world.get("/log?after=7-7").send().await.refused(410_000);
    assert!(message.contains("another change log"), "{message}");

    let start = log(&world, "limit=1").await;
    for id in ["a", "b", "c"] {
        world.put(&format!("/enrollments/{id}"), &individual(id)).send().await.ok();
    }
    let keep = LogRetention { since: Timestamp::from_unix_seconds(0), rows: 1 };
    world.store.trim_log(keep).await.unwrap();
    let after = start["next"].as_str().unwrap();
    let message = world.get(&format!("/log?after={after}")).send().await.refused(410_000);
    assert!(message.contains("not kept any more"), "{message}");
    assert_eq!(entries(&log(&world, "").await), [["enrollment.put", "enrollment", "c"]]);
}
