//! Registrations.

use async_trait::async_trait;
use model::{EnrollmentGroupId, IdScope, Registration, RegistrationId, StatusKind};

use super::{Page, PageRequest, StoreError};

/// Reads registrations. They are written by [`Commits`](super::Commits).
#[async_trait]
pub trait Registrations: Send + Sync {
    /// Returns one registration.
    async fn registration(
        &self,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<Option<Registration>, StoreError>;

    /// Returns all registrations of an instance in the order of their lower-case IDs.
    async fn registrations(
        &self,
        scope: &IdScope,
        page: PageRequest,
    ) -> Result<Page<Registration>, StoreError>;

    /// Returns the registrations through an enrollment group in the order of their lower-case IDs.
    async fn registrations_of(
        &self,
        scope: &IdScope,
        group: &EnrollmentGroupId,
        page: PageRequest,
    ) -> Result<Page<Registration>, StoreError>;

    /// Returns the registrations of a status, whatever their enrollment, in the order of their lower-case IDs.
    async fn registrations_in(
        &self,
        scope: &IdScope,
        status: StatusKind,
        page: PageRequest,
    ) -> Result<Page<Registration>, StoreError>;
}
