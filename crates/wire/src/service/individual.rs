//! Individual enrollments: `IndividualEnrollment`.

use model::{DeviceId, IndividualDraft, IndividualEnrollment, Registration, RegistrationId};
use serde_json::Value;

use super::{
    attestation::{self, Secrets},
    members::{self, BodyError, Members, Object},
    settings,
};
use crate::device::registration_state;

/// Parses the body of a create or update.
pub fn parse_individual(body: &[u8]) -> Result<IndividualDraft, BodyError> {
    read(&Members::of_body(&members::parse_json(body)?)?)
}

pub(super) fn read(enrollment: &Members<'_>) -> Result<IndividualDraft, BodyError> {
    Ok(IndividualDraft {
        registration_id: read_id(enrollment)?,
        device_id: enrollment.parsed("deviceId", DeviceId::parse)?,
        attestation: attestation::read_individual(enrollment)?,
        device_information: enrollment.collection("optionalDeviceInformation")?,
        settings: settings::read(enrollment)?,
    })
}

pub(super) fn read_id(enrollment: &Members<'_>) -> Result<RegistrationId, BodyError> {
    enrollment.required("registrationId", enrollment.parsed("registrationId", RegistrationId::parse)?)
}

/// Whether an enrollment is written with the state of its device's registration.
#[derive(Debug, Clone, Copy)]
pub enum StateShown<'a> {
    /// Without the state, as in lists and in replies to writes.
    No,
    /// With the state, which is `unassigned` for a device without a registration.
    Yes(Option<&'a Registration>),
}

impl StateShown<'_> {
    fn json(self, id: &RegistrationId) -> Option<Value> {
        match self {
            StateShown::No => None,
            StateShown::Yes(Some(registration)) => Some(registration_state(registration)),
            StateShown::Yes(None) => {
                let mut unassigned = Object::default();
                unassigned.put("registrationId", id.as_str()).put("status", "unassigned");
                Some(unassigned.into_value())
            }
        }
    }
}

/// Writes an individual enrollment.
pub fn individual_json(enrollment: &IndividualEnrollment, state: StateShown<'_>, secrets: Secrets) -> Value {
    let information = enrollment.device_information.as_ref().map(|information| information.as_map().clone());
    let mut json = Object::default();
    json.put("registrationId", enrollment.registration_id.as_str())
        .put_some("deviceId", enrollment.device_id.as_ref().map(DeviceId::as_str))
        .put_some("registrationState", state.json(&enrollment.registration_id))
        .put_some("optionalDeviceInformation", information)
        .put("attestation", attestation::individual_mechanism_json(&enrollment.attestation, secrets));
    settings::write(&mut json, &enrollment.settings, &enrollment.record);
    json.into_value()
}
