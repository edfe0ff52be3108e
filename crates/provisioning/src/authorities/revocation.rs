//! Revocation lists: how they are looked up, and taking new ones in.

use model::{
    CaCertificate, CaReference, Certificate, Crl, CrlAddress, IfMatch, Instance, RevocationList,
    RevocationPolicy, RevocationSettings, Timestamp,
};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{DistributionPointName, GeneralName, ParsedExtension},
    prelude::FromDer,
};

use super::MAX_ATTEMPTS;
use crate::{
    Error, Provisioning, RecordKind,
    attest::x509::is_list_signed_by,
    ports::{Change, Expect, Outcome},
};

/// Bytes of all lists of an instance together; they are kept in memory, with an index of about the same size.
pub const MAX_REVOCATION_BYTES: usize = 64 << 20;

/// How far ahead of this clock a CA's may be.
const CLOCK_SKEW_SECS: i64 = 300;

/// What is to change in how a CA's revocation list is looked up; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RevocationChange {
    /// What a missing or stale list means.
    pub policy: Option<RevocationPolicy>,
    /// Whether and from where the list is fetched.
    pub fetching: Option<Fetching>,
    /// A list, by hand.
    pub list: Option<Crl>,
}

/// Whether and from where a list is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetching {
    /// Not at all.
    Off,
    /// From the distribution point that the CA certificate names; only a root's certificate names its own list.
    OwnPoint,
    /// From this address.
    From(CrlAddress),
}

/// Why a revocation list is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListRefusal {
    /// It is another CA's.
    #[error("the revocation list's issuer is not {0}")]
    OtherIssuer(String),
    /// Another key signed it.
    #[error("the revocation list is not signed by the CA's key")]
    Signature,
    /// It is older than the one that is there.
    #[error("the revocation list (number {found}) is older than the one that is there (number {stored})")]
    Older {
        /// Its number.
        found: String,
        /// The number of the one that is there.
        stored: String,
    },
    /// It says that it was made in the future.
    #[error("the revocation list says that it was made at {0}, which is in the future")]
    OfTheFuture(Timestamp),
    /// There would be too much.
    #[error(
        "the revocation lists of the service instance would be longer than {MAX_REVOCATION_BYTES} bytes together"
    )]
    TooMuch,
}

impl Provisioning {
    /// Changes how a CA's list is looked up, and takes a list in.
    pub async fn change_revocation(
        &self,
        instance: &Instance,
        name: &CaReference,
        change: RevocationChange,
    ) -> Result<(), Error> {
        if let Some(list) = change.list {
            self.take_revocation_list(instance, name, list).await?;
        }
        if change.policy.is_none() && change.fetching.is_none() {
            return Ok(());
        }
        let changed = |stored: CaCertificate| {
            let fetched_from = match &change.fetching {
                None => stored.revocation.fetched_from.clone(),
                Some(Fetching::Off) => None,
                Some(Fetching::From(address)) => Some(address.clone()),
                Some(Fetching::OwnPoint) => Some(own_point(&stored.certificate).ok_or_else(no_own_point)?),
            };
            let policy = change.policy.unwrap_or(stored.revocation.policy);
            Ok(CaCertificate { revocation: RevocationSettings { policy, fetched_from }, ..stored })
        };
        self.change_ca_certificate(instance, name, &IfMatch::Any, changed).await?;
        Ok(())
    }

    /// Takes a CA's list in, if it is the CA's and not older than the one that is there.
    pub async fn take_revocation_list(
        &self,
        instance: &Instance,
        name: &CaReference,
        crl: Crl,
    ) -> Result<RevocationList, Error> {
        for _ in 0..MAX_ATTEMPTS {
            let authorities = self.authorities(instance).await?;
            let ca = authorities.certificate(name).ok_or(Error::NotFound(RecordKind::CaCertificate))?;
            let (stored, standing) = (authorities.list(name), authorities.list_of(ca));
            let others = authorities.lists().filter(|list| list.authority != *name);
            let bytes = others.map(|list| list.crl.der().len()).sum::<usize>() + crl.der().len();
            acceptable(&ca.certificate, standing.map(|list| &list.crl), &crl, self.clock.now())
                .and(if bytes > MAX_REVOCATION_BYTES { Err(ListRefusal::TooMuch) } else { Ok(()) })
                .map_err(|refusal| Error::Invalid(refusal.to_string()))?;
            let record = self.next(stored.map(|stored| &stored.record))?;
            let signed_by = ca.certificate.thumbprint().clone();
            let list = RevocationList { authority: ca.name.clone(), signed_by, crl: crl.clone(), record };
            let expect = stored.map_or(Expect::Absent, |it| Expect::Version(it.record.etag.clone()));
            let put = vec![(expect, Change::PutRevocationList(Box::new(list.clone())))];
            if self.commit_free(instance, put).await? == Outcome::Applied {
                return Ok(list);
            }
        }
        Err(Error::Busy)
    }

    /// Drops a CA's list.
    pub async fn delete_revocation_list(&self, instance: &Instance, name: &CaReference) -> Result<(), Error> {
        self.ca_certificate(instance, name).await?;
        let delete = vec![(Expect::Present, Change::DeleteRevocationList(name.clone()))];
        match self.commit_free(instance, delete).await? {
            Outcome::Applied => Ok(()),
            _ => Err(Error::NotFound(RecordKind::RevocationList)),
        }
    }
}

/// Whether a list is the CA's and may take the place of the one that is there.
fn acceptable(ca: &Certificate, stored: Option<&Crl>, crl: &Crl, now: Timestamp) -> Result<(), ListRefusal> {
    if crl.issuer() != ca.subject() {
        return Err(ListRefusal::OtherIssuer(ca.info().subject_name.clone()));
    }
    if !is_list_signed_by(crl.der(), ca) {
        return Err(ListRefusal::Signature);
    }
    if crl.this_update() > now.plus_seconds(CLOCK_SKEW_SECS) {
        return Err(ListRefusal::OfTheFuture(crl.this_update()));
    }
    match stored {
        Some(stored) if crl.is_older_than(stored) => {
            let number =
                |crl: &Crl| crl.number().unwrap_or_else(|| format!("none, made {}", crl.this_update()));
            Err(ListRefusal::Older { found: number(crl), stored: number(stored) })
        }
        _ => Ok(()),
    }
}

/// The address in a root's certificate. That in an intermediate's is of its issuer's list.
fn own_point(certificate: &Certificate) -> Option<CrlAddress> {
    let (_, parsed) = X509Certificate::from_der(certificate.der()).ok()?;
    if parsed.issuer().as_raw() != parsed.subject().as_raw() {
        return None;
    }
    distribution_points(&parsed).next()
}

/// Where a certificate says that its issuer publishes what it revokes.
fn distribution_points(certificate: &X509Certificate<'_>) -> impl Iterator<Item = CrlAddress> {
    let points = certificate.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::CRLDistributionPoints(points) => Some(&points.points),
        _ => None,
    });
    let names = points.flatten().filter_map(|point| match &point.distribution_point {
        Some(DistributionPointName::FullName(names)) => Some(names),
        _ => None,
    });
    names.flatten().filter_map(|name| match name {
        GeneralName::URI(text) => CrlAddress::parse(text).ok(),
        _ => None,
    })
}

fn no_own_point() -> Error {
    Error::Invalid(
        "the CA certificate names no distribution point of its own list: give the address that certificates which the CA \
         issued name"
            .into(),
    )
}
