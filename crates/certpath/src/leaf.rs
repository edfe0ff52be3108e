//! The leaf from which a path starts.

use x509_parser::certificate::X509Certificate;

use crate::{
    CertificateParts, Circumstances, PathError, refusals::blocked, revocation::revoked, rules,
    signature::is_signed_by,
};

/// Proof that a leaf meets the rules for leaves (dates, extensions, key) and is not blocked. Whether it leads to a trust anchor
/// is another question.
#[derive(Clone, Copy, Debug)]
pub struct Leaf<'c, 's> {
    certificate: &'c X509Certificate<'s>,
    parts: CertificateParts<'s>,
}

impl<'c, 's> Leaf<'c, 's> {
    /// Checks a leaf from which a path is to start.
    ///
    /// # Errors
    ///
    /// The rule that it breaks, or [`PathError::Blocked`].
    pub fn check(
        certificate: &'c X509Certificate<'s>,
        circumstances: Circumstances<'_>,
    ) -> Result<Self, PathError> {
        let parts = rules::check_leaf(certificate, circumstances.now)?;
        match blocked(certificate, circumstances.authorities) {
            Some(error) => Err(error),
            None => Ok(Leaf { certificate, parts }),
        }
    }

    /// Checks a leaf that is trusted by itself, so that no path need start from it: additionally, no stored CA that issued it
    /// may have revoked it.
    ///
    /// # Errors
    ///
    /// As [`Leaf::check`], and [`PathError::Revoked`] or [`PathError::Uncovered`].
    pub fn check_trusted(
        certificate: &'c X509Certificate<'s>,
        circumstances: Circumstances<'_>,
    ) -> Result<Self, PathError> {
        let leaf = Self::check(certificate, circumstances)?;
        let stored = circumstances.authorities.with_subject(certificate.issuer().as_raw());
        let issuers = stored.iter().filter_map(|authority| rules::parse(authority.der));
        let signed = issuers.filter(|issuer| is_signed_by(certificate, issuer));
        match signed.filter_map(|issuer| revoked(&issuer, certificate, circumstances)).next() {
            Some(error) => Err(error),
            None => Ok(leaf),
        }
    }

    /// Returns the certificate.
    pub fn certificate(&self) -> &'c X509Certificate<'s> {
        self.certificate
    }

    pub(crate) fn parts(&self) -> CertificateParts<'s> {
        self.parts
    }
}
