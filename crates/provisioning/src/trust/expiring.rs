//! What expires soon: CA certificates, groups' signing certificates, and the leaves of individual enrollments.

use model::{
    CaReference, Certificate, EnrollmentGroupId, GroupAttestation, GroupCertificates, IndividualAttestation,
    IndividualCertificates, Instance, Pair, RegistrationId, Timestamp,
};

use crate::{
    Error, Provisioning,
    ports::{DamagedRecord, Page},
};

/// Most certificates in one answer.
pub const MAX_EXPIRING: usize = 1000;

/// Certificates that expire until some time, or have expired; the first to expire first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiring {
    /// The certificates, at most [`MAX_EXPIRING`].
    pub certificates: Vec<ExpiringCertificate>,
    /// Whether there may be more.
    pub more: bool,
    /// Records that cannot be read, whose certificates may expire as well.
    pub damaged: Vec<DamagedRecord>,
}

/// A certificate, and who holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiringCertificate {
    /// Who holds it.
    pub holder: Holder,
    /// The certificate.
    pub certificate: Certificate,
}

/// Who holds a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// It is a CA certificate of the instance.
    Ca(CaReference),
    /// It is a group's signing certificate.
    Group(EnrollmentGroupId),
    /// It is the leaf of an individual enrollment.
    Individual(RegistrationId),
}

impl Provisioning {
    /// Certificates that are not valid after this instant.
    pub async fn expiring(&self, instance: &Instance, until: Timestamp) -> Result<Expiring, Error> {
        let scope = &instance.id_scope;
        let configuration = self.store.configuration(scope).await?;
        let mut found: Vec<_> = configuration
            .trust()
            .certificates()
            .map(|ca| ExpiringCertificate {
                holder: Holder::Ca(ca.name.clone()),
                certificate: ca.certificate.clone(),
            })
            .collect();
        for group in configuration.groups().all() {
            if let GroupAttestation::X509(GroupCertificates::Signing(pair)) = &group.attestation {
                found.extend(held(pair, &Holder::Group(group.group_id.clone())));
            }
        }
        let Page { items: leaves, mut damaged, .. } =
            self.store.individuals_expiring(scope, until, MAX_EXPIRING).await?;
        damaged.extend(configuration.unreadable().iter().cloned());
        let mut more = leaves.len() + damaged.len() >= MAX_EXPIRING;
        for enrollment in leaves {
            if let IndividualAttestation::X509(IndividualCertificates::Client(pair)) = &enrollment.attestation
            {
                found.extend(held(pair, &Holder::Individual(enrollment.registration_id)));
            }
        }
        found.retain(|it| it.certificate.info().not_after <= until);
        found.sort_by_key(|it| it.certificate.info().not_after);
        more |= found.len() > MAX_EXPIRING;
        found.truncate(MAX_EXPIRING);
        Ok(Expiring { certificates: found, more, damaged })
    }
}

fn held(pair: &Pair<Certificate>, holder: &Holder) -> Vec<ExpiringCertificate> {
    let held = |certificate: &Certificate| ExpiringCertificate {
        holder: holder.clone(),
        certificate: certificate.clone(),
    };
    let mut certificates: Vec<_> = pair.iter().map(held).collect();
    // The same certificate in both slots is one that expires.
    certificates.dedup();
    certificates
}
