//! Explanations, an addition of Muster: why a device is admitted or refused, for a device that an operator describes.

use model::{
    Admission, Attempt, Certificate, ConsideredEnrollment, EndorsementKey, EnrollmentRef, Explanation, Fit,
    IdScope, KeySlot, RefusalReason, RegistrationId, SignedClaim, StorageRootKey,
};
use serde_json::Value;

use super::{
    advice::refusal_advice,
    members::{self, BodyError, Members, Object},
};
use crate::sas;

/// A device as an operator describes it.
#[derive(Debug, Clone)]
pub struct DescribedDevice {
    /// The ID scope that the device addresses.
    pub id_scope: Option<IdScope>,
    /// The registration ID.
    pub registration_id: RegistrationId,
    /// The certificates that the device sends, leaf first.
    pub certificates: Vec<Certificate>,
    /// The SAS token that the device sends.
    pub sas_token: Option<SignedClaim>,
    /// The endorsement key of the device's TPM, and the storage root key if the device sends it.
    pub tpm: Option<(EndorsementKey, Option<StorageRootKey>)>,
}

/// Parses `{"registrationId", "idScope"?, "certificates"?: [PEM or base64], "sasToken"?, "tpm"?: {"endorsementKey",
/// "storageRootKey"?}}`.
pub fn parse_described_device(body: &[u8]) -> Result<DescribedDevice, BodyError> {
    let body = members::parse_json(body)?;
    let device = Members::of_body(&body)?;
    let id = device.parsed("registrationId", RegistrationId::parse)?;
    Ok(DescribedDevice {
        id_scope: device.parsed("idScope", IdScope::parse)?,
        registration_id: device.required("registrationId", id)?,
        certificates: device.list("certificates", Certificate::parse)?.unwrap_or_default(),
        sas_token: device.parsed("sasToken", sas::parse)?,
        tpm: device.object("tpm")?.map(|tpm| tpm_keys(&tpm)).transpose()?,
    })
}

fn tpm_keys(tpm: &Members<'_>) -> Result<(EndorsementKey, Option<StorageRootKey>), BodyError> {
    let endorsement_key = tpm.parsed("endorsementKey", EndorsementKey::parse)?;
    let storage_root_key = tpm.parsed("storageRootKey", StorageRootKey::parse)?;
    Ok((tpm.required("endorsementKey", endorsement_key)?, storage_root_key))
}

/// Writes `{"outcome", "enrollment"?, "reason"?, "reasonCode"?, "advice"?, "presented", "considered", "omitted", "unfitCertificates"}`.
pub fn explanation_json(explanation: &Explanation) -> Value {
    object(explanation).into_value()
}

/// Writes `{"attempts": [{"registrationId", "dateTimeUtc", "address"?, …explanation}], "next"?}`.
pub fn attempts_json(attempts: &[Attempt], next: Option<&str>) -> Value {
    let attempt = |attempt: &Attempt| {
        let mut json = object(&attempt.explanation);
        json.put("registrationId", attempt.registration_id.as_str())
            .put("dateTimeUtc", attempt.at.to_string())
            .put_some("address", attempt.address.map(|address| address.to_string()));
        json.into_value()
    };
    let mut json = Object::default();
    json.put("attempts", attempts.iter().map(attempt).collect::<Vec<_>>()).put_some("next", next);
    json.into_value()
}

fn object(explanation: &Explanation) -> Object {
    let mut json = Object::default();
    match &explanation.outcome {
        Admission::Admitted(enrollment) => {
            json.put("outcome", "admitted").put("enrollment", enrollment_json(enrollment))
        }
        Admission::Disabled(enrollment) => {
            json.put("outcome", "disabled").put("enrollment", enrollment_json(enrollment))
        }
        Admission::Challenged => json.put("outcome", "challenged"),
        Admission::Refused { reason, code } => json
            .put("outcome", "refused")
            .put("reason", reason.as_str())
            .put_some("reasonCode", code.map(RefusalReason::name))
            .put_some("advice", code.map(refusal_advice)),
    };
    json.put("presented", explanation.presented.clone())
        .put("considered", explanation.considered.iter().map(considered_json).collect::<Vec<_>>())
        .put("omitted", explanation.omitted)
        .put("unfitCertificates", explanation.unfit.clone());
    json
}

fn considered_json(considered: &ConsideredEnrollment) -> Value {
    let mut json = Object::default();
    json.put("enrollment", enrollment_json(&considered.enrollment));
    match &considered.fit {
        Fit::Fits { path, key } => {
            json.put("verdict", "fits").put("path", path.clone()).put_some("key", key.map(KeySlot::name))
        }
        Fit::Refuses { reason } => json.put("verdict", "refuses").put("reason", reason.as_str()),
    };
    json.into_value()
}

fn enrollment_json(enrollment: &EnrollmentRef) -> Value {
    let mut json = Object::default();
    match enrollment {
        EnrollmentRef::Individual => json.put("type", "individual"),
        EnrollmentRef::Group(id) => json.put("type", "group").put("enrollmentGroupId", id.as_str()),
    };
    json.into_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_described_device_needs_a_registration_id() {
        let read = |body: &str| parse_described_device(body.as_bytes()).map_err(|error| error.to_string());
        let device = read(r#"{"registrationId": "dev-1", "idScope": "0ne1", "certificates": []}"#).unwrap();
        assert_eq!((device.registration_id.as_str(), device.certificates.len()), ("dev-1", 0));
        for (body, problem) in [
            ("[]", "must be a JSON object"),
            ("{}", "registrationId: is missing"),
            (r#"{"registrationId": "a b"}"#, "registrationId: "),
            (r#"{"registrationId": "a", "certificates": "x"}"#, "certificates: must be an array"),
            (r#"{"registrationId": "a", "certificates": ["x"]}"#, "certificates[0]: certificate"),
            (r#"{"registrationId": "a", "sasToken": "x"}"#, "sasToken: "),
            (r#"{"registrationId": "a", "tpm": {}}"#, "tpm.endorsementKey: is missing"),
        ] {
            let refused = read(body).unwrap_err();
            assert!(refused.contains(problem), "{body}: {refused}");
        }
    }
}
