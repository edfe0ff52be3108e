//! What is known of CAs besides the certificates that a peer presents: stored certificates, revocation lists, blocks.

use std::{collections::HashSet, fmt};

use crate::{CertificateParts, Crl, NameKey, rules};

/// The CA certificates, revocation lists and blocks that are stored.
pub trait Authorities: fmt::Debug {
    /// Returns whether anything stored can refuse a certificate. Where nothing can, refusals are not searched for.
    fn can_refuse(&self) -> bool;

    /// Returns why a certificate is blocked, in whatever form of its signature; `None` if it is not.
    fn block_reason(&self, certificate: &CertificateParts<'_>) -> Option<&str>;

    /// Returns the stored CA certificates with this subject, in DER, however the name is written.
    fn with_subject(&self, subject: &[u8]) -> Vec<Authority<'_>>;
}

/// A stored CA certificate.
#[derive(Clone, Debug)]
pub struct Authority<'a> {
    /// The name under which it is stored.
    pub name: &'a str,
    /// Its DER.
    pub der: &'a [u8],
    /// Its parts, unless it is not exact DER.
    pub parts: Option<CertificateParts<'a>>,
    /// Whether a certificate that no fresh list of this CA covers is refused.
    pub requires_list: bool,
    /// The URIs from which its lists are fetched.
    pub list_uris: Vec<&'a str>,
    /// The lists that its key signed.
    pub lists: Vec<&'a Crl>,
}

impl Authority<'_> {
    /// Returns whether it certifies the key in this SubjectPublicKeyInfo.
    pub(crate) fn has_key(&self, key: &[u8]) -> bool {
        match &self.parts {
            Some(parts) => parts.public_key == key,
            None => rules::parse(self.der).is_some_and(|it| it.public_key().raw == key),
        }
    }
}

/// No CA is known, and nothing is refused.
#[derive(Clone, Copy, Debug)]
pub struct NoAuthorities;

impl Authorities for NoAuthorities {
    fn can_refuse(&self) -> bool {
        false
    }

    fn block_reason(&self, _: &CertificateParts<'_>) -> Option<&str> {
        None
    }

    fn with_subject(&self, _: &[u8]) -> Vec<Authority<'_>> {
        Vec::new()
    }
}

/// Returns the stored certificates with these names, those of their issuers, and so on. There is no limit to their number: a
/// peer could reach one by the names that it sends, and hide what refuses it.
pub fn issuers_of<'a>(names: &[&[u8]], authorities: &'a dyn Authorities) -> Vec<CertificateParts<'a>> {
    let mut certificates: Vec<CertificateParts<'a>> = Vec::new();
    let mut wanted: Vec<&[u8]> = names.to_vec();
    let mut seen = HashSet::new();
    while let Some(name) = wanted.pop() {
        if seen.insert(NameKey::of(name)) {
            let first = certificates.len();
            certificates.extend(authorities.with_subject(name).iter().filter_map(|ca| ca.parts));
            wanted.extend(certificates.iter().skip(first).map(|parts| parts.issuer));
        }
    }
    certificates
}
