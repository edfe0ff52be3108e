//! Opening the store in a PostgreSQL database.

use std::sync::Arc;

use durable::Sealer;
use provisioning::ports::StoreError;

use super::{
    Postgres,
    lane::LaneQueue,
    queries::{ANSWER_TIMEOUT, LEASE_TIMEOUT, Queries},
    reader::Readers,
    schema::{self, SchemaError},
    session::{Failure, Session},
    settings::Settings,
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
        let database = Database::new(settings);
        match database.has_tables().await? {
            true => database.open(sealer).await.map(Some),
            false => Ok(None),
        }
    }

    /// Returns whether a database has the tables of a store.
    pub async fn exists(settings: Settings) -> Result<bool, ConnectError> {
        Database::new(settings).has_tables().await
    }

    /// Opens the store in a database; the tables are created when they are missing. Its documents are sealed with this key
    /// from then on. Reads the instances with their configurations. Fails at once when the database cannot be reached.
    pub async fn connect(settings: Settings, sealer: Sealer) -> Result<PostgresStore, ConnectError> {
        let database = Database::new(settings);
        database.create_tables().await?;
        database.open(sealer).await
    }
}

/// A database that is not open yet.
struct Database {
    settings: Arc<Settings>,
    queries: Arc<Queries>,
}

impl Database {
    fn new(settings: Settings) -> Database {
        let settings = Arc::new(settings);
        Database { queries: Arc::new(Queries::new(Arc::clone(&settings), ANSWER_TIMEOUT)), settings }
    }

    async fn has_tables(&self) -> Result<bool, ConnectError> {
        let found = self.session().await?.query_opt(FIND_TABLES, &[]).await;
        Ok(found.map_err(|error| self.error(error.into()))?.is_some())
    }

    async fn create_tables(&self) -> Result<(), ConnectError> {
        let session = self.session().await?;
        schema::create(&session).await.map_err(|failure| self.error(failure))
    }

    async fn open(self, sealer: Sealer) -> Result<PostgresStore, ConnectError> {
        let session = self.session().await?;
        let writer = schema::check(&session, &sealer).await.map_err(|failure| self.error(failure))??;
        let Database { settings, queries } = self;
        let lanes = (0..LANES).map(|_| LaneQueue::start(Arc::clone(&settings))).collect();
        let (readers, lease_queries) =
            (Readers::start(&settings, READERS), Arc::new(Queries::new(settings, LEASE_TIMEOUT)));
        let engine = Postgres { lanes, readers, queries, lease_queries, writer };
        Ok(SealedStore::over(engine, sealer).await?)
    }

    /// Connects, and fails at once when that is not possible.
    async fn session(&self) -> Result<Arc<Session>, ConnectError> {
        self.queries.session().await.map_err(|failure| self.error(failure))
    }

    fn error(&self, failure: Failure) -> ConnectError {
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
