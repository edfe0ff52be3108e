//! The differences between the routes of the two kinds of enrollments.

use model::{
    EnrollmentGroup, EnrollmentGroupId, GroupDraft, IdError, IndividualDraft, IndividualEnrollment,
    RegistrationId,
};
use provisioning::enroll::Enrollment;
use serde_json::Value;
use wire::service::{self, BodyError, BulkItems, Collection, ImportBody, Secrets, StateShown};

/// A kind of enrollments, as JSON.
pub(crate) trait Resource: Enrollment {
    /// The listing.
    const COLLECTION: Collection;
    /// The member with the ID.
    const ID_NAME: &'static str;

    fn parse_id(text: &str) -> Result<Self::Id, IdError>;
    fn parse_draft(body: &[u8]) -> Result<Self::Draft, BodyError>;
    fn parse_bulk(body: &[u8]) -> Result<BulkItems<Self::Draft, Self::Id>, BodyError>;
    fn parse_import(body: &[u8]) -> Result<ImportBody<Self::Draft>, BodyError>;
    fn json(&self, secrets: Secrets) -> Value;
    fn mechanism_json(&self) -> Value;
}

impl Resource for IndividualEnrollment {
    const COLLECTION: Collection = Collection::Individuals;
    const ID_NAME: &'static str = "registrationId";

    fn parse_id(text: &str) -> Result<RegistrationId, IdError> {
        RegistrationId::parse(text)
    }

    fn parse_draft(body: &[u8]) -> Result<IndividualDraft, BodyError> {
        service::parse_individual(body)
    }

    fn parse_bulk(body: &[u8]) -> Result<BulkItems<IndividualDraft, RegistrationId>, BodyError> {
        service::parse_individual_bulk(body)
    }

    fn parse_import(body: &[u8]) -> Result<ImportBody<IndividualDraft>, BodyError> {
        service::parse_individual_import(body)
    }

    fn json(&self, secrets: Secrets) -> Value {
        service::individual_json(self, StateShown::No, secrets)
    }

    fn mechanism_json(&self) -> Value {
        service::individual_mechanism_json(&self.attestation, Secrets::Shown)
    }
}

impl Resource for EnrollmentGroup {
    const COLLECTION: Collection = Collection::Groups;
    const ID_NAME: &'static str = "enrollmentGroupId";

    fn parse_id(text: &str) -> Result<EnrollmentGroupId, IdError> {
        EnrollmentGroupId::parse(text)
    }

    fn parse_draft(body: &[u8]) -> Result<GroupDraft, BodyError> {
        service::parse_group(body)
    }

    fn parse_bulk(body: &[u8]) -> Result<BulkItems<GroupDraft, EnrollmentGroupId>, BodyError> {
        service::parse_group_bulk(body)
    }

    fn parse_import(body: &[u8]) -> Result<ImportBody<GroupDraft>, BodyError> {
        service::parse_group_import(body)
    }

    fn json(&self, secrets: Secrets) -> Value {
        service::group_json(self, secrets)
    }

    fn mechanism_json(&self) -> Value {
        service::group_mechanism_json(&self.attestation, Secrets::Shown)
    }
}
