//! What `muster store` does to the files of a service.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail};
use provisioning::ports::Clock;
use store::{EmbeddedStore, Inspection, RecordName};

use crate::{ports::SystemClock, storage::Storage};

/// What is to be done.
#[derive(Debug, Clone)]
pub enum Maintenance {
    /// Only look: the service may be running.
    Look,
    /// Write the indexes anew.
    Repair,
    /// Drop records that cannot be read.
    Drop(Vec<String>),
    /// Put records as they are in a backup of the database.
    Restore {
        /// Their names.
        records: Vec<String>,
        /// The file.
        backup: std::path::PathBuf,
    },
}

impl Storage {
    /// Does what is to be done, and looks at every record afterwards.
    pub async fn maintain(&self, what: Maintenance) -> anyhow::Result<Inspection> {
        let Some((look, sealer)) = self.look()? else {
            bail!("there is no database in {} yet", self.data_dir.display());
        };
        let store = match what {
            Maintenance::Look => look,
            _ => {
                drop(look);
                let path = self.database();
                let opened = EmbeddedStore::open(&path, sealer.clone());
                opened.with_context(|| format!("{} (stop the service first)", path.display()))?
            }
        };
        match what {
            Maintenance::Look => {}
            Maintenance::Repair => store.rebuild_indexes().await?,
            Maintenance::Drop(records) => {
                for record in &records {
                    store.drop_record(&record.parse()?, SystemClock.now()).await?;
                }
            }
            Maintenance::Restore { records, backup } => {
                let from = open_backup(&backup, &sealer)?;
                for record in &records {
                    let name: RecordName = record.parse()?;
                    store.restore_record(&name, &from, SystemClock.now()).await?;
                }
            }
        }
        let looked_at = store.clone();
        let inspection = tokio::task::spawn_blocking(move || looked_at.inspect(AT_MOST)).await??;
        store.close().await;
        Ok(inspection)
    }
}

fn open_backup(path: &Path, sealer: &durable::Sealer) -> anyhow::Result<EmbeddedStore> {
    EmbeddedStore::look(path, sealer.clone()).with_context(|| format!("the backup {}", path.display()))
}

/// How long the structure of the file is looked at: hours of reading for the largest.
const AT_MOST: Duration = Duration::from_secs(6 * 3600);
