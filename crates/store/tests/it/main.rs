//! Tests of the store crate.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod crash;
mod embedded;
mod faults;
mod freshness;
mod golden;
mod lanes;
mod maintenance;
mod memory;
mod migration;
mod postgres;
mod rolling_upgrade;

use std::sync::Arc;

use async_trait::async_trait;
use durable::Sealer;
use provisioning::ports::Store;
use store::EmbeddedStore;
use tempfile::TempDir;
use testkit::store_suite::{self, StoreLocation};

/// A temporary directory with a store in it.
struct Directory(TempDir);

impl Directory {
    fn new() -> Directory {
        Directory(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> EmbeddedStore {
        EmbeddedStore::open(&self.0.path().join("store.db"), sealer()).unwrap()
    }
}

#[async_trait]
impl StoreLocation for Directory {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(Directory::open(self))
    }

    async fn open_twice(&self) -> [Arc<dyn Store>; 2] {
        let first = Directory::open(self);
        let second = first.beside().unwrap();
        [Arc::new(first), Arc::new(second)]
    }
}

fn sealer() -> Sealer {
    Sealer::from_key([7; 32])
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_store_passes_the_conformance_suite() {
    store_suite::run(Directory::new).await;
}
