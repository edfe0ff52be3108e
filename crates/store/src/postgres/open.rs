//! Opening the store in a PostgreSQL database.

use std::sync::Arc;

use durable::Sealer;
use provisioning::ports::StoreError;

use super::{
    Postgres,
    lane::LaneQueue,
    queries::{ANSWER_TIMEOUT, LEASE_TIMEOUT, Queries},
    reader::Readers,
    schema::{Schema, SchemaError},
    session::{Failure, Session},
    settings::Settings,
    unfinished_copy::unfinished_copy,
};
use crate::SealedStore;

/// Connections that write. More do not make it faster, but one that waits for a lock does not hold up the others.
const LANES: usize = 2;

/// Connections that read.
const READERS: usize = 2;

/// A store in a PostgreSQL database, for any number of processes. Clones share it.
pub type PostgresStore = SealedStore<Postgres>;

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The database cannot be reached.
    #[error("the database {0} cannot be reached: {1}")]
    Unreachable(String, String),
    /// The database cannot be used.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// Its content cannot be read.
    #[error(transparent)]
    Content(#[from] StoreError),
}

impl PostgresStore {
    /// Opens the store in a database that has its tables; `None` and nothing is created if it has none.
    pub async fn look(settings: Settings, sealer: Sealer) -> Result<Option<PostgresStore>, ConnectError> {
        let database = Database::new(settings, Schema::default());
        if !database.has_tables().await? {
            return Ok(None);
        }
        database.open_complete(sealer).await.map(Some)
    }

    /// Returns whether a database has the tables of a store.
    pub async fn exists(settings: Settings) -> Result<bool, ConnectError> {
        Database::new(settings, Schema::default()).has_tables().await
    }

    /// Opens the store in a database; the tables are created when it has none. Its documents are sealed with this key from then
    /// on. Reads the instances with their configurations. Fails at once when the database cannot be reached, and when its tables
    /// are of another release or its records are not all there.
    pub async fn connect(settings: Settings, sealer: Sealer) -> Result<PostgresStore, ConnectError> {
        let database = Database::new(settings, Schema::default());
        database.create_tables().await?;
        database.open_complete(sealer).await
    }

    /// Brings the tables to the last of these versions, and creates them when there are none. Nodes of the release before may
    /// serve from them, and several processes may do so at the same time.
    pub async fn migrate(settings: Settings, schema: Schema) -> Result<(), ConnectError> {
        let database = Database::new(settings, schema);
        database.create_tables().await?;
        database.migrate().await
    }
}

/// A database that is not open yet.
pub(super) struct Database {
    pub(super) settings: Arc<Settings>,
    pub(super) queries: Arc<Queries>,
    pub(super) schema: Schema,
}

impl Database {
    pub(super) fn new(settings: Settings, schema: Schema) -> Database {
        let settings = Arc::new(settings);
        let queries = Arc::new(Queries::new(Arc::clone(&settings), ANSWER_TIMEOUT));
        Database { settings, queries, schema }
    }

    async fn has_tables(&self) -> Result<bool, ConnectError> {
        let found = self.session().await?.query_opt(FIND_TABLES, &[]).await;
        Ok(found.map_err(|error| self.error(error.into()))?.is_some())
    }

    pub(super) async fn create_tables(&self) -> Result<(), ConnectError> {
        let session = self.session().await?;
        self.schema.create(&session).await.map_err(|failure| self.error(failure))
    }

    /// Opens the store, unless records of a copy may be missing.
    async fn open_complete(self, sealer: Sealer) -> Result<PostgresStore, ConnectError> {
        let queries = Arc::clone(&self.queries);
        let store = self.open(sealer).await?;
        match unfinished_copy(&queries).await? {
            Some(source) => Err(SchemaError::UnfinishedCopy(source).into()),
            None => Ok(store),
        }
    }

    pub(super) async fn open(self, sealer: Sealer) -> Result<PostgresStore, ConnectError> {
        let session = self.session().await?;
        let checked = self.schema.check(&session, &sealer).await;
        let writer = checked.map_err(|failure| self.error(failure))??;
        let Database { settings, queries, .. } = self;
        let lanes = (0..LANES).map(|_| LaneQueue::start(Arc::clone(&settings))).collect();
        let (readers, lease_queries) =
            (Readers::start(&settings, READERS), Arc::new(Queries::new(settings, LEASE_TIMEOUT)));
        let engine = Postgres { lanes, readers, queries, lease_queries, writer };
        Ok(SealedStore::over(engine, sealer).await?)
    }

    /// Connects, and fails at once when that is not possible.
    pub(super) async fn session(&self) -> Result<Arc<Session>, ConnectError> {
        self.queries.session().await.map_err(|failure| self.error(failure))
    }

    pub(super) fn error(&self, failure: Failure) -> ConnectError {
        match failure {
            Failure::Refused(error) => ConnectError::Content(error),
            Failure::Lost(reason) | Failure::Conflict(reason) => {
                ConnectError::Unreachable(self.settings.address(), reason)
            }
        }
    }
}

const FIND_TABLES: &str = "
    SELECT 1 FROM information_schema.tables WHERE table_name = 'key_check' AND table_schema = current_schema()";
