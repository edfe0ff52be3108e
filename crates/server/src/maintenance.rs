//! What `muster store` does to the files of a service.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail};
use provisioning::ports::{
    Cleanups, Clock, Damage, Enrollments, Instances, Page, PageRequest, Registrations, StoreError,
};
use store::{EmbeddedStore, FileCheck, Inspection, PostgresStore, RecordName};

use crate::{pages::each_page, ports::SystemClock, storage::Storage, store_location::StoreLocation};

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

impl StoreLocation {
    /// Does what is to be done, and looks at every record afterwards.
    pub async fn maintain(&self, what: Maintenance) -> anyhow::Result<Inspection> {
        match (self, what) {
            (StoreLocation::Files(files), what) => files.maintain(what).await,
            (StoreLocation::Shared(database), Maintenance::Look) => {
                inspect(&database.look().await?.context("the database has no tables yet")?).await
            }
            (StoreLocation::Shared(_), _) => {
                bail!("--repair, --drop and --restore are for a database in data_dir, and `store` is set")
            }
        }
    }
}

/// Reads every record of a shared database.
async fn inspect(store: &PostgresStore) -> anyhow::Result<Inspection> {
    let snapshot = store.snapshot().await?;
    let instances = snapshot.instances();
    let [mut individuals, mut groups, mut registrations, mut cleanups] = [0; 4];
    for instance in &instances {
        let scope = &instance.id_scope;
        groups += snapshot.configuration(scope)?.groups().all().len() as u64;
        individuals += count(async |page| store.individuals(scope, page).await).await?;
        registrations += count(async |page| store.registrations(scope, page).await).await?;
        cleanups += count(async |page| store.cleanups(scope, page).await).await?;
    }
    let counts = vec![
        ("instances", instances.len() as u64),
        ("individuals", individuals),
        ("groups", groups),
        ("registrations", registrations),
        ("cleanups", cleanups),
    ];
    let damaged = store.known_damage().await?.records;
    let damaged =
        damaged.into_iter().map(|(scope, record)| (format!("{scope}: {}", record.id), record.reason));
    Ok(Inspection {
        file: FileCheck { problems: Vec::new(), is_complete: true },
        counts,
        damaged: damaged.collect(),
    })
}

/// Reads a listing to its end, and returns the number of records.
async fn count<T>(read: impl AsyncFn(PageRequest) -> Result<Page<T>, StoreError>) -> anyhow::Result<u64> {
    let mut count = 0;
    each_page(read, async |items| {
        count += items.len() as u64;
        Ok(())
    })
    .await?;
    Ok(count)
}

impl Storage {
    /// Does what is to be done, and looks at every record afterwards.
    async fn maintain(&self, what: Maintenance) -> anyhow::Result<Inspection> {
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
pub(crate) const AT_MOST: Duration = Duration::from_secs(6 * 3600);
