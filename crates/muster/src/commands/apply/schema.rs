//! The JSON schema of documents, for editors: made of the schemas of the service API.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use wire::service::schemas;

use super::document::{Kind, MARK};
use crate::commands::enrollment::SET_BY_SERVICE;

/// How the schemas of the service API refer to each other, and those of documents.
const OF_API: &str = "#/components/schemas/";
const OF_DOCUMENTS: &str = "#/$defs/";

/// Returns the schema (JSON Schema 2020-12).
pub fn schema() -> Value {
    let api = schemas();
    let documents = Kind::ALL.map(|kind| of_kind(kind, &api));
    let reference = json!({
        "type": "object",
        "description": "A variable of the environment, or the text of a file next to this one. Neither is shown.",
        "minProperties": 1,
        "maxProperties": 1,
        "properties": {"$env": {"type": "string"}, "$file": {"type": "string"}},
        "additionalProperties": false,
    });
    let mut definitions = Map::from_iter([("reference".to_owned(), reference)]);
    let mut waiting: Vec<String> = documents.iter().flat_map(references).collect();
    while let Some(name) = waiting.pop() {
        if let (false, Some(schema)) = (definitions.contains_key(&name), api.get(&name)) {
            let schema = adapted(schema);
            waiting.extend(references(&schema));
            definitions.insert(name, schema);
        }
    }
    definitions.sort_keys();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A document of muster apply",
        "oneOf": documents,
        "$defs": definitions,
    })
}

/// Returns the path of a member that the service does not know at this kind of object, at any depth.
pub fn unknown_member(kind: Kind, members: &Map<String, Value>) -> Option<String> {
    let api = schemas();
    let schema = api.get(schema_name(kind))?;
    unknown_in(&Value::Object(members.clone()), schema, &api)
}

fn unknown_in(value: &Value, schema: &Value, api: &Map<String, Value>) -> Option<String> {
    let named = schema.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix(OF_API));
    let schema = named.and_then(|name| api.get(name)).unwrap_or(schema);
    if let Some(items) = schema.get("items") {
        return value.as_array()?.iter().find_map(|item| unknown_in(item, items, api));
    }
    let known = schema.get("properties")?;
    value.as_object()?.iter().find_map(|(name, value)| match known.get(name) {
        None => Some(name.clone()),
        Some(schema) => unknown_in(value, schema, api).map(|within| format!("{name}.{within}")),
    })
}

/// Returns the name of the schema of the service API; empty for certificates, whose form is PEM.
fn schema_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Instance => "ProvisioningServiceDescription",
        Kind::Policy => "AccessPolicyChange",
        Kind::CaCertificate => "",
        Kind::Hub => "LinkedHub",
        Kind::Group => "EnrollmentGroup",
        Kind::Enrollment => "IndividualEnrollment",
    }
}

fn of_kind(kind: Kind, api: &Map<String, Value>) -> Value {
    let certificate = json!({"certificate": {"type": "string"}, "isVerified": {"type": "boolean"}});
    let members =
        api.get(schema_name(kind)).and_then(|schema| schema.get("properties")).unwrap_or(&certificate);
    let text = json!({"anyOf": [{"type": "string"}, {"$ref": "#/$defs/reference"}]});
    let mut properties = json!({"kind": {"const": kind.name()}, "name": text, "instance": text});
    for (member, schema) in members.as_object().into_iter().flatten() {
        let is_known = match kind.enrollment() {
            Some(_) => member != MARK && !SET_BY_SERVICE.contains(&member.as_str()),
            None => kind.members().contains(&member.as_str()),
        };
        if is_known {
            properties[member] = adapted(schema);
        }
    }
    let required: &[&str] =
        if kind == Kind::Policy { &["kind", "name", "instance"] } else { &["kind", "name"] };
    json!({"type": "object", "required": required, "properties": properties, "additionalProperties": false})
}

/// Returns a schema of the service API for documents: nothing is required, since what is left out stays, and each text may come
/// from elsewhere.
fn adapted(schema: &Value) -> Value {
    match schema {
        Value::Array(items) => items.iter().map(adapted).collect(),
        Value::Object(members) => {
            let required = |(name, value): &(&String, &Value)| *name != "required" || !value.is_array();
            let member = |(name, value): (&String, &Value)| match value.as_str() {
                Some(text) if name == "$ref" => (name.clone(), json!(text.replace(OF_API, OF_DOCUMENTS))),
                _ => (name.clone(), adapted(value)),
            };
            let adapted = Value::Object(members.iter().filter(required).map(member).collect());
            match members.get("type").and_then(Value::as_str) {
                Some("string") => json!({"anyOf": [adapted, {"$ref": "#/$defs/reference"}]}),
                _ => adapted,
            }
        }
        other => other.clone(),
    }
}

/// Returns the names of the schemas that a schema refers to.
fn references(schema: &Value) -> BTreeSet<String> {
    match schema {
        Value::Array(items) => items.iter().flat_map(references).collect(),
        Value::Object(members) => {
            let named = members.get("$ref").and_then(Value::as_str);
            let named = named.and_then(|text| text.strip_prefix(OF_DOCUMENTS)).map(str::to_owned);
            members.values().flat_map(references).chain(named).collect()
        }
        _ => BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Compares the published file; run the program to write it: `muster apply --schema > docs/apply.schema.json`.
    #[test]
    fn the_published_schema_is_that_of_the_program() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/apply.schema.json");
        let published: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        assert_eq!(published, schema());
    }

    #[test]
    fn documents_are_valid_and_misspelled_ones_are_not() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        for (document, is_valid) in [
            (json!({"kind": "group", "name": "g", "attestation": {"type": "symmetricKey"}}), true),
            (json!({"kind": "group", "name": {"$env": "NAME"}, "iotHubs": [{"$env": "HUB"}]}), true),
            (json!({"kind": "group", "name": "g", "deviceId": "d"}), false),
            (json!({"kind": "hub", "name": "h", "allocationWeight": 0}), false),
            (json!({"kind": "hub", "name": "h", "connectionString": {"$file": "f"}}), true),
            (json!({"kind": "caCertificate", "name": "c", "certificate": {"$other": "f"}}), false),
            (json!({"kind": "policy", "name": "p", "rights": "EnrollmentRead"}), false),
            (json!({"kind": "instance", "name": "i", "properties": {"muster": {"failover": true}}}), true),
            (json!({"kind": "device", "name": "i"}), false),
        ] {
            assert_eq!(validator.is_valid(&document), is_valid, "{document}");
        }
    }
}
