//! JSON schemas of every body of the service API, as data for its OpenAPI document (JSON Schema 2020-12, OpenAPI 3.1).
//!
//! The names are those of Azure's API descriptions where these have the type. The schemas describe what the service writes,
//! and what clients should send. Parsing is more lenient: see [`super`]. A test validates every sample reply.

mod certificate;
mod enrollment;
mod instance;
mod registration;
mod resource;

use serde_json::{Map, Value, json};

/// Returns the schemas by name. References between them have the form `#/components/schemas/NAME`.
pub fn schemas() -> Map<String, Value> {
    let all = [
        enrollment::schemas(),
        registration::schemas(),
        certificate::schemas(),
        instance::schemas(),
        resource::schemas(),
        vec![("ProvisioningServiceErrorDetails", error())],
    ];
    all.into_iter().flatten().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// The schemas of one subject, by name.
type Schemas = Vec<(&'static str, Value)>;

fn error() -> Value {
    object(
        &["errorCode", "trackingId", "message", "timestampUtc"],
        json!({
            "errorCode": described(json!({"type": "integer"}), "Six digits, the first three of which are the HTTP status."),
            "trackingId": described(text(), "The ID that leads to this error in the log of the service."),
            "message": text(),
            "timestampUtc": time(),
        }),
    )
}

fn object(required: &[&str], properties: Value) -> Value {
    json!({"type": "object", "required": required, "properties": properties})
}

/// Returns the schema of an object that has the members of another one, and more.
fn extended(base: &str, required: &[&str], properties: Value) -> Value {
    json!({"allOf": [reference(base), object(required, properties)]})
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn array(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn flag() -> Value {
    json!({"type": "boolean"})
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> Value {
    json!({"type": "string", "enum": words.into_iter().collect::<Vec<_>>()})
}

/// Returns the schema of a text that matches a regular expression and has 1 to `max` characters.
fn pattern(pattern: &str, max: usize) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": max, "pattern": pattern})
}

/// Returns a schema that also allows null.
fn nullable(schema: Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

fn described(mut schema: Value, description: &str) -> Value {
    schema["description"] = description.into();
    schema
}

/// Marks a member that the service writes, and ignores in requests.
fn read_only(mut schema: Value) -> Value {
    schema["readOnly"] = true.into();
    schema
}

/// Marks a member that the service never writes.
fn write_only(mut schema: Value) -> Value {
    schema["writeOnly"] = true.into();
    schema
}
