//! Devices that are to be removed from hubs.

use async_trait::async_trait;
use model::{Cleanup, HubDeviceRef, HubName, IdScope, Timestamp};

use super::{Page, PageRequest, StoreError};

/// Reads cleanups. They are written by [`Commits`](super::Commits).
#[async_trait]
pub trait Cleanups: Send + Sync {
    /// Returns the cleanup of a device at a hub.
    async fn cleanup(&self, scope: &IdScope, place: &HubDeviceRef) -> Result<Option<Cleanup>, StoreError>;

    /// Returns cleanups in the order of their keys (hub, then device ID).
    async fn cleanups(&self, scope: &IdScope, page: PageRequest) -> Result<Page<Cleanup>, StoreError>;

    /// Returns cleanups at a hub that may be tried at this time, the longest due first. Damaged ones do not count towards
    /// `at_most`: they are never done, and would hold up the others.
    async fn cleanups_due(
        &self,
        scope: &IdScope,
        hub: &HubName,
        now: Timestamp,
        at_most: usize,
    ) -> Result<Page<Cleanup>, StoreError>;

    /// Counts the cleanups, up to a bound of the engine's (100,000).
    async fn cleanups_owed(&self, scope: &IdScope) -> Result<u64, StoreError>;
}
