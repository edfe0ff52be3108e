//! Where a service keeps its records: in files of one process, or in a database that several nodes share.

use std::{fmt, path::PathBuf, sync::Arc};

use anyhow::{Context, bail};
use durable::Sealer;
use model::{CleanupHold, HoldReason, Instance};
use provisioning::ports::{Clock, Instances, Store};
use store::{
    EmbeddedStore,
    postgres::{PostgresStore, Schema, Settings},
};

use crate::{
    app::instances,
    config::Config,
    continuity,
    ports::SystemClock,
    reconcile::{self, reconcile},
    storage::Storage,
};

/// Where the records are.
#[derive(Debug, Clone)]
pub enum StoreLocation {
    /// In files of this process.
    Files(Storage),
    /// In a database that nodes share.
    Shared(SharedDatabase),
}

/// A database that nodes share, and what all of them need to read it.
#[derive(Debug, Clone)]
pub struct SharedDatabase {
    /// How the database is reached.
    pub settings: Box<Settings>,
    /// The file of the key that encrypts secrets at rest: the same key at every node.
    pub master_key_file: PathBuf,
}

/// An opened store of either kind.
#[derive(Clone)]
pub(crate) enum OpenedStore {
    Embedded(Arc<EmbeddedStore>),
    Shared(Arc<PostgresStore>),
}

impl StoreLocation {
    /// Opens the store. Files are created at a first start, and the tables of a shared database if it is empty; its key is
    /// never created, because every node must have the same.
    pub(crate) async fn open(&self) -> anyhow::Result<(OpenedStore, Sealer)> {
        match self {
            StoreLocation::Files(files) => {
                let (store, sealer) = files.open()?;
                Ok((OpenedStore::Embedded(store), sealer))
            }
            StoreLocation::Shared(database) => {
                let sealer = database.key()?;
                Ok((OpenedStore::Shared(Arc::new(database.connect(&sealer).await?)), sealer))
            }
        }
    }

    /// Creates what is missing in a shared database: the master key, the tables, and the instances of the configuration. The
    /// service may be running on it.
    pub async fn init(&self, config: &Config) -> anyhow::Result<()> {
        let (planned, database) = (instances(config)?, self.shared()?);
        database.create_key().await?;
        let store = database.connect(&database.key()?).await?;
        reconcile::join(&store, planned, SystemClock.now()).await
    }

    /// Brings the tables to the version of this program. The service may be running on a shared database.
    pub async fn migrate(&self) -> anyhow::Result<()> {
        match self {
            StoreLocation::Files(files) => {
                if files.look()?.is_none() {
                    bail!("{self} does not exist: the first start of `muster serve` creates it");
                }
                files.open().map(drop)
            }
            StoreLocation::Shared(database) => {
                let sealer = database.key()?;
                PostgresStore::migrate((*database.settings).clone(), Schema::default()).await?;
                database.connect(&sealer).await.map(drop)
            }
        }
    }

    /// Writes the changes of the configuration to the instances in a shared database, which all nodes serve as they are there.
    /// Changes of operators stay unless the configuration changed the same setting.
    pub async fn apply(&self, config: &Config) -> anyhow::Result<()> {
        let (planned, database) = (instances(config)?, self.shared()?);
        let store = database.connect(&database.key()?).await?;
        reconcile(&store, planned, SystemClock.now()).await
    }

    /// Holds the cleanups of all instances in a shared database, which cannot tell that it was restored.
    pub async fn hold(&self) -> anyhow::Result<()> {
        let database = self.shared()?;
        let store = database.connect(&database.key()?).await?;
        let hold = CleanupHold { reason: HoldReason::Restored, since: SystemClock.now() };
        continuity::hold(&store, hold).await
    }

    fn shared(&self) -> anyhow::Result<&SharedDatabase> {
        match self {
            StoreLocation::Files(_) => bail!(
                "this is for a PostgreSQL database, and `store` is not set: a start of `muster serve` does it for {self}"
            ),
            StoreLocation::Shared(database) => Ok(database),
        }
    }

    /// Returns the files, if the records are in files.
    pub fn files(&self) -> Option<&Storage> {
        match self {
            StoreLocation::Files(files) => Some(files),
            StoreLocation::Shared(_) => None,
        }
    }
}

impl fmt::Display for StoreLocation {
    /// Writes where it is, for people; no password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreLocation::Files(files) => write!(f, "{}", files.database().display()),
            StoreLocation::Shared(database) => write!(f, "the database {}", database.settings.address()),
        }
    }
}

impl SharedDatabase {
    /// Creates the master key, unless there is one or the database was written with one.
    async fn create_key(&self) -> anyhow::Result<()> {
        if !PostgresStore::exists((*self.settings).clone()).await? {
            Sealer::load_or_create(&self.master_key_file)?;
        }
        Ok(())
    }

    /// Opens the store, if the database has its tables.
    pub(crate) async fn look(&self) -> anyhow::Result<Option<PostgresStore>> {
        Ok(PostgresStore::look((*self.settings).clone(), self.key()?).await?)
    }

    pub(crate) fn key(&self) -> anyhow::Result<Sealer> {
        Sealer::load(&self.master_key_file).context(
            "every node of a database needs the same master key: copy the file of the first node, where `muster store init` \
             creates it",
        )
    }

    /// Returns the warnings that a start would log; fails if the start would. Creates nothing.
    pub(crate) async fn check(&self, planned: &[Instance]) -> anyhow::Result<Vec<String>> {
        let Some(store) = self.look().await? else {
            let address = self.settings.address();
            return Ok(vec![format!("the database {address} is empty: a start creates its tables")]);
        };
        let mut warnings = reconcile::damage(&store).await?;
        warnings.extend(reconcile::differences(&store.snapshot().await?.instances(), planned));
        Ok(warnings)
    }

    pub(crate) async fn connect(&self, sealer: &Sealer) -> anyhow::Result<PostgresStore> {
        Ok(PostgresStore::connect((*self.settings).clone(), sealer.clone()).await?)
    }
}

impl OpenedStore {
    /// Returns the store as the domain uses it.
    pub(crate) fn port(&self) -> Arc<dyn Store> {
        match self {
            OpenedStore::Embedded(store) => store.clone(),
            OpenedStore::Shared(store) => store.clone(),
        }
    }

    /// Brings the stored instances and the planned ones together. In files, what the configuration changed applies. In a
    /// shared database, whose nodes may have different configurations, only instances that are missing are created.
    pub(crate) async fn reconcile(&self, planned: Vec<Instance>) -> anyhow::Result<()> {
        let now = SystemClock.now();
        match self {
            OpenedStore::Embedded(store) => reconcile(&**store, planned, now).await,
            OpenedStore::Shared(store) => reconcile::join(&**store, planned, now).await,
        }
    }
}

/// Reconciles the stored instances with the planned ones, and returns the store for the ports.
pub(crate) async fn reconcile_instances(
    opened: &OpenedStore,
    planned: Vec<Instance>,
    management: &service_api::Management,
) -> anyhow::Result<Arc<dyn Store>> {
    opened.reconcile(planned).await?;
    let store = opened.port();
    log_hidden_instance(&*store.snapshot().await?, management);
    Ok(store)
}

/// Logs the stored instance that has the host name of the management API, if one has: it cannot be called by it.
fn log_hidden_instance(
    snapshot: &provisioning::configuration::Snapshot,
    management: &service_api::Management,
) {
    let Some(host) = &management.host else { return };
    if let Ok(Some(hidden)) = snapshot.instance_by_host(host) {
        tracing::error!(
            instance.id_scope = %hidden.id_scope,
            %host,
            "this host name is that of the management API, so the instance is not reached by it: give one of them another"
        );
    }
}
