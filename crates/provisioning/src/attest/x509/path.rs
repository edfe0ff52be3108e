//! The walk from a leaf to the nearest enrollment group.

use std::sync::Arc;

use model::{Certificate, EnrollmentGroup, GroupAttestation, GroupCertificates, ProvisioningStatus};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{
    CertificateRefusal, PresentedChain,
    rules::{self, BrokenRule},
    signature,
};
use crate::attest::Claimant;

/// The group whose signing certificate is nearest the leaf.
///
/// The walk goes up level by level: from the leaf to what issued it, to what issued that. At each level the groups'
/// certificates are tried as issuers first, then those that the device sent, in whatever order it sent them. The first
/// level with a group decides. Each certificate is reached once, so the longest chain costs 45 signatures besides those
/// of the groups' certificates.
pub fn nearest_group<'g>(
    chain: &PresentedChain<'_>,
    groups: &'g [Arc<EnrollmentGroup>],
    claimant: &Claimant<'_>,
) -> Result<&'g Arc<EnrollmentGroup>, CertificateRefusal> {
    rules::leaf(&chain.leaf, claimant)?;
    let mut level = vec![&chain.leaf];
    let mut unreached: Vec<_> = chain.others.iter().collect();
    let mut below = 0;
    loop {
        let rule = |issuer: &X509Certificate<'_>| rules::issuer(issuer, below, claimant.now);
        if let Some(group) = deciding_group(&level, groups, rule)? {
            return Ok(group);
        }
        let (above, rest) = unreached.into_iter().partition(|issuer| issued_one_of(issuer, &level));
        let above = passing(above, |issuer| rule(issuer))?;
        if above.is_empty() {
            let top = level.first().copied().unwrap_or(&chain.leaf);
            return Err(no_issuer(top, chain, groups));
        }
        (level, unreached, below) = (above, rest, below + 1);
    }
}

/// The group that decides about a level, if one of its certificates issued something there. If any of those groups is
/// disabled, a disabled one decides, so that a blocked certificate blocks.
fn deciding_group<'g>(
    level: &[&X509Certificate<'_>],
    groups: &'g [Arc<EnrollmentGroup>],
    rule: impl Fn(&X509Certificate<'_>) -> Result<(), CertificateRefusal>,
) -> Result<Option<&'g Arc<EnrollmentGroup>>, CertificateRefusal> {
    let mut anchors: Vec<_> = groups.iter().flat_map(|group| anchors(group, level)).collect();
    let is_disabled = |(group, _): &(&Arc<EnrollmentGroup>, _)| {
        group.settings.provisioning_status == ProvisioningStatus::Disabled
    };
    if anchors.iter().any(is_disabled) {
        anchors.retain(is_disabled);
    }
    Ok(passing(anchors, |(_, anchor)| rule(anchor))?.first().map(|(group, _)| *group))
}

/// A group with each of its certificates that issued one of a level's.
fn anchors<'g>(
    group: &'g Arc<EnrollmentGroup>,
    level: &[&X509Certificate<'_>],
) -> impl Iterator<Item = (&'g Arc<EnrollmentGroup>, X509Certificate<'g>)> {
    signing_certificates(group)
        .filter(|certificate| level.iter().any(|one| certificate.subject() == one.issuer().as_raw()))
        .filter_map(parsed)
        .filter(|anchor| issued_one_of(anchor, level))
        .map(move |anchor| (group, anchor))
}

fn issued_one_of(issuer: &X509Certificate<'_>, level: &[&X509Certificate<'_>]) -> bool {
    level
        .iter()
        .any(|one| one.issuer().as_raw() == issuer.subject().as_raw() && signature::is_signed_by(one, issuer))
}

/// Those that pass the rule; when none does, why the first does not. A renewed certificate may stand beside its
/// expired predecessor, so one of them that passes is enough.
fn passing<T>(
    candidates: Vec<T>,
    rule: impl Fn(&T) -> Result<(), CertificateRefusal>,
) -> Result<Vec<T>, CertificateRefusal> {
    let (mut passed, mut refusal) = (Vec::new(), None);
    for candidate in candidates {
        match rule(&candidate) {
            Ok(()) => passed.push(candidate),
            Err(broken) => refusal = refusal.or(Some(broken)),
        }
    }
    match refusal {
        Some(broken) if passed.is_empty() => Err(broken),
        _ => Ok(passed),
    }
}

fn signing_certificates(group: &EnrollmentGroup) -> impl Iterator<Item = &Certificate> {
    let certificates = match &group.attestation {
        GroupAttestation::X509(GroupCertificates::Signing(certificates)) => Some(certificates),
        _ => None,
    };
    certificates.into_iter().flat_map(|pair| pair.iter())
}

fn parsed(certificate: &Certificate) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(certificate.der()).ok().map(|(_, certificate)| certificate)
}

/// Why the walk ended at `top`: an issuer whose name fits and whose key does not is told apart from a missing one.
fn no_issuer(
    top: &X509Certificate<'_>,
    chain: &PresentedChain<'_>,
    groups: &[Arc<EnrollmentGroup>],
) -> CertificateRefusal {
    let issuer = top.issuer().as_raw();
    let of_a_group = groups.iter().flat_map(|group| signing_certificates(group)).map(Certificate::subject);
    let others = chain.others.iter().filter(|certificate| certificate.as_raw() != top.as_raw());
    let of_the_device = others.map(|certificate| certificate.subject().as_raw());
    if of_a_group.chain(of_the_device).any(|subject| subject == issuer) {
        return rules::broken(top, BrokenRule::Signature);
    }
    CertificateRefusal::MissingIssuer { subject: top.subject().to_string(), issuer: top.issuer().to_string() }
}
