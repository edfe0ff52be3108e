//! Instances, and the configurations that their devices are judged by. They are written by
//! [`InstanceWriter`](crate::configuration::InstanceWriter).

use std::sync::Arc;

use async_trait::async_trait;
use model::{IdScope, Instance};

use super::StoreError;
use crate::configuration::{Configuration, Snapshot};

/// Reads instances.
#[async_trait]
pub trait Instances: Send + Sync {
    /// Returns all instances with their configurations, as new as every write that was acknowledged. Every request asks for
    /// it: from memory while nothing was written.
    async fn snapshot(&self) -> Result<Arc<Snapshot>, StoreError>;

    /// Returns the instance with this ID scope; see [`Snapshot::instance`].
    async fn instance(&self, scope: &IdScope) -> Result<Option<Arc<Instance>>, StoreError> {
        Ok(self.snapshot().await?.instance(scope)?.cloned())
    }

    /// Returns the configuration of an instance; see [`Snapshot::configuration`].
    async fn configuration(&self, scope: &IdScope) -> Result<Configuration, StoreError> {
        self.snapshot().await?.configuration(scope)
    }
}
