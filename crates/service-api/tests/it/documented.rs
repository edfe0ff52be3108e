//! Checks every reply in these tests by the OpenAPI document.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex},
};

use http::Method;
use jsonschema::Validator;
use serde_json::{Value, json};
use service_api::openapi_document;

static DOCUMENT: LazyLock<Value> = LazyLock::new(openapi_document);

/// Fails unless the document declares the status and the body of a reply.
pub fn check(method: &Method, path: &str, status: u16, body: &str) {
    // The document has no operation for unknown paths and methods.
    let Some(operation) = operation(method, path) else { return };
    let declared = resolve(&operation["responses"][status.to_string()]);
    assert!(declared.is_object(), "{method} {path}: {status} is not declared: {body}");
    let schema = &declared["content"]["application/json"]["schema"];
    if schema.is_null() {
        assert_eq!(body, "", "{method} {path}: a body is not declared");
        return;
    }
    let body: Value = serde_json::from_str(body).unwrap();
    let problems: Vec<_> = validator(schema).iter_errors(&body).map(|error| error.to_string()).collect();
    assert!(problems.is_empty(), "{method} {path}: {problems:?}\n{body}");
}

/// Returns the operation for a request. If several paths fit, it is the one without a parameter.
fn operation(method: &Method, path: &str) -> Option<&'static Value> {
    let path = path.split('?').next().unwrap_or_default();
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let operations = paths.iter().filter(|(pattern, _)| fits(pattern, path));
    let verb = method.as_str().to_lowercase();
    let found = operations.filter_map(|(pattern, operations)| Some((pattern, operations.get(&verb)?)));
    found.min_by_key(|(pattern, _)| pattern.contains('{')).map(|(_, operation)| operation)
}

fn fits(pattern: &str, path: &str) -> bool {
    let segments =
        |path: &str| -> Vec<String> { path.trim_matches('/').split('/').map(str::to_lowercase).collect() };
    let (patterns, segments) = (segments(pattern), segments(path));
    let same = |(pattern, segment): (&String, &String)| pattern.starts_with('{') || pattern == segment;
    patterns.len() == segments.len() && patterns.iter().zip(&segments).all(same)
}

fn resolve(value: &'static Value) -> &'static Value {
    let target = value["$ref"].as_str();
    target.map_or(value, |target| DOCUMENT.pointer(target.trim_start_matches('#')).unwrap())
}

/// Returns the validator of a schema, which is cached because it is slow to create.
fn validator(schema: &Value) -> Arc<Validator> {
    static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    let mut validators = VALIDATORS.lock().unwrap();
    let make = || {
        let schemas = &DOCUMENT["components"]["schemas"];
        let root = json!({"allOf": [schema], "components": {"schemas": schemas}});
        Arc::new(jsonschema::options().should_validate_formats(true).build(&root).unwrap())
    };
    Arc::clone(validators.entry(schema.to_string()).or_insert_with(make))
}
