//! The engine in memory passes the conformance suite: the suite and the trait are of no engine in particular.

use std::sync::Arc;

use async_trait::async_trait;
use memory_engine::MemoryEngine;
use provisioning::ports::Store;
use store::SealedStore;
use testkit::store_suite::{self, StoreLocation};

use crate::sealer;

#[derive(Default)]
struct Memory(MemoryEngine);

#[async_trait]
impl StoreLocation for Memory {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(SealedStore::over(self.0.clone(), sealer()).await.unwrap())
    }

    async fn open_twice(&self) -> [Arc<dyn Store>; 2] {
        [self.open().await, self.open().await]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_in_memory_passes_the_conformance_suite() {
    store_suite::run(Memory::default).await;
}
