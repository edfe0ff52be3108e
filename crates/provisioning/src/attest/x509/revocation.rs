//! What CAs revoked: the lists of an issuer, held against a certificate that it issued (RFC 5280 §6.3).
//!
//! A list **refuses** every certificate that it names: serial numbers are unique within a CA, so neither the scope nor the
//! age of the list can make that wrong. A list **clears** only those that its scope covers, while it is fresh, and if its CA
//! may sign lists. A hard policy asks for both: not named, and cleared for every reason.

use model::{
    CaCertificate, Certificate, CrlAddress, CrlSubject, DistributionPoint, PointNames, Reasons,
    RevocationList, RevocationPolicy, Trust, name_text,
};
use x509_parser::{
    certificate::X509Certificate, oid_registry::OID_X509_EXT_CRL_DISTRIBUTION_POINTS, prelude::FromDer,
};

use super::{CertificateRefusal, parsed, path::Circumstances};

/// What is wrong with the lists of a CA that leave a certificate uncovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ListGap {
    /// There is none.
    #[error("there is none")]
    Missing,
    /// Each is stale.
    #[error("all that there are are stale")]
    Stale,
    /// The fresh ones cover others: other distribution points, CAs alone or devices alone, or only some reasons.
    #[error("those that are fresh are of other distribution points, kinds of certificate or reasons")]
    Scope,
}

/// Refuses a certificate that its issuer revoked, or that no list clears when that is asked for. All stored certificates of
/// the issuer's key count as one CA, so that a renewed one may have the list.
pub(super) fn not_revoked(
    issuer: &X509Certificate<'_>,
    certificate: &X509Certificate<'_>,
    circumstances: Circumstances<'_>,
) -> Result<(), CertificateRefusal> {
    let lists = Lists::of(issuer, circumstances.known);
    if let Some((list, revoked)) = lists.naming(certificate.raw_serial()) {
        return Err(CertificateRefusal::Revoked {
            subject: name_text(certificate.subject()),
            by: list.authority.clone(),
            at: revoked.at,
            reason: revoked.reason.as_str(),
        });
    }
    let strict = lists.cas.iter().find(|ca| ca.revocation.policy == RevocationPolicy::Hard);
    let gap = strict.and_then(|ca| Some((ca, lists.gap(certificate, circumstances)?)));
    gap.map_or(Ok(()), |(ca, gap)| {
        Err(CertificateRefusal::Uncovered {
            ca: ca.name.clone(),
            subject: name_text(certificate.subject()),
            gap,
        })
    })
}

/// Whether a CA may sign revocation lists: its keyUsage, when present, has cRLSign (RFC 5280 §6.3.3 f).
pub(crate) fn may_sign_lists(ca: &Certificate) -> bool {
    let usage = |certificate: &X509Certificate<'_>| match certificate.key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.crl_sign()),
        Err(_) => false,
    };
    X509Certificate::from_der(ca.der()).is_ok_and(|(_, certificate)| usage(&certificate))
}

/// The stored certificates of one CA, and their lists.
struct Lists<'a> {
    cas: Vec<&'a CaCertificate>,
    known: &'a Trust,
}

impl<'a> Lists<'a> {
    fn of(issuer: &X509Certificate<'_>, known: &'a Trust) -> Self {
        let is_of_key = |ca: &&CaCertificate| {
            ca.certificate.der() == issuer.as_raw()
                || parsed(&ca.certificate).is_some_and(|ca| ca.public_key().raw == issuer.public_key().raw)
        };
        let of_name = known.of_subject(issuer.subject().as_raw()).iter().map(AsRef::as_ref);
        Lists { cas: of_name.filter(is_of_key).collect(), known }
    }

    fn all(&self) -> impl Iterator<Item = (&'a CaCertificate, &'a RevocationList)> {
        let known = self.known;
        self.cas.iter().flat_map(move |ca| known.lists_of(ca).map(move |list| (*ca, list.as_ref())))
    }

    fn naming(&self, serial: &[u8]) -> Option<(&'a RevocationList, &'a model::Revoked)> {
        self.all().find_map(|(_, list)| Some((list, list.crl.revoked(serial)?)))
    }

    /// Why the lists do not clear the certificate; `None` when they do.
    fn gap(&self, certificate: &X509Certificate<'_>, circumstances: Circumstances<'_>) -> Option<ListGap> {
        let signed = self.all().filter(|(ca, _)| may_sign_lists(&ca.certificate)).map(|(_, list)| list);
        let signed: Vec<_> = signed.collect();
        if signed.is_empty() {
            return Some(ListGap::Missing);
        }
        let is_fresh =
            |list: &&&RevocationList| !list.crl.is_stale(circumstances.crl_max_age, circumstances.now);
        let fresh: Vec<_> = signed.iter().filter(is_fresh).collect();
        if fresh.is_empty() {
            return Some(ListGap::Stale);
        }
        let subject = self.subject(certificate);
        let covered = fresh.iter().map(|list| list.crl.scope().covers(&subject));
        let is_cleared = covered.fold(Reasons::NONE, Reasons::or) == Reasons::ALL;
        (!is_cleared).then_some(ListGap::Scope)
    }

    /// The certificate as scopes see it. One that names no distribution point is taken to be listed at the address from which
    /// its CA's list is fetched, if there is just one: of several, nothing says which.
    fn subject(&self, certificate: &X509Certificate<'_>) -> CrlSubject {
        let issuer = certificate.issuer().as_raw();
        let points = certificate.get_extension_unique(&OID_X509_EXT_CRL_DISTRIBUTION_POINTS);
        let points = match points {
            Ok(Some(extension)) => DistributionPoint::read_all(extension.value, issuer).unwrap_or_default(),
            Ok(None) => self
                .only_address()
                .map(PointNames::of_address)
                .map(DistributionPoint::of)
                .into_iter()
                .collect(),
            Err(_) => Vec::new(),
        };
        let is_ca =
            certificate.basic_constraints().ok().flatten().is_some_and(|constraints| constraints.value.ca);
        CrlSubject { is_ca, points, issuer: PointNames::of_issuer(issuer) }
    }

    fn only_address(&self) -> Option<&'a CrlAddress> {
        let mut addresses = self.cas.iter().flat_map(|ca| ca.revocation.fetched_from.iter());
        let first = addresses.next()?;
        addresses.all(|other| other == first).then_some(first)
    }
}
