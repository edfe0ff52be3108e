//! Files with members of an enrollment.

use std::path::Path;

use anyhow::{Context, bail};
use fleet::EnrollmentKind;
use serde_json::{Map, Value};
use wire::without_bom;

use crate::commands::target::read;

/// Reads a JSON object with members of an enrollment. Fails on an unknown member, which the service would ignore silently.
pub fn read_members(kind: EnrollmentKind, file: &Path) -> anyhow::Result<Map<String, Value>> {
    let members = serde_json::from_slice(without_bom(&read(file)?))
        .with_context(|| format!("{} does not hold a JSON object", file.display()))?;
    match kind.shape().unknown_member(&members) {
        None => Ok(members),
        Some(name) => bail!("{}: an {kind} has no member {name}", file.display()),
    }
}
