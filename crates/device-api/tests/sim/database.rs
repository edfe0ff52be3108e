//! The database of a world, which outlives all processes.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use durable::Sealer;
use memory_engine::MemoryEngine;
use provisioning::ports::{Clock, Store};
use store::{EmbeddedStore, SealedStore};

use crate::finish::finish;

/// A database, with the handle of the world itself on it.
pub enum Database {
    /// The file of an embedded store, and the folder that it is in.
    File { store: EmbeddedStore, folder: PathBuf },
    /// A database server. Like PostgreSQL at the isolation level "read committed", it carries a transaction out at one moment,
    /// and a read sees what was committed before.
    Server { engine: MemoryEngine, store: Arc<dyn Store> },
}

impl Database {
    pub fn open_file(folder: PathBuf, lease_clock: Arc<dyn Clock>) -> Database {
        let store = EmbeddedStore::open(&folder.join("sim.db"), sealer()).unwrap();
        Database::File { store: store.with_lease_clock(lease_clock), folder }
    }

    pub fn start_server(lease_clock: Arc<dyn Clock>) -> Database {
        let engine = MemoryEngine::new(lease_clock);
        let store = connect(&engine);
        Database::Server { engine, store }
    }

    /// Returns the handle of the world itself.
    pub fn store(&self) -> Arc<dyn Store> {
        match self {
            Database::File { store, .. } => Arc::new(store.clone()),
            Database::Server { store, .. } => Arc::clone(store),
        }
    }

    /// Opens a handle for a process: a cluster's node has a snapshot of its own.
    pub fn open(&self) -> Arc<dyn Store> {
        match self {
            Database::File { .. } => self.store(),
            Database::Server { engine, .. } => connect(engine),
        }
    }

    /// Returns the embedded store and its folder.
    pub fn file(&self) -> (&EmbeddedStore, &Path) {
        match self {
            Database::File { store, folder } => (store, folder),
            Database::Server { .. } => panic!("only embedded stores are restored"),
        }
    }
}

fn connect(engine: &MemoryEngine) -> Arc<dyn Store> {
    Arc::new(finish(SealedStore::over(engine.clone(), sealer())).unwrap())
}

fn sealer() -> Sealer {
    Sealer::from_key([7; 32])
}
