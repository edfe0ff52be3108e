//! Expiring certificates: CA certificates, groups' signing certificates, and the leaves of individual enrollments.

use std::fmt;

use model::{
    CaReference, Certificate, EnrollmentGroupId, GroupAttestation, GroupCertificates, IndividualAttestation,
    IndividualCertificates, Instance, Pair, RegistrationId, Timestamp,
};

use crate::{
    Error, Provisioning,
    ports::{DamagedRecord, Page},
};

/// The most certificates in one answer.
pub const MAX_EXPIRING: usize = 1000;

/// Certificates that have expired or expire before some time, the first to expire first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiringCertificates {
    /// The certificates, at most [`MAX_EXPIRING`].
    pub certificates: Vec<ExpiringCertificate>,
    /// Whether there may be more certificates.
    pub more: bool,
    /// Unreadable records, whose certificates may expire as well.
    pub damaged: Vec<DamagedRecord>,
}

/// A certificate, and the object that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiringCertificate {
    /// The object that holds it.
    pub holder: Holder,
    /// The certificate.
    pub certificate: Certificate,
}

/// An object that holds a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A CA certificate of the instance.
    Ca(CaReference),
    /// An enrollment group, by its signing certificate.
    Group(EnrollmentGroupId),
    /// An individual enrollment, by its leaf.
    Individual(RegistrationId),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Ca(name) => write!(f, "CA certificate {name}"),
            Holder::Group(id) => write!(f, "enrollment group {id}"),
            Holder::Individual(id) => write!(f, "enrollment {id}"),
        }
    }
}

impl Provisioning {
    /// Returns the certificates whose validity ends at this instant or before.
    pub async fn expiring(
        &self,
        instance: &Instance,
        until: Timestamp,
    ) -> Result<ExpiringCertificates, Error> {
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
        Ok(ExpiringCertificates { certificates: found, more, damaged })
    }
}

fn held(pair: &Pair<Certificate>, holder: &Holder) -> Vec<ExpiringCertificate> {
    let held = |certificate: &Certificate| ExpiringCertificate {
        holder: holder.clone(),
        certificate: certificate.clone(),
    };
    let mut certificates: Vec<_> = pair.iter().map(held).collect();
    // A certificate in both slots is listed once.
    certificates.dedup();
    certificates
}
