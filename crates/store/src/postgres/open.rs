//! Opening the store in a PostgreSQL database.

use std::sync::Arc;

use durable::Sealer;
use provisioning::ports::StoreError;

use super::{
    Postgres,
    lane::LaneQueue,
    queries::Queries,
    reader::Readers,
    schema::{self, SchemaError},
    session::Failure,
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
        let queries = Queries::new(Arc::new(settings.clone()));
        let unreachable = |failure| connect_error(settings.address(), failure);
        let session = queries.session().await.map_err(unreachable)?;
        let sql = "SELECT 1 FROM information_schema.tables WHERE table_name = 'key_check'";
        let found = session.query_opt(sql, &[]).await.map_err(|error| unreachable(error.into()))?;
        match found {
            Some(_) => PostgresStore::connect(settings, sealer).await.map(Some),
            None => Ok(None),
        }
    }

    /// Opens the store in a database; the tables are created when they are missing. Its documents are sealed with this key
    /// from then on. Reads the instances with their configurations. Fails at once when the database cannot be reached.
    pub async fn connect(settings: Settings, sealer: Sealer) -> Result<PostgresStore, ConnectError> {
        let address = settings.address();
        let settings = Arc::new(settings);
        let queries = Arc::new(Queries::new(Arc::clone(&settings)));
        let writer =
            prepare(&queries, &sealer).await.map_err(|failure| connect_error(address, failure))??;
        let lanes = (0..LANES).map(|_| LaneQueue::start(Arc::clone(&settings))).collect();
        let (readers, lease_queries) = (Readers::start(&settings, READERS), Arc::new(Queries::new(settings)));
        let engine = Postgres { lanes, readers, queries, lease_queries, writer };
        Ok(SealedStore::over(engine, sealer).await?)
    }
}

fn connect_error(address: String, failure: Failure) -> ConnectError {
    match failure {
        Failure::Refused(error) => ConnectError::Content(error),
        Failure::Lost(reason) | Failure::Conflict(reason) => ConnectError::Unreachable(address, reason),
    }
}

/// Returns the writer of the change log.
async fn prepare(queries: &Queries, sealer: &Sealer) -> Result<Result<i64, SchemaError>, Failure> {
    let session = queries.session().await?;
    schema::create(&session).await?;
    schema::check(&session, sealer).await
}
