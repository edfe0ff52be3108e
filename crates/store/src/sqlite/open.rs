//! Opening and closing the store in an SQLite file.

use std::path::Path;

use durable::{Database, Epoch, KeyCheckError, Sealer, rusqlite};
use model::IdScope;
use provisioning::ports::StoreError;

use crate::{
    SealedStore, broken,
    document::{Documents, RowRef},
    sqlite::{Sqlite, configuration, hub_devices, leases::ProcessLeases, not_written, schema},
    table::Table,
};

/// A store in one file, for one process. Clones share it; the last to go closes the file.
pub type EmbeddedStore = SealedStore<Sqlite>;

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is foreign, newer, in use, or cannot be read or created.
    #[error(transparent)]
    Database(#[from] durable::OpenError),
    /// The sealing key is not the one the file was written with.
    #[error(transparent)]
    Key(#[from] KeyCheckError),
    /// It cannot even be read which instances there are.
    #[error(transparent)]
    Content(#[from] StoreError),
}

impl EmbeddedStore {
    /// Opens the store at `path`, created when missing; its documents are sealed with this key from then on. Reads the
    /// instances with their configurations, not the enrollments and registrations.
    pub fn open(path: &Path, sealer: Sealer) -> Result<EmbeddedStore, OpenError> {
        let store = EmbeddedStore::in_file(Database::open(path, &schema::SCHEMA)?, sealer)?;
        hub_devices::fill(&store.engine.database, &store.documents)?;
        Ok(store)
    }

    /// Opens a second handle on the same file. They share nothing in memory but the key and the leases, and see each other's
    /// acknowledged changes at once.
    pub fn beside(&self) -> Result<EmbeddedStore, OpenError> {
        let leases = self.engine.leases.clone();
        let engine = Sqlite { database: self.engine.database.beside()?, leases };
        EmbeddedStore::reading(engine, self.documents.of_another_handle())
    }

    /// Opens the store for reading only, also beside the process that serves from it. Nothing is created, migrated or
    /// written.
    pub fn look(path: &Path, sealer: Sealer) -> Result<EmbeddedStore, OpenError> {
        EmbeddedStore::in_file(Database::look(path, &schema::SCHEMA)?, sealer)
    }

    fn in_file(database: Database, sealer: Sealer) -> Result<EmbeddedStore, OpenError> {
        let key_check = database.check_key(&sealer);
        let documents = Documents::new(sealer);
        if let Err(error) = key_check {
            confirm_key(&database, &documents, error)?;
        }
        EmbeddedStore::reading(Sqlite { database, leases: ProcessLeases::default() }, documents)
    }

    fn reading(engine: Sqlite, documents: Documents) -> Result<EmbeddedStore, OpenError> {
        let activity = engine.database.commits();
        let read = engine.database.read(|connection| configuration::read(connection, None));
        let rows = read.map_err(|error: rusqlite::Error| broken(error))?;
        Ok(SealedStore::with_configuration(engine, documents, activity, &rows))
    }

    /// Finishes the queued commits and closes the file; later ones fail.
    pub async fn close(self) {
        self.engine.database.close().await;
    }

    /// Reads the epoch that the file holds; `None` when it was never marked.
    pub fn epoch(&self) -> Result<Option<Epoch>, StoreError> {
        self.engine.database.epoch().map_err(broken)
    }

    /// Writes the epoch that the file is in.
    pub async fn put_epoch(&self, epoch: &Epoch) -> Result<(), StoreError> {
        self.engine.database.put_epoch(epoch).await.map_err(not_written)
    }

    /// Removes the epoch: the file counts as never marked.
    pub async fn clear_epoch(&self) -> Result<(), StoreError> {
        self.engine.database.clear_epoch().await.map_err(not_written)
    }

    /// Returns the batches of commits that were made durable so far; each is one fsync, shared by the commits in it.
    pub fn batches(&self) -> u64 {
        self.engine.database.commits()
    }

    /// Begins the positions of another writer: those that readers hold are not of this log any more. To be called when the
    /// database was restored or copied, where numbers would be given twice.
    pub async fn begin_new_log(&self) -> Result<(), StoreError> {
        let sql = "UPDATE log_state SET writer = random() & 9223372036854775807";
        self.engine.write(move |connection| connection.execute(sql, [])).await.map(drop)
    }
}

/// Writes the key check anew if it is damaged and the key is right: then documents open. Fails otherwise.
fn confirm_key(database: &Database, documents: &Documents, error: KeyCheckError) -> Result<(), OpenError> {
    let sql = "SELECT scope, document FROM instances";
    let rows: rusqlite::Result<Vec<(String, Vec<u8>)>> = database.read(|connection| {
        connection.prepare(sql)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    });
    let opens = |(scope, sealed): &(String, Vec<u8>)| {
        let scope = IdScope::parse(scope.clone());
        scope.is_ok_and(|scope| {
            documents.is_sealed_here(RowRef { table: Table::Instances, scope: &scope, id: "" }, sealed)
        })
    };
    if !rows.is_ok_and(|rows| rows.iter().any(opens)) {
        return Err(error.into());
    }
    tracing::error!("the check of the sealing key was damaged; the key is right");
    Ok(database.put_key_check(documents.sealer())?)
}
