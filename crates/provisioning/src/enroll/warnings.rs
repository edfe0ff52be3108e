//! Warns of stored certificates that can let no device in. They are accepted all the same, as in the hosted service: an operator may
//! enter them ahead of time.

use std::fmt::Display;

use model::{
    CaCertificate, CaReference, Certificate, EnrollmentGroup, EnrollmentRef, Explanation, GroupAttestation,
    GroupCertificates, IndividualAttestation, IndividualCertificates, IndividualEnrollment, Instance, Pair,
    PeerText, RegistrationId, Timestamp, Trust,
};

use super::Enrollment;
use crate::{
    Error, Provisioning,
    attest::x509::{CertificateRefusal, faults_of_ca, faults_of_leaf},
};

/// The certificates of an enrollment, by their purpose.
#[derive(Debug, Clone, Copy)]
pub enum Entered<'a> {
    /// There are none.
    Nothing,
    /// The leaf certificates of one device.
    Leaves(&'a RegistrationId, &'a Pair<Certificate>),
    /// The certificates of CAs that sign devices' certificates.
    Signing(&'a Pair<Certificate>),
    /// The names of such CAs.
    References(&'a Pair<CaReference>),
}

impl<'a> From<&'a IndividualEnrollment> for Entered<'a> {
    fn from(enrollment: &'a IndividualEnrollment) -> Self {
        match &enrollment.attestation {
            IndividualAttestation::X509(IndividualCertificates::Client(leaves)) => {
                Entered::Leaves(&enrollment.registration_id, leaves)
            }
            IndividualAttestation::X509(IndividualCertificates::CaReferences(names)) => {
                Entered::References(names)
            }
            _ => Entered::Nothing,
        }
    }
}

impl<'a> From<&'a EnrollmentGroup> for Entered<'a> {
    fn from(group: &'a EnrollmentGroup) -> Self {
        match &group.attestation {
            GroupAttestation::X509(GroupCertificates::Signing(cas)) => Entered::Signing(cas),
            GroupAttestation::X509(GroupCertificates::CaReferences(names)) => Entered::References(names),
            GroupAttestation::SymmetricKey(_) => Entered::Nothing,
        }
    }
}

impl Entered<'_> {
    /// Returns why these certificates can let no device in.
    fn faults(&self, known: &Trust, now: Timestamp) -> Vec<CertificateRefusal> {
        match self {
            Entered::Nothing => Vec::new(),
            Entered::Leaves(id, leaves) => {
                leaves.iter().flat_map(|leaf| faults_of_leaf(leaf, id, now)).collect()
            }
            Entered::Signing(cas) => cas.iter().flat_map(|ca| faults_of_ca(ca, now)).collect(),
            Entered::References(names) => names.iter().flat_map(|name| named(name, known, now)).collect(),
        }
    }
}

fn named(name: &CaReference, known: &Trust, now: Timestamp) -> Vec<CertificateRefusal> {
    let Some(ca) = known.certificate(name) else {
        return vec![CertificateRefusal::GoneReference(name.clone())];
    };
    let unverified = (!ca.is_verified).then(|| CertificateRefusal::UnverifiedReference(name.clone()));
    unverified.into_iter().chain(faults_of_ca(&ca.certificate, now)).collect()
}

impl Provisioning {
    /// Returns why certificates of this enrollment let no device in; empty if there are no faults.
    pub async fn enrollment_warnings<E: Enrollment>(
        &self,
        instance: &Instance,
        enrollment: &E,
    ) -> Result<Vec<String>, Error> {
        let known = self.trust(instance).await?;
        let faults = enrollment.entered().faults(&known, self.clock.now());
        Ok(faults.iter().map(warning).collect())
    }

    /// Returns why this CA certificate lets no device in.
    pub fn ca_warnings(&self, ca: &CaCertificate) -> Vec<String> {
        faults_of_ca(&ca.certificate, self.clock.now()).iter().map(warning).collect()
    }

    /// Returns the warnings about every enrollment that an explanation considers, each with the enrollment that it is about.
    pub async fn warnings_of_considered(
        &self,
        instance: &Instance,
        registration_id: &RegistrationId,
        explanation: &Explanation,
    ) -> Result<Vec<String>, Error> {
        let (scope, mut warnings) = (&instance.id_scope, Vec::new());
        for considered in &explanation.considered {
            let (holder, found) = match &considered.enrollment {
                EnrollmentRef::Individual => {
                    let enrollment = self.store.individual(scope, registration_id).await?;
                    (
                        "the individual enrollment".to_owned(),
                        match &enrollment {
                            Some(enrollment) => self.enrollment_warnings(instance, enrollment).await?,
                            None => Vec::new(),
                        },
                    )
                }
                EnrollmentRef::Group(id) => {
                    let configuration = self.store.configuration(scope).await?;
                    (
                        format!("the group {id}"),
                        match configuration.group(id)? {
                            Some(group) => self.enrollment_warnings(instance, group.as_ref()).await?,
                            None => Vec::new(),
                        },
                    )
                }
            };
            warnings.extend(found.iter().map(|warning| format!("{holder}: {warning}")));
        }
        Ok(warnings)
    }
}

/// Returns one line of bounded length, for the subject of a certificate may be any text.
fn warning(fault: &impl Display) -> String {
    let text = format!("this lets no device in as it is: {fault}");
    PeerText::new(text, PeerText::MAX_BYTES).into_string()
}

#[cfg(test)]
mod tests {
    use testkit::{ca::Authority, sample};

    use super::*;

    #[test]
    fn certificates_that_let_no_device_in_are_named() {
        let ca = Authority::root("CA");
        let leaf = ca.device("dev-1").certificate();
        let known = |is_verified| {
            let mut trust = Trust::default();
            let stored = sample::ca_certificate("root", &ca.certificate());
            trust.put_certificate(CaCertificate { is_verified, ..stored }.into());
            trust
        };
        let names = Pair::new(Some(sample::ca_reference("root")), None).unwrap();
        let [own, other] = ["dev-1", "dev-2"].map(sample::registration_id);
        let (of_leaf, of_ca) =
            (Pair::new(Some(leaf), None).unwrap(), Pair::new(Some(ca.certificate()), None).unwrap());
        let cases = [
            (Entered::Nothing, Trust::default(), None),
            (Entered::References(&names), known(true), None),
            (Entered::References(&names), known(false), Some("verified")),
            (Entered::References(&names), Trust::default(), Some("root")),
            (Entered::Leaves(&own, &of_leaf), Trust::default(), None),
            (Entered::Leaves(&other, &of_leaf), Trust::default(), Some("dev-1")),
            (Entered::Signing(&of_ca), Trust::default(), None),
            (Entered::Signing(&of_leaf), Trust::default(), Some("not a CA")),
        ];
        for (entered, known, fault) in cases {
            let faults = entered.faults(&known, Timestamp::from_unix_seconds(1_795_392_000));
            let texts: Vec<_> = faults.iter().map(warning).collect();
            let is_named = texts.iter().any(|text| fault.is_some_and(|fault| text.contains(fault)));
            assert_eq!(
                (texts.is_empty(), is_named),
                (fault.is_none(), fault.is_some()),
                "{entered:?}: {texts:?}"
            );
        }
    }
}
