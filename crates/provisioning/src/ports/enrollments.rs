//! Individual enrollments. Enrollment groups are part of the [`Snapshot`](crate::configuration::Snapshot).

use async_trait::async_trait;
use model::{IdScope, IndividualEnrollment, RegistrationId, Timestamp};

use super::{Page, PageRequest, StoreError};

/// Reads individual enrollments. They are written by [`Commits`](super::Commits).
#[async_trait]
pub trait Enrollments: Send + Sync {
    /// Returns one individual enrollment.
    async fn individual(
        &self,
        scope: &IdScope,
        id: &RegistrationId,
    ) -> Result<Option<IndividualEnrollment>, StoreError>;

    /// Returns individual enrollments in the order of their lower-case IDs.
    async fn individuals(
        &self,
        scope: &IdScope,
        page: PageRequest,
    ) -> Result<Page<IndividualEnrollment>, StoreError>;

    /// Returns individual enrollments with a client certificate that is not valid after this instant, those that expire first
    /// at the front, at most `limit`.
    async fn individuals_expiring(
        &self,
        scope: &IdScope,
        until: Timestamp,
        limit: usize,
    ) -> Result<Page<IndividualEnrollment>, StoreError>;
}
