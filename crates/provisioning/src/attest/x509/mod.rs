//! X.509 attestation: the device's leaf is the enrolled one, or chains to a certificate that an enrollment trusts.
//!
//! The TLS handshake has shown that the device holds the leaf's private key. Paths and the rules of certificates are in
//! `certpath`; here is which enrollment a path leads to ([`groups`]), what the trust of an instance has to do with it
//! ([`known`]), and which device a leaf names.

pub(super) mod groups;
pub(super) mod known;

use certpath::{
    Leaf, LeafName, MissingIssuer, PathError, PresentedChain, Purpose, Sha256Thumbprint, leaf_name,
};
pub use known::CaRules;
use model::{CaReference, Certificate, ChainTooLong, Pair, RegistrationId, Timestamp};
use rustls_pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{Claimant, Refusal};

/// Why certificates do not prove a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefusal {
    /// The chain exceeds what the TLS handshake accepts, so the device cannot connect.
    #[error(transparent)]
    TooLong(#[from] ChainTooLong),
    /// No path to a trusted certificate passes.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The issuer is missing, and an enrollment group names a CA certificate that was deleted and may be the issuer.
    #[error(
        "{missing}; perhaps it is the CA certificate {gone}, which no longer exists and an enrollment group names"
    )]
    GoneIssuer {
        /// The certificate and its missing issuer.
        missing: MissingIssuer,
        /// The deleted CA certificate.
        gone: CaReference,
    },
    /// The leaf names another device.
    #[error("the leaf's common name is {0:?}, not the registration ID")]
    OtherName(String),
    /// The leaf has no common name, and its DNS name is another device's.
    #[error("the leaf has no common name, and its first DNS name is {0:?}, not the registration ID")]
    OtherDnsName(String),
    /// A group's signing certificate neither is a verified CA certificate nor chains to one, and the instance requires that.
    #[error(
        "the signing certificate {subject} is not a verified CA certificate of the service instance and does not chain to \
         one: {why}"
    )]
    Unverified {
        /// The signing certificate's subject.
        subject: String,
        /// Why no path to a verified CA certificate passes.
        why: String,
    },
    /// An enrollment names a CA certificate that is not verified.
    #[error("the enrollment names the CA certificate {0}, which is not verified")]
    UnverifiedReference(CaReference),
    /// An enrollment names a CA certificate that was deleted.
    #[error("the enrollment names the CA certificate {0}, which no longer exists")]
    GoneReference(CaReference),
}

impl CertificateRefusal {
    /// Returns whether a block or a revocation list refuses, and not a rule about certificates.
    pub fn is_by_operator(&self) -> bool {
        matches!(self, CertificateRefusal::Path(error) if error.is_by_operator())
    }

    /// Returns whether no trusted key was found to have signed anything on the path up from the leaf.
    fn is_unproven(&self) -> bool {
        match self {
            CertificateRefusal::Path(error) => error.is_unproven(),
            CertificateRefusal::GoneIssuer { .. } => true,
            _ => false,
        }
    }
}

/// Parses the certificates that a device sent.
///
/// # Errors
///
/// If any cannot be read, or if the TLS handshake would refuse the chain.
pub fn parse_chain<'a>(
    certificates: &'a [CertificateDer<'static>],
) -> Result<PresentedChain<'a>, CertificateRefusal> {
    // The TLS handshake refuses such a chain before it gets here: this is for explanations.
    if let Some(too_long) = ChainTooLong::of(certificates.iter().map(|certificate| certificate.len())) {
        return Err(too_long.into());
    }
    Ok(PresentedChain::parse(certificates.iter().map(AsRef::as_ref))?)
}

/// Proof that a leaf is valid, not blocked, and named for the claimant's device.
#[derive(Debug, Clone, Copy)]
struct DeviceLeaf<'c, 's>(Leaf<'c, 's>);

impl<'c, 's> DeviceLeaf<'c, 's> {
    /// Checks a leaf from which a path must lead to a trusted certificate.
    fn check(chain: &'c PresentedChain<'s>, claimant: &Claimant<'_>) -> Result<Self, CertificateRefusal> {
        let leaf = Leaf::check(chain.leaf(), claimant.ca.circumstances(claimant.now))?;
        Self::named(leaf, claimant.registration_id)
    }

    /// Checks a leaf that is enrolled itself.
    fn check_enrolled(
        chain: &'c PresentedChain<'s>,
        claimant: &Claimant<'_>,
    ) -> Result<Self, CertificateRefusal> {
        let leaf = Leaf::check_trusted(chain.leaf(), claimant.ca.circumstances(claimant.now))?;
        Self::named(leaf, claimant.registration_id)
    }

    fn named(leaf: Leaf<'c, 's>, registration_id: &RegistrationId) -> Result<Self, CertificateRefusal> {
        other_name(leaf.certificate(), registration_id).map_or(Ok(DeviceLeaf(leaf)), Err)
    }

    /// Returns the leaf's SHA-256, by which the hub will know the device. It is of the form that the device presents, because a
    /// hub compares whole certificates, and the device presents the same form there.
    fn thumbprint(&self) -> Sha256Thumbprint {
        Sha256Thumbprint::of(self.0.certificate().as_raw())
    }
}

/// Returns why a leaf does not name a device: its common name must be the registration ID, without regard to case. A DNS name
/// counts only if there is no common name: two names would make one certificate two devices.
fn other_name(leaf: &X509Certificate<'_>, registration_id: &RegistrationId) -> Option<CertificateRefusal> {
    let is_own = |name: &str| name.eq_ignore_ascii_case(registration_id.as_str());
    match leaf_name(leaf) {
        LeafName::Common(name) | LeafName::Dns(name) if is_own(&name) => None,
        LeafName::Common(name) => Some(CertificateRefusal::OtherName(name)),
        LeafName::Dns(name) => Some(CertificateRefusal::OtherDnsName(name)),
        LeafName::None => Some(CertificateRefusal::OtherName(String::new())),
    }
}

/// Returns the registration ID under which a device with this leaf, in DER, registers; the leaf is not checked.
pub fn registration_id_of(leaf: &[u8]) -> Option<RegistrationId> {
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    match leaf_name(&leaf) {
        LeafName::Common(name) | LeafName::Dns(name) => RegistrationId::parse(name).ok(),
        LeafName::None => None,
    }
}

/// Returns the rules that a stored CA certificate breaks as a trust anchor.
pub(crate) fn faults_of_ca(certificate: &Certificate, now: Timestamp) -> Vec<CertificateRefusal> {
    certpath::faults_of_anchor(certificate.der(), now.into()).into_iter().map(Into::into).collect()
}

/// Returns the rules that an enrolled leaf breaks for the device with this registration ID.
pub(crate) fn faults_of_leaf(
    certificate: &Certificate,
    registration_id: &RegistrationId,
    now: Timestamp,
) -> Vec<CertificateRefusal> {
    let faults = certpath::faults_of_leaf(certificate.der(), now.into()).into_iter().map(Into::into);
    let leaf = X509Certificate::from_der(certificate.der()).ok();
    faults.chain(leaf.and_then(|(_, leaf)| other_name(&leaf, registration_id))).collect()
}

/// Compares the leaf with the enrolled ones, and returns its thumbprint if it is one of them, is valid now and bears the device's
/// name. The issuer does not matter, so self-signed leaves are accepted. No signature is checked, so the leaf is compared byte
/// for byte: by its signed part only, a device could write any signature into it, and a block by thumbprint would not match.
pub(super) fn verify_enrolled_leaf(
    chain: &PresentedChain<'_>,
    leaves: &Pair<Certificate>,
    claimant: &Claimant<'_>,
) -> Result<Sha256Thumbprint, Refusal> {
    let thumbprint = Sha256Thumbprint::of(chain.leaf().as_raw());
    if !leaves.iter().any(|leaf| *leaf.thumbprint() == thumbprint) {
        return Err(Refusal::OtherCertificate(thumbprint.to_string()));
    }
    Ok(DeviceLeaf::check_enrolled(chain, claimant)?.thumbprint())
}

/// What a chain is verified for, besides where it leads.
#[derive(Debug, Clone)]
pub struct Question {
    /// The instant at which it must be valid.
    pub at: Timestamp,
    /// The purpose that its usages must allow, if any. Registrations require none.
    pub purpose: Option<Purpose>,
    /// The device that its leaf must name, if any.
    pub registration_id: Option<RegistrationId>,
}

/// Returns the DER of the path from the leaf to one of these anchors, by the rules of a registration.
///
/// # Errors
///
/// The rule that refuses the chain.
pub fn verify(
    chain: &PresentedChain<'_>,
    anchors: &[Certificate],
    question: &Question,
) -> Result<Vec<Vec<u8>>, CertificateRefusal> {
    let anchors: Vec<_> = anchors.iter().filter_map(Certificate::parts).collect();
    let path_question = certpath::Question { at: question.at.into(), purpose: question.purpose };
    let path = certpath::verify(chain, &anchors, path_question)?;
    let wrong_name = question.registration_id.as_ref().and_then(|id| other_name(chain.leaf(), id));
    wrong_name.map_or(Ok(path), Err)
}

#[cfg(test)]
mod tests {
    use testkit::{ca::Authority, sample};

    use super::*;

    #[test]
    fn a_chain_is_verified_for_the_device_that_its_leaf_names() {
        let root = Authority::root("Root");
        let leaf = root.device("dev-1");
        let der = [CertificateDer::from(leaf.der().to_vec())];
        let chain = parse_chain(&der).unwrap();
        let verified = |anchor: &Authority, id: Option<&str>| {
            let registration_id = id.map(sample::registration_id);
            let question =
                Question { at: Timestamp::from_unix_seconds(1_795_392_000), purpose: None, registration_id };
            verify(&chain, &[anchor.certificate()], &question)
        };
        let path = vec![leaf.der().to_vec(), root.identity().der().to_vec()];
        for id in [None, Some("dev-1"), Some("DEV-1")] {
            assert_eq!(verified(&root, id).unwrap(), path, "{id:?}");
        }
        let other = verified(&root, Some("dev-2"));
        assert!(matches!(&other, Err(CertificateRefusal::OtherName(name)) if name == "dev-1"), "{other:?}");
        let other = verified(&Authority::root("Other"), Some("dev-1"));
        assert!(matches!(other, Err(CertificateRefusal::Path(PathError::MissingIssuer(_)))), "{other:?}");
    }
}
