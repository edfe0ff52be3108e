//! Pages of the change log, an addition of Muster: who changed what, when, and from where.

use model::{Actor, Identity, LogCursor, LogEntry, LogKind};
use serde_json::Value;

use super::members::Object;

/// Writes `{"entries": […], "next", "more"}`. Entries have no positions of their own, because positions count the changes of
/// all instances.
pub fn log_json(entries: &[LogEntry], next: &LogCursor, more: bool) -> Value {
    let mut json = Object::default();
    json.put("entries", entries.iter().map(entry_json).collect::<Vec<_>>());
    json.put("next", next.to_string()).put("more", more);
    json.into_value()
}

fn entry_json(entry: &LogEntry) -> Value {
    let attribution = &entry.attribution;
    // The log holds no version of instances.
    let is_deleted = entry.version.is_none() && entry.kind != LogKind::Instance;
    let mut json = Object::default();
    json.put("time", attribution.at.to_string()).put("operation", attribution.operation.name());
    json.put("kind", entry.kind.name()).put("key", entry.key.as_str()).put("deleted", is_deleted);
    json.put_some("version", entry.version.as_deref());
    json.put("actor", actor_json(&attribution.actor));
    json.into_value()
}

fn actor_json(actor: &Actor) -> Value {
    let (kind, address) = match actor {
        Actor::Operator { address, .. } => ("operator", *address),
        Actor::Device { address, .. } => ("device", *address),
        Actor::System(_) => ("system", None),
    };
    let mut json = Object::default();
    json.put("kind", kind).put("name", actor.name());
    if let Actor::Operator { identity, .. } = actor {
        match identity {
            Identity::Policy(_) => {}
            Identity::ManagementPolicy(_) => drop(json.put("plane", "management")),
            Identity::Subject(subject) => drop(json.put("issuer", subject.issuer().as_str())),
        }
    }
    json.put_some("address", address.map(|address| address.to_string()));
    json.into_value()
}
