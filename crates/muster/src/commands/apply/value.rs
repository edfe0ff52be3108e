//! Values of documents: from where they come, and what is shown of them.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, anyhow};
use serde_json::{Map, Value};

/// The name of the member of an object that stands for a variable of the environment, or for the text of a file. No member of the
/// service API, and none of a twin, begins so.
const ENV: &str = "$env";
const FILE: &str = "$file";

/// Members of which nothing is shown.
const SECRET: [&str; 6] =
    ["attestation", "connectionString", "primaryKey", "secondaryKey", "certificate", "webhookKey"];

/// The longest value that is shown, in characters.
const MAX_SHOWN: usize = 80;

/// Replaces the objects that stand for variables and files, and returns the members that had one. Paths are relative to the folder.
pub fn resolve(members: &mut Map<String, Value>, folder: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut secrets = BTreeSet::new();
    for (name, value) in members {
        if resolve_value(value, folder).with_context(|| name.clone())? {
            secrets.insert(name.clone());
        }
    }
    Ok(secrets)
}

/// Returns whether the value has one.
fn resolve_value(value: &mut Value, folder: &Path) -> anyhow::Result<bool> {
    if let Some(text) = referenced(value, folder)? {
        *value = Value::String(text);
        return Ok(true);
    }
    let mut found = false;
    let within: Vec<&mut Value> = match value {
        Value::Object(members) => members.values_mut().collect(),
        Value::Array(items) => items.iter_mut().collect(),
        _ => Vec::new(),
    };
    for value in within {
        found |= resolve_value(value, folder)?;
    }
    Ok(found)
}

fn referenced(value: &Value, folder: &Path) -> anyhow::Result<Option<String>> {
    let Some(members) = value.as_object().filter(|members| members.len() == 1) else { return Ok(None) };
    if let Some(Value::String(name)) = members.get(ENV) {
        let value = std::env::var_os(name).ok_or_else(|| anyhow!("the variable {name} is not set"))?;
        return value.into_string().map(Some).map_err(|_| anyhow!("the variable {name} is not a text"));
    }
    let Some(Value::String(file)) = members.get(FILE) else { return Ok(None) };
    let path = folder.join(file);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Returns a value as it is shown.
pub fn shown(member: &str, value: &Value, is_secret: bool) -> String {
    if is_secret || hides(member) {
        return "(set)".to_owned();
    }
    let text = redacted(value).to_string();
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Whether nothing is shown of a member.
pub fn hides(member: &str) -> bool {
    SECRET.contains(&member)
}

/// Returns a value without the queries of webhooks, which have their keys.
fn redacted(value: &Value) -> Value {
    let Value::Object(members) = value else { return value.clone() };
    let member = |(name, value): (&String, &Value)| {
        let url = value.as_str().filter(|_| name == "webhookUrl").and_then(|url| url.split_once('?'));
        let value = url.map_or_else(|| redacted(value), |(url, _)| Value::String(format!("{url}?…")));
        (name.clone(), value)
    };
    members.iter().map(member).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_come_from_files_and_variables() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("key"), "AQE=\n").unwrap();
        let path = std::env::var_os("PATH").unwrap().into_string().unwrap();
        let members = json!({
            "attestation": {"symmetricKey": {"primaryKey": {"$file": "key"}}},
            "iotHubs": [{"$env": "PATH"}],
            "deviceId": "plain",
            "initialTwin": {"tags": {"$env": "PATH", "other": 1}},
        });
        let Value::Object(mut members) = members else { panic!("an object") };
        let secrets = resolve(&mut members, folder.path()).unwrap();
        assert_eq!(secrets.into_iter().collect::<Vec<_>>(), ["attestation", "iotHubs"]);
        assert_eq!(members["attestation"]["symmetricKey"]["primaryKey"], "AQE=");
        assert_eq!(members["iotHubs"], json!([path]));
        assert_eq!(members["initialTwin"]["tags"]["$env"], "PATH");
    }

    #[test]
    fn no_secret_is_shown() {
        let webhook = json!({"webhookUrl": "https://a.example/f?code=secret", "apiVersion": "2021-10-01"});
        let shown_webhook = shown("customAllocationDefinition", &webhook, false);
        assert!(shown_webhook.contains("https://a.example/f?…") && !shown_webhook.contains("secret"));
        assert_eq!(shown("attestation", &json!({"type": "tpm"}), false), "(set)");
        assert_eq!(shown("iotHubs", &json!(["secret"]), true), "(set)");
        assert_eq!(shown("iotHubs", &json!(["é".repeat(100)]), false).chars().count(), MAX_SHOWN + 1);
    }
}
