//! `EnrollmentGroup`.

use model::{EnrollmentGroup, EnrollmentGroupId, GroupDraft};
use serde_json::Value;

use super::{
    attestation::{self, Secrets},
    members::{self, BodyError, Members, Object},
    settings,
};

/// Reads the body of a create or update.
pub fn parse_group(body: &[u8]) -> Result<GroupDraft, BodyError> {
    read(&Members::of_body(&members::parse_json(body)?)?)
}

pub(super) fn read(enrollment: &Members<'_>) -> Result<GroupDraft, BodyError> {
    Ok(GroupDraft {
        group_id: read_id(enrollment)?,
        attestation: attestation::read_group(enrollment)?,
        settings: settings::read(enrollment)?,
    })
}

pub(super) fn read_id(enrollment: &Members<'_>) -> Result<EnrollmentGroupId, BodyError> {
    let id = enrollment.parsed("enrollmentGroupId", EnrollmentGroupId::parse)?;
    enrollment.required("enrollmentGroupId", id)
}

/// Writes an enrollment group.
pub fn group_json(group: &EnrollmentGroup, secrets: Secrets) -> Value {
    let mut json = Object::default();
    json.put("enrollmentGroupId", group.group_id.as_str())
        .put("attestation", attestation::group_mechanism_json(&group.attestation, secrets));
    settings::write(&mut json, &group.settings, &group.record);
    json.into_value()
}
