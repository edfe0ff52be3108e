//! The members of enrollments. The service ignores unknown members, since clients differ. Files that people write are
//! checked before they are sent, since a misspelled member would be ignored silently.

use serde_json::{Map, Value};

/// The shape of a JSON value.
enum Shape {
    /// Any value.
    Free,
    /// An object with these members.
    Object(&'static [(&'static str, Shape)]),
}

use Shape::{Free, Object};

const KEYS: Shape = Object(&[("primaryKey", Free), ("secondaryKey", Free)]);
const TPM: Shape = Object(&[("endorsementKey", Free), ("storageRootKey", Free)]);
const INFO: Shape = Object(&[
    ("subjectName", Free),
    ("sha1Thumbprint", Free),
    ("sha256Thumbprint", Free),
    ("issuerName", Free),
    ("notBeforeUtc", Free),
    ("notAfterUtc", Free),
    ("serialNumber", Free),
    ("version", Free),
]);
const CERTIFICATE: Shape = Object(&[("certificate", Free), ("info", INFO)]);
const CERTIFICATES: Shape = Object(&[("primary", CERTIFICATE), ("secondary", CERTIFICATE)]);
const REFERENCES: Shape = Object(&[("primary", Free), ("secondary", Free)]);
const X509: Shape = Object(&[
    ("clientCertificates", CERTIFICATES),
    ("signingCertificates", CERTIFICATES),
    ("caReferences", REFERENCES),
]);
const ATTESTATION: Shape = Object(&[("type", Free), ("symmetricKey", KEYS), ("tpm", TPM), ("x509", X509)]);
const TWIN: Shape = Object(&[("tags", Free), ("properties", Object(&[("desired", Free)]))]);

/// The members of both kinds of enrollments.
const MEMBERS: Shape = Object(&[
    ("registrationId", Free),
    ("enrollmentGroupId", Free),
    ("deviceId", Free),
    ("registrationState", Free),
    ("optionalDeviceInformation", Free),
    ("allowedRegistrationIds", Free),
    ("attestation", ATTESTATION),
    ("capabilities", Object(&[("iotEdge", Free)])),
    ("iotHubHostName", Free),
    ("initialTwin", TWIN),
    ("etag", Free),
    ("provisioningStatus", Free),
    ("reprovisionPolicy", Object(&[("updateHubAssignment", Free), ("migrateDeviceData", Free)])),
    ("createdDateTimeUtc", Free),
    ("lastUpdatedDateTimeUtc", Free),
    ("allocationPolicy", Free),
    ("iotHubs", Free),
    ("customAllocationDefinition", Object(&[("webhookUrl", Free), ("apiVersion", Free)])),
    ("credentialPolicyName", Free),
    ("namespaceName", Free),
    ("certificateAuthorityName", Free),
    ("certificatePolicyName", Free),
    ("managedBy", Free),
]);

/// The members that only individual enrollments have.
const OF_INDIVIDUALS: [&str; 4] =
    ["registrationId", "deviceId", "registrationState", "optionalDeviceInformation"];
/// The members that only enrollment groups have.
const OF_GROUPS: [&str; 2] = ["enrollmentGroupId", "allowedRegistrationIds"];

/// The kinds of enrollments, by their members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnrollmentShape {
    /// An individual enrollment (`IndividualEnrollment`).
    Individual,
    /// An enrollment group (`EnrollmentGroup`).
    Group,
}

impl EnrollmentShape {
    /// Returns the path of the first unknown member, such as `capabilities.iotEgde`, if there is one. Names match in
    /// any case, as in the service's parsing.
    pub fn unknown_member(self, enrollment: &Map<String, Value>) -> Option<String> {
        let others: &[&str] = match self {
            EnrollmentShape::Individual => &OF_GROUPS,
            EnrollmentShape::Group => &OF_INDIVIDUALS,
        };
        let is_others = |name: &&String| others.iter().any(|other| other.eq_ignore_ascii_case(name));
        enrollment.keys().find(is_others).cloned().or_else(|| unknown("", &MEMBERS, enrollment))
    }
}

fn unknown(path: &str, shape: &Shape, members: &Map<String, Value>) -> Option<String> {
    let Object(known) = shape else { return None };
    members.iter().find_map(|(name, value)| {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match known.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            None => Some(path),
            Some((_, shape)) => value.as_object().and_then(|members| unknown(&path, shape, members)),
        }
    })
}

#[cfg(test)]
mod tests {
    use model::{
        EnrollmentGroup, GroupAttestation, IndividualAttestation, IndividualCertificates,
        IndividualEnrollment, Pair, RegistrationIds,
    };
    use serde_json::json;

    use super::*;
    use crate::service::{Secrets, StateShown, group_json, individual_json, tests::samples};

    #[test]
    fn members_of_written_enrollments_are_known() {
        let client = Pair::new(Some(samples::certificate()), None).unwrap();
        for attestation in [
            IndividualAttestation::SymmetricKey(samples::keys()),
            IndividualAttestation::Tpm(samples::tpm()),
            IndividualAttestation::X509(IndividualCertificates::Client(client)),
            IndividualAttestation::X509(IndividualCertificates::CaReferences(samples::references())),
        ] {
            let enrollment = IndividualEnrollment { attestation, ..samples::full_individual() };
            let state = Some(samples::registration());
            let shown = individual_json(&enrollment, StateShown::Yes(state.as_ref()), Secrets::Shown);
            let shown = shown.as_object().unwrap();
            assert_eq!(EnrollmentShape::Individual.unknown_member(shown), None, "{shown:?}");
        }
        let group = EnrollmentGroup {
            registration_ids: RegistrationIds::parse(&["a-*"]).ok(),
            settings: samples::settings(),
            ..samples::group(GroupAttestation::SymmetricKey(samples::keys()))
        };
        let shown = group_json(&group, Secrets::Shown);
        assert_eq!(EnrollmentShape::Group.unknown_member(shown.as_object().unwrap()), None, "{shown}");
    }

    #[test]
    fn misspelled_members_are_named() {
        use EnrollmentShape::{Group, Individual};
        for (kind, enrollment, unknown) in [
            (Individual, json!({"ETAG": "", "InitialTwin": {"tags": {"any": {"thing": 1}}}}), None),
            (Individual, json!({"provisioningStaus": "disabled"}), Some("provisioningStaus")),
            (Individual, json!({"capabilities": {"iotEgde": true}}), Some("capabilities.iotEgde")),
            (Individual, json!({"initialTwin": {"desired": {}}}), Some("initialTwin.desired")),
            (
                Individual,
                json!({"initialTwin": null, "attestation": {"x509": {"certificate": 1}}}),
                Some("attestation.x509.certificate"),
            ),
            (Individual, json!({"allowedRegistrationIds": []}), Some("allowedRegistrationIds")),
            (Group, json!({"allowedRegistrationIds": []}), None),
            (Group, json!({"deviceId": "a"}), Some("deviceId")),
        ] {
            let found = kind.unknown_member(enrollment.as_object().unwrap());
            assert_eq!(found.as_deref(), unknown, "{enrollment}");
        }
    }
}
