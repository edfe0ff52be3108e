//! The mark of a database that another store is being copied into: no node opens it.

use durable::Sealer;
use provisioning::ports::StoreError;
use tokio_postgres::Row;

use super::{
    PostgresStore, Schema, SchemaError, Settings,
    open::{ConnectError, Database},
    queries::Queries,
};
use crate::broken;

impl PostgresStore {
    /// Opens the store in an empty database, or in an unfinished copy, for the copy of this file. No node opens it until
    /// [`finish_copy`](PostgresStore::finish_copy).
    pub async fn begin_copy(
        settings: Settings,
        sealer: Sealer,
        source: &str,
    ) -> Result<PostgresStore, ConnectError> {
        let database = Database::new(settings, Schema::default());
        database.create_tables().await?;
        let store = database.open(sealer).await?;
        store.engine.queries.query(BEGIN_COPY, &[&source]).await?;
        match unfinished_copy(&store.engine.queries).await? {
            Some(_) => Ok(store),
            None => Err(SchemaError::NotEmpty.into()),
        }
    }

    /// Ends a copy whose records are all there: nodes may serve from the database.
    pub async fn finish_copy(&self) -> Result<(), StoreError> {
        self.engine.queries.query("DELETE FROM unfinished_copy", &[]).await.map(drop)
    }
}

/// Returns the source of an unfinished copy.
pub(super) async fn unfinished_copy(queries: &Queries) -> Result<Option<String>, StoreError> {
    let row: Option<Row> = queries.query_opt("SELECT source FROM unfinished_copy", &[]).await?;
    row.map(|row| row.try_get(0)).transpose().map_err(broken)
}

/// Marks the database, unless it has records that are not of a copy.
const BEGIN_COPY: &str = "
    INSERT INTO unfinished_copy SELECT 1, $1::text WHERE NOT EXISTS (SELECT 1 FROM instances) ON CONFLICT DO NOTHING";
