//! What a start would migrate.

use std::path::Path;

use anyhow::Context;
use durable::Sealer;
use store::{EmbeddedStore, Migration};

use crate::{config::EmbeddedHubConfig, storage::Storage};

/// Returns a warning for each file whose tables a start would migrate. Fails if the start would not open the file of a hub.
pub(crate) fn foresee(
    storage: &Storage,
    (store, sealer): (&EmbeddedStore, &Sealer),
    hubs: &[EmbeddedHubConfig],
) -> anyhow::Result<Vec<String>> {
    let of_store = store.pending_migration()?.map(|migration| describe(&storage.database(), migration));
    let mut warnings = Vec::from_iter(of_store);
    for hub in hubs {
        let path = storage.hub(&hub.name);
        let pending = embedded_hub::check(&path, sealer).with_context(|| path.display().to_string())?;
        warnings.extend(pending.map(|migration| describe(&path, migration)));
    }
    Ok(warnings)
}

fn describe(path: &Path, migration: Migration) -> String {
    format!(
        "a start brings {} {migration}; the program of before then refuses it, so make a backup first (docs/upgrading.md)",
        path.display()
    )
}
