//! RFC 7386 merge patches over JSON objects.

use serde_json::{Map, Value};

/// Applies a merge patch: a null deletes its key, an object merges, everything else replaces.
pub fn merge(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, change) in patch {
        match change {
            Value::Null => {
                target.shift_remove(key);
            }
            Value::Object(change) => match target.get_mut(key) {
                Some(Value::Object(object)) => merge(object, change),
                _ => {
                    let mut object = Map::new();
                    merge(&mut object, change);
                    target.insert(key.clone(), Value::Object(object));
                }
            },
            other => {
                target.insert(key.clone(), other.clone());
            }
        }
    }
}

/// Returns the patch that turns `old` into `new`: all of `new`, and a null for every removed key.
pub fn replacement(old: &Map<String, Value>, new: &Map<String, Value>) -> Map<String, Value> {
    let mut patch = Map::new();
    for (key, value) in new {
        let change = match (old.get(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => Value::Object(replacement(old, new)),
            _ => value.clone(),
        };
        patch.insert(key.clone(), change);
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    patch
}
