//! Revocation: the lists of an issuer, applied to a certificate that it issued (RFC 5280 §6.3).
//!
//! A list **refuses** every certificate that it names: serial numbers are unique within a CA, so neither the scope nor the
//! age of the list can make that wrong. A list **clears** only those that its scope covers, while it is fresh, and if its CA
//! may sign lists. Where a list is required, a certificate must not be named, and must be cleared for every reason.

use x509_parser::{certificate::X509Certificate, oid_registry::OID_X509_EXT_CRL_DISTRIBUTION_POINTS};

use crate::{
    Authorities, Authority, Circumstances, Crl, CrlSubject, DistributionPoint, PathError, PointNames,
    Reasons, name_text, rules,
};

/// Why the lists of a CA do not cover a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ListGap {
    /// There is no list.
    #[error("there is none")]
    Missing,
    /// All lists are stale.
    #[error("all are stale")]
    Stale,
    /// The fresh lists are for other distribution points, only for CAs or end entities, or only for some reasons.
    #[error("the fresh ones are of other distribution points, kinds of certificate or reasons")]
    Scope,
}

/// Returns [`PathError::Revoked`] if the issuer revoked a certificate, and [`PathError::Uncovered`] if no list clears it although
/// one must. All stored certificates of the issuer's key count as one CA, so that a renewed one may have the list.
pub(crate) fn revoked(
    issuer: &X509Certificate<'_>,
    certificate: &X509Certificate<'_>,
    circumstances: Circumstances<'_>,
) -> Option<PathError> {
    let lists = Lists::of(issuer, circumstances.authorities);
    if let Some(revocation) = lists.revocation_of(certificate) {
        return Some(revocation);
    }
    let strict = lists.authorities.iter().find(|authority| authority.requires_list)?;
    let gap = lists.gap(certificate, circumstances)?;
    let subject = name_text(certificate.subject());
    Some(PathError::Uncovered { ca: strict.name.to_owned(), subject, gap })
}

/// Returns [`PathError::Revoked`] if a list of the root's own key names the root. That no list covers a root says nothing, for
/// only its own could name it.
pub(crate) fn revoked_by_itself(
    root: &X509Certificate<'_>,
    authorities: &dyn Authorities,
) -> Option<PathError> {
    Lists::of(root, authorities).revocation_of(root)
}

/// Returns whether a CA, whose certificate is `der`, may sign revocation lists: its keyUsage, if present, has cRLSign
/// (RFC 5280 §6.3.3 f).
pub fn may_sign_lists(der: &[u8]) -> bool {
    let usage = |certificate: &X509Certificate<'_>| match certificate.key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.crl_sign()),
        Err(_) => false,
    };
    rules::parse(der).is_some_and(|certificate| usage(&certificate))
}

/// The stored certificates of one CA, with their lists.
struct Lists<'a> {
    authorities: Vec<Authority<'a>>,
}

impl<'a> Lists<'a> {
    fn of(issuer: &X509Certificate<'_>, authorities: &'a dyn Authorities) -> Self {
        let mut authorities = authorities.with_subject(issuer.subject().as_raw());
        authorities.retain(|authority| authority.has_key(issuer.public_key().raw));
        Lists { authorities }
    }

    fn all(&self) -> impl Iterator<Item = (&Authority<'a>, &'a Crl)> {
        self.authorities
            .iter()
            .flat_map(|authority| authority.lists.iter().map(move |list| (authority, *list)))
    }

    /// Returns the revocation of a certificate, if a list names it.
    fn revocation_of(&self, certificate: &X509Certificate<'_>) -> Option<PathError> {
        let serial = certificate.raw_serial();
        let (authority, revoked) =
            self.all().find_map(|(authority, list)| Some((authority, list.revoked(serial)?)))?;
        Some(PathError::Revoked {
            subject: name_text(certificate.subject()),
            by: authority.name.to_owned(),
            at: revoked.at,
            reason: revoked.reason.as_str(),
        })
    }

    /// Returns why the lists do not clear the certificate; `None` when they do.
    fn gap(&self, certificate: &X509Certificate<'_>, circumstances: Circumstances<'_>) -> Option<ListGap> {
        let signed = self.all().filter(|(authority, _)| may_sign_lists(authority.der)).map(|(_, list)| list);
        let signed: Vec<_> = signed.collect();
        if signed.is_empty() {
            return Some(ListGap::Missing);
        }
        let is_fresh = |list: &&&Crl| !list.is_stale(circumstances.crl_max_age, circumstances.now);
        let fresh: Vec<_> = signed.iter().filter(is_fresh).collect();
        if fresh.is_empty() {
            return Some(ListGap::Stale);
        }
        let subject = self.subject(certificate);
        let covered = fresh.iter().map(|list| list.scope().covers(&subject));
        let is_cleared = covered.fold(Reasons::NONE, Reasons::or) == Reasons::ALL;
        (!is_cleared).then_some(ListGap::Scope)
    }

    /// Returns the certificate as scopes see it. One that names no distribution point is expected in the list at the URI from
    /// which its CA's list is fetched, if there is only one.
    fn subject(&self, certificate: &X509Certificate<'_>) -> CrlSubject {
        let issuer = certificate.issuer().as_raw();
        let points = certificate.get_extension_unique(&OID_X509_EXT_CRL_DISTRIBUTION_POINTS);
        let points = match points {
            Ok(Some(extension)) => DistributionPoint::read_all(extension.value, issuer).unwrap_or_default(),
            Ok(None) => {
                let point = self.only_uri().map(|uri| DistributionPoint::of(PointNames::of_uri(uri)));
                point.into_iter().collect()
            }
            Err(_) => Vec::new(),
        };
        CrlSubject { is_ca: rules::is_ca(certificate), points, issuer: PointNames::of_issuer(issuer) }
    }

    fn only_uri(&self) -> Option<&'a str> {
        let mut uris = self.authorities.iter().flat_map(|authority| authority.list_uris.iter().copied());
        let first = uris.next()?;
        uris.all(|other| other == first).then_some(first)
    }
}
