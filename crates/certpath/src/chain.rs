//! The certificates that a peer presented.

use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::{Authorities, BrokenRule, Candidates, CertificateParts, PathError, authorities::issuers_of};

/// The certificates that a peer presented, parsed.
#[derive(Debug)]
pub struct PresentedChain<'a> {
    leaf: X509Certificate<'a>,
    /// In the order in which they were sent, which means nothing.
    others: Vec<X509Certificate<'a>>,
    /// The parts of those of the others that are exact DER. The rest leads nowhere.
    sent: Vec<CertificateParts<'a>>,
    /// Stored CA certificates that continue the chain.
    stored: Vec<CertificateParts<'a>>,
}

impl<'a> PresentedChain<'a> {
    /// Parses certificates in DER, the leaf first.
    ///
    /// # Errors
    ///
    /// [`PathError::Unreadable`] if any cannot be read, or if there is none.
    pub fn parse(certificates: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, PathError> {
        let mut parsed =
            certificates.into_iter().enumerate().map(|(at, der)| match X509Certificate::from_der(der) {
                Ok(([], certificate)) => Ok(certificate),
                _ => Err(PathError::Unreadable(at)),
            });
        let leaf = parsed.next().unwrap_or(Err(PathError::Unreadable(0)))?;
        let others: Vec<_> = parsed.collect::<Result<_, _>>()?;
        let sent = others.iter().filter_map(|other| CertificateParts::read(other.as_raw())).collect();
        Ok(PresentedChain { leaf, others, sent, stored: Vec::new() })
    }

    /// Adds the stored CA certificates that the peer left out.
    #[must_use]
    pub fn completed(mut self, authorities: &'a dyn Authorities) -> Self {
        self.stored = issuers_of(&self.issuers(), authorities);
        self
    }

    /// Returns the leaf.
    pub fn leaf(&self) -> &X509Certificate<'a> {
        &self.leaf
    }

    /// Returns the DER of the issuers' names, by which trust anchors are looked up.
    pub fn issuers(&self) -> Vec<&[u8]> {
        let presented = std::iter::once(&self.leaf).chain(&self.others).map(|it| it.issuer().as_raw());
        presented.chain(self.stored.iter().map(|parts| parts.issuer)).collect()
    }

    /// Returns the certificates from which paths are built.
    pub fn candidates(&self) -> Candidates<'a, '_> {
        Candidates { sent: &self.sent, stored: &self.stored }
    }

    /// Returns an error for each certificate that was sent along and is not exact DER.
    pub fn malformed(&self) -> impl Iterator<Item = PathError> {
        let is_exact = |other: &X509Certificate<'_>| CertificateParts::read(other.as_raw()).is_some();
        let malformed = self.others.iter().filter(move |other| !is_exact(other));
        malformed.map(|other| PathError::of_rule(other, BrokenRule::StrayBytes))
    }
}
