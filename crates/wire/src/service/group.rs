//! Enrollment groups: `EnrollmentGroup`.

use model::{
    EnrollmentGroup, EnrollmentGroupId, GroupDraft, PatternError, RegistrationIds, RegistrationIdsDraft,
};
use serde_json::Value;

use super::{
    attestation::{self, Secrets},
    members::{self, BodyError, Members, Object},
    settings,
};

/// The member with the patterns of registration IDs that a group admits.
const ALLOWED_IDS: &str = "allowedRegistrationIds";

/// Parses the body of a create or update.
pub fn parse_group(body: &[u8]) -> Result<GroupDraft, BodyError> {
    read(&Members::of_body(&members::parse_json(body)?)?)
}

pub(super) fn read(enrollment: &Members<'_>) -> Result<GroupDraft, BodyError> {
    Ok(GroupDraft {
        group_id: read_id(enrollment)?,
        attestation: attestation::read_group(enrollment)?,
        registration_ids: read_registration_ids(enrollment)?,
        settings: settings::read(enrollment)?,
    })
}

pub(super) fn read_id(enrollment: &Members<'_>) -> Result<EnrollmentGroupId, BodyError> {
    let id = enrollment.parsed("enrollmentGroupId", EnrollmentGroupId::parse)?;
    enrollment.required("enrollmentGroupId", id)
}

/// Parses the patterns of registration IDs, an addition of Muster that Azure's clients do not send. An empty list
/// allows all registration IDs; without the member, the stored patterns are kept.
fn read_registration_ids(enrollment: &Members<'_>) -> Result<RegistrationIdsDraft, BodyError> {
    let given = enrollment.list(ALLOWED_IDS, Ok::<_, PatternError>)?;
    let Some(patterns) = given else { return Ok(RegistrationIdsDraft::Kept) };
    if patterns.is_empty() {
        return Ok(RegistrationIdsDraft::Given(None));
    }
    let parsed = RegistrationIds::parse(&patterns).map_err(|error| enrollment.refuse(ALLOWED_IDS, error))?;
    Ok(RegistrationIdsDraft::Given(Some(parsed)))
}

/// Writes an enrollment group.
pub fn group_json(group: &EnrollmentGroup, secrets: Secrets) -> Value {
    let mut json = Object::default();
    json.put("enrollmentGroupId", group.group_id.as_str())
        .put("attestation", attestation::group_mechanism_json(&group.attestation, secrets))
        .put_some(ALLOWED_IDS, group.registration_ids.as_ref().map(|ids| ids.patterns().collect::<Vec<_>>()));
    settings::write(&mut json, &group.settings, &group.record);
    json.into_value()
}
