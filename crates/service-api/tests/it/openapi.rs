//! The OpenAPI document. `tests/wire/test_openapi.py` validates it, and calls the service by it.

use std::collections::BTreeSet;

use http::Method;
use serde_json::Value;
use service_api::{openapi_document, routes};

use crate::world::World;

#[test]
fn the_document_equals_the_golden_file() {
    let document = serde_json::to_string_pretty(&openapi_document()).unwrap();
    let golden = include_str!("../golden/openapi.json");
    let path = concat!(env!("CARGO_TARGET_TMPDIR"), "/openapi.json");
    if document != golden.trim_end() {
        std::fs::write(path, format!("{document}\n")).unwrap();
        panic!("the document is now as in {path}; read the difference, and copy it to tests/golden");
    }
}

#[test]
fn every_route_is_described() {
    let document = openapi_document();
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, operations)| {
            operations.as_object().unwrap().keys().map(|verb| (path.clone(), verb.to_uppercase()))
        })
        .collect();
    let expected: BTreeSet<_> = routes().map(|(method, path)| (path, method.to_string())).collect();
    assert_eq!(described, expected);
    for operations in document["paths"].as_object().unwrap().values() {
        for operation in operations.as_object().unwrap().values() {
            assert_ne!(operation["summary"], "", "{operation}");
        }
    }
}

#[test]
fn every_schema_is_used_and_every_reference_leads_to_one() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(target)) = members.get("$ref") {
                    found.insert(target.clone());
                }
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = openapi_document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    let components = document["components"].as_object().unwrap();
    let kinds = ["schemas", "parameters", "headers", "responses"];
    let names = kinds.iter().flat_map(|kind| {
        components[*kind].as_object().unwrap().keys().map(move |name| format!("#/components/{kind}/{name}"))
    });
    assert_eq!(found, names.collect());
}

#[tokio::test]
async fn the_document_is_public_and_says_nothing_of_instances() {
    let world = World::new().await;
    let request = || world.get("/openapi.json").version(None).without("authorization");
    let document = request().send().await.ok();
    assert_eq!(document, openapi_document());
    assert_eq!(request().header("host", "unknown.example").send().await.ok(), document);
    world.request(Method::POST, "/openapi.json").send().await.refused(404_000);
}
