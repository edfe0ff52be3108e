//! Queries, and pages of listings.

use http::Method;
use serde_json::{Value, json};
use testkit::sample;

use crate::world::{World, group, individual};

/// Follows the pages of a query, and returns the IDs on each page.
async fn pages(world: &World, path: &str, id_name: &str, item_type: &str, size: usize) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let mut request = world.post(path, &json!({"query": "select * from enrollments"}));
        request = request.header("x-ms-max-item-count", &size.to_string());
        if let Some(token) = &token {
            request = request.header("x-ms-continuation", token);
        }
        let reply = request.send().await;
        assert_eq!(reply.header("x-ms-item-type"), Some(item_type));
        assert_eq!(reply.header("x-ms-max-item-count"), Some(size.to_string().as_str()));
        let id = |item: &Value| item[id_name].as_str().unwrap().to_owned();
        pages.push(reply.ok().as_array().unwrap().iter().map(id).collect());
        token = reply.header("x-ms-continuation").map(str::to_owned);
        if token.is_none() {
            return pages;
        }
    }
}

#[tokio::test]
async fn every_collection_is_listed_in_order_and_in_pages() {
    let world = World::new().await;
    for id in ["b", "C", "a", "e", "D"] {
        world.put(&format!("/enrollments/{id}"), &individual(id)).send().await.ok();
        world.put(&format!("/enrollmentGroups/{id}"), &group(id)).send().await.ok();
        world.register("one", sample::registration_of(id, "c")).await;
    }
    let paths = [
        ("/enrollments/query", "registrationId", "Enrollment"),
        ("/enrollmentGroups/query", "enrollmentGroupId", "EnrollmentGroup"),
        ("/registrations/C/query", "registrationId", "DeviceRegistration"),
    ];
    for (path, id_name, item_type) in paths {
        let in_twos = pages(&world, path, id_name, item_type, 2).await;
        assert_eq!(in_twos, [vec!["a", "b"], vec!["C", "D"], vec!["e"]], "{path}");
        assert_eq!(pages(&world, path, id_name, item_type, 5).await.len(), 1, "{path}: no empty last page");
        let secrets = world.post(path, &json!({"query": "SELECT *"})).send().await;
        assert!(!secrets.text.contains("primaryKey"), "{path}");
    }
}

#[tokio::test]
async fn an_empty_collection_is_an_empty_page() {
    let world = World::new().await;
    let reply = world.post("/enrollments/query", &json!({"query": "SELECT *"})).send().await;
    assert_eq!(reply.ok(), json!([]));
    assert_eq!(reply.header("x-ms-item-type"), Some("Enrollment"));
    assert_eq!(reply.header("x-ms-continuation"), None);
    assert_eq!(reply.header("x-ms-max-item-count"), Some("100"));
}

/// The hosted service ignores the query: its clients send an object as text, `{}`, `*`, or nothing.
#[tokio::test]
async fn every_query_returns_all() {
    let world = World::new().await;
    world.put("/enrollments/dev-1", &individual("dev-1")).send().await.ok();
    world.put("/enrollmentGroups/g", &group("g")).send().await.ok();
    for (path, count) in
        [("/enrollments/query", 1), ("/enrollmentGroups/query", 1), ("/registrations/g/query", 0)]
    {
        for body in [
            r#"{"query":"SELECT *"}"#,
            r#"{"query":"SELECT * FROM enrollments WHERE registrationId = 'a'"}"#,
            r#"{"query":"{'additional_properties': {}, 'query': 'SELECT *'}"}"#,
            r#"{"query":"*"}"#,
            r#"{"query":""}"#,
            r#"{"query":null}"#,
            r#"{"query":{"query":"SELECT *"}}"#,
            "{}",
            "null",
            "SELECT *",
            "",
        ] {
            let reply = world.request(Method::POST, path).raw(body.as_bytes().to_vec()).send().await.ok();
            assert_eq!(reply.as_array().map(Vec::len), Some(count), "{path} {body}");
        }
    }
}

#[tokio::test]
async fn invalid_paging_headers_are_refused() {
    let world = World::new().await;
    let query = |text: &str| world.post("/enrollments/query", &json!({ "query": text }));
    query("SELECT *").header("x-ms-max-item-count", "-1").send().await.refused(400_002);
    query("SELECT *").header("x-ms-max-item-count", "many").send().await.refused(400_002);
    query("SELECT *").header("x-ms-continuation", "nonsense").send().await.refused(400_002);
    query("SELECT *").header("x-ms-continuation", "").send().await.ok();
    let reply = query("SELECT *").header("x-ms-max-item-count", "5000").send().await;
    assert_eq!(reply.header("x-ms-max-item-count"), Some("1000"), "as many as there are at most");
}
