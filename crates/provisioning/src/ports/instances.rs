//! Instances, and the configurations that their devices are judged by.

use std::sync::Arc;

use async_trait::async_trait;
use model::{Attribution, Day, IdScope, Instance, OperationKind};

use super::StoreError;
use crate::configuration::{Configuration, Snapshot};

/// Reads and writes instances.
#[async_trait]
pub trait Instances: Send + Sync {
    /// Returns all instances with their configurations, as new as every write that was acknowledged. Every request asks for
    /// it: from memory while nothing was written.
    async fn snapshot(&self) -> Result<Arc<Snapshot>, StoreError>;

    /// Creates or replaces an instance.
    async fn put_instance(&self, instance: Instance, by: Attribution) -> Result<(), StoreError>;

    /// Replaces an instance and counts the operation, in one transaction. Returns false and changes nothing unless the stored
    /// instance equals `expected`.
    async fn replace_instance(
        &self,
        expected: &Instance,
        next: Instance,
        operation: Option<(OperationKind, Day)>,
        by: Attribution,
    ) -> Result<bool, StoreError>;

    /// Returns the instance with this ID scope; see [`Snapshot::instance`].
    async fn instance(&self, scope: &IdScope) -> Result<Option<Arc<Instance>>, StoreError> {
        Ok(self.snapshot().await?.instance(scope)?.cloned())
    }

    /// Returns the configuration of an instance; see [`Snapshot::configuration`].
    async fn configuration(&self, scope: &IdScope) -> Result<Configuration, StoreError> {
        self.snapshot().await?.configuration(scope)
    }
}
