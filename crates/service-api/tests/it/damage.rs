//! Damaged records: reading one returns a code of its own, and listings omit them with a warning.

use http::Method;
use serde_json::json;
use testkit::sample;

use crate::world::{World, group, individual, resource};

/// The collections: a page of each, the record to damage, and the code for it.
const COLLECTIONS: [(&str, &str, &str, u32); 2] = [
    ("individuals", "/enrollments/query", "/enrollments/dev-1", 500_201),
    ("registrations", "/registrations/line/query", "/registrations/dev-1", 500_202),
];

#[tokio::test]
async fn listings_name_damaged_records_and_continue() {
    for (table, query, one, code) in COLLECTIONS {
        let world = World::new().await;
        for id in ["dev-0", "dev-1", "dev-2"] {
            world.put(&format!("/enrollments/{id}"), &individual(id)).send().await.ok();
            world.register("one", sample::registration_of(id, "line")).await;
        }
        world.put("/enrollmentGroups/line", &group("line")).send().await.ok();
        world.execute_sql(&format!("UPDATE {table} SET document = x'00' WHERE id = 'dev-1'"));
        let select = json!({"query": "select * from enrollments"});

        let listed = world.post(query, &select).send().await;
        let ids: Vec<_> =
            listed.ok().as_array().unwrap().iter().map(|it| it["registrationId"].clone()).collect();
        assert_eq!(ids, ["dev-0", "dev-2"], "{table}");
        let warning = listed.header("x-muster-warning").unwrap();
        assert!(warning.contains("dev-1") && warning.contains("damaged"), "{warning}");

        let message = world.get(one).send().await.refused(code);
        assert!(message.contains("dev-1") && message.contains("muster store check"), "{message}");
        world.get("/enrollments/dev-0").send().await.ok();

        world.request(Method::DELETE, one).send().await.deleted();
        let listed = world.post(query, &select).send().await;
        assert_eq!((listed.ok().as_array().unwrap().len(), listed.header("x-muster-warning")), (2, None));
    }
}

#[tokio::test]
async fn an_enrollment_is_returned_without_its_damaged_registration() {
    let world = World::new().await;
    world.put("/enrollments/dev-1", &individual("dev-1")).send().await.ok();
    world.register("one", sample::registration("dev-1")).await;
    world.execute_sql("UPDATE registrations SET document = x'00'");
    let shown = world.get("/enrollments/dev-1").send().await;
    assert_eq!(shown.ok()["registrationId"], "dev-1");
    assert!(shown.header("x-muster-warning").unwrap().contains("registration"), "{shown:?}");
}

/// A damaged item of a bulk operation does not affect the others.
#[tokio::test]
async fn a_bulk_call_names_the_damaged_item() {
    let world = World::new().await;
    for id in ["dev-0", "dev-1"] {
        world.put(&format!("/enrollments/{id}"), &individual(id)).send().await.ok();
    }
    world.execute_sql("UPDATE individuals SET document = x'00' WHERE id = 'dev-1'");
    let items = ["dev-0", "dev-1"].map(|id| {
        let mut item = individual(id);
        item["etag"] = json!("*");
        item
    });
    let call = json!({"mode": "update", "enrollments": items});
    let result = world.post("/enrollments", &call).send().await.ok();
    let errors = result["errors"].as_array().unwrap();
    assert_eq!((errors.len(), &errors[0]["errorCode"]), (1, &json!(500_201)), "{result}");
}

/// A damaged instance may be the one that a deletion names, so it is not said to be deleted already.
#[tokio::test]
async fn a_missing_instance_is_not_deleted_while_one_cannot_be_read() {
    let world = World::after_sql("UPDATE instances SET document = x'00' WHERE scope = 'two'").await;
    let path = resource("two", "");
    let message = world.manage(Method::DELETE, &path, &json!({})).send().await.refused(500_211);
    assert!(message.contains("two"), "{message}");
    let world = World::new().await;
    world.manage(Method::DELETE, &resource("none", ""), &json!({})).send().await.deleted();
}
