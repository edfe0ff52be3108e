//! Deletes enrollments that an earlier run made, and that no document names any more.

use std::collections::BTreeSet;

use anyhow::bail;

use super::{document::Kind, plan::Step, session::Session};

/// The kinds that have a mark of what manages them, in the order in which they are deleted.
const MARKED: [Kind; 2] = [Kind::Enrollment, Kind::Group];

/// An enrollment to delete.
#[derive(Debug, PartialEq, Eq)]
pub struct Removal {
    pub kind: Kind,
    pub name: String,
    /// The instance; `None` for that of the connection.
    pub instance: Option<String>,
    /// The version that was read.
    pub etag: String,
}

impl Removal {
    /// Returns the line that shows it.
    pub fn line(&self) -> String {
        let of = self.instance.as_ref().map(|instance| format!(" of {instance}")).unwrap_or_default();
        format!("- {} {}{of}", self.kind.name(), self.name)
    }
}

/// Returns the enrollments with the mark of this owner in the instances of the documents that no document names.
pub async fn removals(session: &mut Session, steps: &[Step], owner: &str) -> anyhow::Result<Vec<Removal>> {
    let mut removals = Vec::new();
    for instance in instances(steps)? {
        for kind in MARKED {
            let named: BTreeSet<String> = names(steps, kind, instance.as_deref());
            for (name, etag) in session.owned(kind, instance.as_deref(), owner).await? {
                if !named.contains(&name.to_ascii_lowercase()) {
                    removals.push(Removal { kind, name, instance: instance.clone(), etag });
                }
            }
        }
    }
    Ok(removals)
}

/// Returns the instances of the documents. An instance that some documents name and others leave to the connection would have
/// two lists of what it should have.
fn instances(steps: &[Step]) -> anyhow::Result<BTreeSet<Option<String>>> {
    let of_step = |step: &Step| match step.document.kind {
        Kind::Instance => Some(step.document.name.to_ascii_lowercase()),
        _ => step.document.instance.as_ref().map(|name| name.to_ascii_lowercase()),
    };
    let instances: BTreeSet<_> = steps.iter().map(of_step).collect();
    if instances.contains(&None) && instances.len() > 1 {
        bail!("with --prune, either all documents name their instance or none does");
    }
    Ok(instances)
}

fn names(steps: &[Step], kind: Kind, instance: Option<&str>) -> BTreeSet<String> {
    let is_meant = |step: &&Step| {
        let of = step.document.instance.as_ref().map(|name| name.to_ascii_lowercase());
        step.document.kind == kind && of.as_deref() == instance
    };
    steps.iter().filter(is_meant).map(|step| step.document.name.to_ascii_lowercase()).collect()
}
