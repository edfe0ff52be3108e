//! What differs between documents and a service.

use std::collections::BTreeSet;

use anyhow::{Context, bail};
use serde_json::{Map, Value};
use wire::service::parse_instance;

use super::{
    document::{Document, Kind},
    equality::{HiddenKeys, is_same},
    session::{Comparison, Session, Stored, body},
    value::{hides, shown},
};

/// What becomes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is created.
    Create,
    /// It is changed.
    Change,
    /// It is as its document says.
    Keep,
}

/// A document, and what it changes.
pub struct Step {
    pub document: Document,
    pub action: Action,
    stored: Option<Stored>,
    /// What the service is sent.
    body: Value,
    changes: Vec<Change>,
}

/// A member that differs.
#[derive(Debug, PartialEq)]
struct Change {
    member: String,
    old: Option<Value>,
    new: Value,
    is_secret: bool,
}

/// How documents are compared and applied.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The mark of the enrollments that are created.
    pub owner: &'a str,
    /// Whether keys that the service does not return are sent again.
    pub keys: HiddenKeys,
}

/// Compares the documents with the service.
pub async fn plan(
    session: &mut Session,
    documents: Vec<Document>,
    rules: Rules<'_>,
) -> anyhow::Result<Vec<Step>> {
    let made = documents.iter().filter(|it| it.kind == Kind::Instance);
    let made: BTreeSet<_> = made.map(|it| it.name.to_ascii_lowercase()).collect();
    for document in &documents {
        let Some(name) = &document.instance else { continue };
        if !made.contains(&name.to_ascii_lowercase()) && !session.select_instance(Some(name)).await? {
            bail!("{}: there is no instance {name}, and no document makes it", document.origin);
        }
    }
    let mut steps = Vec::new();
    for document in documents {
        let context = format!("{}: {} {}", document.origin, document.kind.name(), document.name);
        steps.push(compare(session, document, rules).await.context(context)?);
    }
    Ok(steps)
}

async fn compare(session: &mut Session, document: Document, rules: Rules<'_>) -> anyhow::Result<Step> {
    let stored = session.read(&document).await?;
    let body = body(&document, stored.as_ref(), rules.owner);
    if document.kind == Kind::Instance {
        parse_instance(body.to_string().as_bytes())?;
    }
    let mut changes = changes(&document, stored.as_ref(), rules.keys);
    if document.kind.enrollment().is_some() {
        match session.compare_enrollment(&document, &body).await? {
            Comparison::Same => changes.clear(),
            Comparison::Differs if changes.is_empty() => {
                let new = document.members.get("attestation").cloned().unwrap_or_default();
                let old = Some(Value::Null);
                changes.push(Change { member: "attestation".to_owned(), old, new, is_secret: true });
            }
            Comparison::Differs => {}
        }
    }
    let action = match (&stored, changes.is_empty()) {
        (None, _) => Action::Create,
        (Some(_), false) => Action::Change,
        (Some(_), true) => Action::Keep,
    };
    Ok(Step { document, action, stored, body, changes })
}

/// Returns the members of a document that differ from the stored ones.
fn changes(document: &Document, stored: Option<&Stored>, keys: HiddenKeys) -> Vec<Change> {
    let mut changes = Vec::new();
    let empty = Map::new();
    let old = stored.map_or(&empty, |stored| &stored.members);
    for (member, new) in &document.members {
        let is_secret = document.secrets.contains(member);
        compare_member((document.kind, keys), &[member], (old.get(member), new), &mut |member, old, new| {
            let old = stored.map(|_| old.cloned().unwrap_or_default());
            changes.push(Change { member, old, new: new.clone(), is_secret });
        });
    }
    changes
}

/// Reports a member that differs. The service keeps the members of an instance that are left out at any depth, so these are
/// compared one by one.
fn compare_member(
    (kind, keys): (Kind, HiddenKeys),
    path: &[&str],
    (old, new): (Option<&Value>, &Value),
    report: &mut dyn FnMut(String, Option<&Value>, &Value),
) {
    let is_nested =
        kind == Kind::Instance && matches!(path, ["sku" | "properties"] | ["properties", "muster"]);
    match new.as_object().filter(|_| is_nested) {
        Some(members) => {
            for (name, new) in members {
                let old = old.and_then(|old| old.get(name));
                compare_member((kind, keys), &[path, &[name]].concat(), (old, new), report);
            }
        }
        None if is_same(kind, path, (old.unwrap_or(&Value::Null), new), keys) => {}
        None => report(path.join("."), old, new),
    }
}

impl Step {
    /// Makes the object what its document says. Fails if it was changed since it was compared.
    pub async fn apply(&self, session: &mut Session) -> anyhow::Result<()> {
        session.write(&self.document, self.stored.as_ref(), &self.body).await
    }

    /// Returns the lines that show it: none for an object that stays.
    pub fn lines(&self) -> Vec<String> {
        let sign = match self.action {
            Action::Create => '+',
            Action::Change => '~',
            Action::Keep => return Vec::new(),
        };
        let Document { kind, name, instance, .. } = &self.document;
        let of = instance.as_ref().map(|instance| format!(" of {instance}")).unwrap_or_default();
        let mut lines = vec![format!("{sign} {} {name}{of}", kind.name())];
        lines.extend(self.changes.iter().map(|change| format!("    {change}")));
        lines
    }
}

/// Writes the member with its new value, and the old one if there is one. Secrets are not shown.
impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Change { member, old, new, is_secret } = self;
        let name = member.rsplit('.').next().unwrap_or_default();
        match old {
            Some(_) if *is_secret || hides(name) => write!(f, "{member}: (changed)"),
            Some(old) => write!(f, "{member}: {} → {}", shown(name, old, false), shown(name, new, false)),
            None => write!(f, "{member}: {}", shown(name, new, *is_secret)),
        }
    }
}
