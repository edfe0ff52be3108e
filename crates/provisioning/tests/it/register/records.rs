//! The stores of the tests: a file, or with `MUSTER_TEST_STORE=postgresql` a database of the shared server.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use durable::Sealer;
use provisioning::ports::Store;
use store::{EmbeddedStore, PostgresStore, postgres::Settings};
use tempfile::TempDir;
use testkit::postgres::Database;

/// A store, and where it is.
pub enum Records {
    File(EmbeddedStore, Arc<TempDir>),
    Database(PostgresStore, Database),
}

impl Records {
    /// Makes an empty store of the chosen kind.
    pub async fn new() -> Records {
        match Database::chosen() {
            Some(database) => Records::connect(database).await,
            None => Records::in_file(),
        }
    }

    /// Makes an empty store in a file.
    pub fn in_file() -> Records {
        Records::open(Arc::new(directory()))
    }

    fn open(directory: Arc<TempDir>) -> Records {
        Records::File(EmbeddedStore::open(&file(&directory), sealer()).unwrap(), directory)
    }

    async fn connect(database: Database) -> Records {
        let settings = Settings::parse(&database.url()).unwrap();
        Records::Database(PostgresStore::connect(settings, sealer()).await.unwrap(), database)
    }

    pub fn store(&self) -> Arc<dyn Store> {
        match self {
            Records::File(store, _) => Arc::new(store.clone()),
            Records::Database(store, _) => Arc::new(store.clone()),
        }
    }

    /// Opens the store a second time, as another process does.
    pub async fn beside(&self) -> Records {
        match self {
            Records::File(store, directory) => Records::File(store.beside().unwrap(), Arc::clone(directory)),
            Records::Database(_, database) => Records::connect(database.clone()).await,
        }
    }

    /// Closes the file, if it is one.
    pub async fn close_file(&self) {
        if let Records::File(store, _) = self {
            store.clone().close().await;
        }
    }

    /// Closes the store and opens it again, after something happened to the file, if there is one.
    pub async fn reopened_after(self, happens: impl FnOnce(&Path)) -> Records {
        match self {
            Records::File(store, directory) => {
                store.close().await;
                happens(&file(&directory));
                Records::open(directory)
            }
            Records::Database(store, database) => {
                drop(store);
                Records::connect(database).await
            }
        }
    }
}

/// Returns a directory in memory if possible, because a disk is slow, and the tests of the store cover it.
fn directory() -> TempDir {
    let in_memory = tempfile::tempdir_in("/dev/shm");
    in_memory.or_else(|_| tempfile::tempdir()).unwrap()
}

fn file(directory: &Arc<TempDir>) -> PathBuf {
    directory.path().join("store.db")
}

fn sealer() -> Sealer {
    Sealer::from_key([7; 32])
}
