//! What is wrong with a certificate that an operator enters: the rules of registrations, held against it beforehand. They
//! are the same functions, so that a warning never says anything else than the refusals that would follow.

use model::{Certificate, RegistrationId, Timestamp};
use x509_parser::certificate::X509Certificate;

use super::{
    CertificateRefusal, parsed,
    rules::{self, Source},
};

/// Returns the rules that a CA certificate breaks as the end of a path.
pub(crate) fn faults_of_ca(certificate: &Certificate, now: Timestamp) -> Vec<CertificateRefusal> {
    faults(certificate, now, |parsed, at| rules::issuer(parsed, (Source::Entered, 0), at))
}

/// Returns the rules that the leaf of a device with this registration ID breaks.
pub(crate) fn faults_of_leaf(
    certificate: &Certificate,
    registration_id: &RegistrationId,
    now: Timestamp,
) -> Vec<CertificateRefusal> {
    let mut faults = faults(certificate, now, rules::leaf);
    let named = parsed(certificate).map_or(Ok(()), |leaf| rules::bears_name(&leaf, registration_id));
    faults.extend(named.err());
    faults
}

/// The rules broken now, and those broken at a time when the certificate is valid: that it has expired must not hide that its
/// key is weak.
fn faults(
    certificate: &Certificate,
    now: Timestamp,
    rule: impl Fn(&X509Certificate<'_>, Timestamp) -> Result<(), CertificateRefusal>,
) -> Vec<CertificateRefusal> {
    let Some(parsed) = parsed(certificate) else { return Vec::new() };
    let times = [now, certificate.info().not_before];
    let mut faults: Vec<_> = times.into_iter().filter_map(|at| rule(&parsed, at).err()).collect();
    faults.dedup();
    faults
}
