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

    /// Deletes the refused attempts and the counted operations of an instance. They have no versions, and no entries in the
    /// change log.
    async fn forget(&self, scope: &IdScope) -> Result<(), StoreError>;

    /// Counts the individual enrollments, registrations and cleanups of an instance, each up to this number.
    async fn counts(&self, scope: &IdScope, at_most: u64) -> Result<RecordCounts, StoreError>;

    /// Returns the instance with this ID scope; see [`Snapshot::instance`].
    async fn instance(&self, scope: &IdScope) -> Result<Option<Arc<Instance>>, StoreError> {
        Ok(self.snapshot().await?.instance(scope)?.cloned())
    }

    /// Returns the configuration of an instance; see [`Snapshot::configuration`].
    async fn configuration(&self, scope: &IdScope) -> Result<Configuration, StoreError> {
        self.snapshot().await?.configuration(scope)
    }
}

/// The numbers of an instance's records that are not kept in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordCounts {
    /// Individual enrollments.
    pub individuals: u64,
    /// Registrations.
    pub registrations: u64,
    /// Cleanups.
    pub cleanups: u64,
}
