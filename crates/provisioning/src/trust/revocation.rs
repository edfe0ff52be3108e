//! Revocation lists: the settings of CAs, and storing new lists.

use std::sync::Arc;

use certpath::{Crl, Time, is_list_signed_by, is_same_name, may_sign_lists};
use model::{
    Actor, CaCertificate, CaReference, Certificate, CrlAddresses, HttpUrl, IfMatch, Instance, LeaseToken,
    ListId, LogOperation, RevocationList, RevocationPolicy, RevocationSettings, Timestamp, Trust,
};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{DistributionPointName, GeneralName, ParsedExtension},
    prelude::FromDer,
};

use super::MAX_ATTEMPTS;
use crate::{
    Error, Provisioning, RecordKind,
    ports::{Change, Commit, Expect, Guard, Guarded, Outcome},
};

/// The most bytes of all lists of an instance; they are kept in memory, with an index of about the same size.
pub const MAX_REVOCATION_BYTES: usize = 64 << 20;

/// The most lists of one CA. The largest public CAs divide theirs into 128.
pub const MAX_LISTS: usize = 256;

/// How far ahead of this clock a CA's may be, in seconds.
const CLOCK_SKEW_SECS: i64 = 300;

/// A change of the revocation settings of a CA; absent members stay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RevocationChange {
    /// The policy for certificates that no fresh list covers.
    pub policy: Option<RevocationPolicy>,
    /// Whether and from where lists are fetched.
    pub fetching: Option<Fetching>,
    /// A list to store.
    pub list: Option<Crl>,
}

/// Whether and from where a CA's lists are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetching {
    /// Not at all.
    Off,
    /// From the distribution point that the CA certificate names; only a root's certificate names that of its own list.
    OwnPoint,
    /// From these addresses.
    From(CrlAddresses),
}

/// Why a revocation list is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListRefusal {
    /// Its issuer is another CA.
    #[error("the revocation list's issuer is not {0}")]
    OtherIssuer(String),
    /// Another key signed it.
    #[error("the revocation list is not signed by the CA's key")]
    Signature,
    /// The CA may not sign lists (RFC 5280 §6.3.3 f).
    #[error("the key usage of the CA certificate lacks cRLSign, so the CA signs no revocation lists")]
    NoCrlSign,
    /// It covers no certificate that can appear in a path.
    #[error(
        "the revocation list covers no certificate of devices or CAs: its issuing distribution point limits it to \
         attribute certificates, or cannot be read"
    )]
    CoversNothing,
    /// It is older than a stored one that covers the same.
    #[error("the revocation list (number {found}) is older than the one that is there (number {stored})")]
    Older {
        /// Its number.
        found: String,
        /// The number of the stored one.
        stored: String,
    },
    /// Its date of issue is in the future.
    #[error("the revocation list says that it was made at {0}, which is in the future")]
    OfTheFuture(Time),
    /// The lists of the instance would be too long together.
    #[error(
        "the revocation lists of the service instance would be longer than {MAX_REVOCATION_BYTES} bytes together"
    )]
    TooMuch,
    /// The CA would have too many lists.
    #[error(
        "the CA has {MAX_LISTS} revocation lists, which is as many as it may have: delete those that are not used"
    )]
    TooMany,
}

impl Provisioning {
    /// Changes the revocation settings of a CA, and stores a list.
    pub async fn change_revocation(
        &self,
        instance: &Instance,
        by: &Actor,
        name: &CaReference,
        change: RevocationChange,
    ) -> Result<(), Error> {
        if let Some(list) = change.list {
            self.store_revocation_list(instance, (by, None), name, list).await?;
        }
        if change.policy.is_none() && change.fetching.is_none() {
            return Ok(());
        }
        let changed = |stored: CaCertificate| {
            let fetched_from = match &change.fetching {
                None => stored.revocation.fetched_from.clone(),
                Some(Fetching::Off) => CrlAddresses::default(),
                Some(Fetching::From(addresses)) => addresses.clone(),
                Some(Fetching::OwnPoint) => own_point(&stored.certificate).ok_or_else(no_own_point)?.into(),
            };
            let policy = change.policy.unwrap_or(stored.revocation.policy);
            Ok(CaCertificate { revocation: RevocationSettings { policy, fetched_from }, ..stored })
        };
        let by = self.by(by, LogOperation::RevocationPut);
        self.change_ca_certificate(instance, by, (name, &IfMatch::Any), changed).await?;
        Ok(())
    }

    /// Stores a list of a CA, if the CA signed it and no stored list that covers the same is newer. Lists that cover no more than
    /// this one and are not newer are deleted. A job does so under its lease.
    pub(super) async fn store_revocation_list(
        &self,
        instance: &Instance,
        (by, fence): (&Actor, Option<LeaseToken>),
        name: &CaReference,
        crl: Crl,
    ) -> Result<RevocationList, Error> {
        // An unreadable list may be newer, and may have the ID of this one.
        let unreadable = self.unreadable(instance, &[RecordKind::RevocationList]).await?;
        if let Some(record) = unreadable.into_iter().find(|record| record.list_of(name).is_some()) {
            return Err(Error::Damaged(record));
        }
        for _ in 0..MAX_ATTEMPTS {
            let trust = self.trust(instance).await?;
            let ca = trust.certificate(name).ok_or(Error::NotFound(RecordKind::CaCertificate))?;
            let refused = |refusal: ListRefusal| Error::Invalid(refusal.to_string());
            let accepted = AcceptedList::check(ca, &crl, self.clock.now()).map_err(refused)?;
            let replacement = ListReplacement::with(&trust, &accepted).map_err(refused)?;
            let record = self.next(replacement.replaced.map(|stored| &stored.record))?;
            let list = RevocationList {
                authority: ca.name.clone(),
                id: replacement.replaced.map_or_else(|| ListId::of(&crl), |stored| stored.id.clone()),
                signed_by: ca.certificate.thumbprint().clone(),
                crl: crl.clone(),
                record,
            };
            let expect =
                replacement.replaced.map_or(Expect::Absent, |it| Expect::Version(it.record.etag.clone()));
            let mut changes = vec![(expect, Change::PutRevocationList(Box::new(list.clone())))];
            changes.extend(
                replacement.superseded.iter().map(|old| {
                    (Expect::Following, Change::DeleteRevocationList(name.clone(), old.id.clone()))
                }),
            );
            let by = self.by(by, LogOperation::RevocationPut);
            // It must not outlive its CA certificate, which may be deleted meanwhile.
            let record = Guarded::Certificate(ca.name.clone());
            let guards = vec![Guard::Record { record, version: Some(ca.record.etag.clone()) }];
            let commit = Commit { fence, guards, changes, ..Commit::by(by) };
            let outcomes = self.store.commit(&instance.id_scope, commit).await?;
            if outcomes.iter().all(|outcome| *outcome == Outcome::Applied) {
                return Ok(list);
            }
        }
        Err(Error::Busy)
    }

    /// Deletes all lists of a CA, or the one with this ID.
    pub async fn delete_revocation_lists(
        &self,
        instance: &Instance,
        by: &Actor,
        name: &CaReference,
        id: Option<&str>,
    ) -> Result<(), Error> {
        match self.ca_certificate(instance, name).await {
            // The lists of an unreadable CA certificate can still be deleted.
            Ok(_) | Err(Error::Damaged(_)) => {}
            Err(error) => return Err(error),
        }
        let trust = self.trust(instance).await?;
        let damaged = self.unreadable(instance, &[RecordKind::RevocationList]).await?;
        let damaged = damaged.iter().filter_map(|record| record.list_of(name));
        let lists = trust.lists_under(name).map(|list| list.id.clone()).chain(damaged);
        let lists = lists.filter(|list| id.is_none_or(|id| list.as_str() == id));
        let delete = |id: ListId| (Expect::Anything, Change::DeleteRevocationList(name.clone(), id));
        let changes: Vec<_> = lists.map(delete).collect();
        if changes.is_empty() {
            return Err(Error::NotFound(RecordKind::RevocationList));
        }
        self.commit_unmetered(instance, self.by(by, LogOperation::RevocationDelete), changes).await?;
        Ok(())
    }
}

/// The effect of a new list on the stored lists of its CA.
struct ListReplacement<'a> {
    /// The list that it replaces: the one with its scope.
    replaced: Option<&'a RevocationList>,
    /// The lists whose content it includes.
    superseded: Vec<&'a RevocationList>,
}

impl<'a> ListReplacement<'a> {
    /// Refuses a list that is older than one that covers the same, or that exceeds a bound. Only a list that covers everything that
    /// another covers replaces it: if the address decided, a server in between could replace a list by one of another scope, and
    /// so hide what it revokes.
    fn with(trust: &'a Trust, accepted: &AcceptedList<'_>) -> Result<Self, ListRefusal> {
        let AcceptedList { ca, crl } = *accepted;
        let stored = || trust.lists_under(&ca.name).map(Arc::as_ref);
        let is_of_ca = |list: &&RevocationList| list.signed_by == *ca.certificate.thumbprint();
        let newer = stored()
            .filter(is_of_ca)
            .find(|list| list.crl.scope().includes(crl.scope()) && crl.is_older_than(&list.crl));
        if let Some(newer) = newer {
            let number =
                |crl: &Crl| crl.number().unwrap_or_else(|| format!("none, made {}", crl.this_update()));
            return Err(ListRefusal::Older { found: number(crl), stored: number(&newer.crl) });
        }
        // Lists that another certificate of this name signed, and those left from it under the ID, are useless.
        let replaced = stored().find(|list| list.crl.scope() == crl.scope() || list.id == ListId::of(crl));
        let is_superseded = |list: &&RevocationList| {
            let is_old = crl.scope().includes(list.crl.scope()) && !crl.is_older_than(&list.crl);
            (is_old || !is_of_ca(list)) && replaced.is_none_or(|replaced| replaced.id != list.id)
        };
        let superseded: Vec<_> = stored().filter(is_superseded).collect();
        let is_deleted = |list: &RevocationList| {
            list.authority == ca.name
                && replaced.into_iter().chain(superseded.iter().copied()).any(|it| it.id == list.id)
        };
        let bytes =
            trust.lists().filter(|list| !is_deleted(list)).map(|list| list.crl.der().len()).sum::<usize>();
        if bytes + crl.der().len() > MAX_REVOCATION_BYTES {
            return Err(ListRefusal::TooMuch);
        }
        if stored().filter(|list| !is_deleted(list)).count() >= MAX_LISTS {
            return Err(ListRefusal::TooMany);
        }
        Ok(ListReplacement { replaced, superseded })
    }
}

/// Proof that a list is by a CA and covers certificates.
struct AcceptedList<'a> {
    ca: &'a CaCertificate,
    crl: &'a Crl,
}

impl<'a> AcceptedList<'a> {
    fn check(ca: &'a CaCertificate, crl: &'a Crl, now: Timestamp) -> Result<Self, ListRefusal> {
        let certificate = &ca.certificate;
        if !is_same_name(crl.issuer(), certificate.subject()) {
            return Err(ListRefusal::OtherIssuer(certificate.info().subject_name.clone()));
        }
        if !certificate.parts().is_some_and(|parts| is_list_signed_by(crl.der(), &parts)) {
            return Err(ListRefusal::Signature);
        }
        if !may_sign_lists(certificate.der()) {
            return Err(ListRefusal::NoCrlSign);
        }
        if crl.scope().is_empty() {
            return Err(ListRefusal::CoversNothing);
        }
        if crl.this_update() > Time::from(now.plus_seconds(CLOCK_SKEW_SECS)) {
            return Err(ListRefusal::OfTheFuture(crl.this_update()));
        }
        Ok(AcceptedList { ca, crl })
    }
}

/// Returns the address in a root's certificate. That in an intermediate's is of its issuer's list.
fn own_point(certificate: &Certificate) -> Option<HttpUrl> {
    let (_, parsed) = X509Certificate::from_der(certificate.der()).ok()?;
    if !is_same_name(parsed.issuer().as_raw(), parsed.subject().as_raw()) {
        return None;
    }
    distribution_points(&parsed).next()
}

/// Returns the addresses at which a certificate's issuer publishes its revocation lists, according to the certificate.
fn distribution_points(certificate: &X509Certificate<'_>) -> impl Iterator<Item = HttpUrl> {
    let points = certificate.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::CRLDistributionPoints(points) => Some(&points.points),
        _ => None,
    });
    let names = points.flatten().filter_map(|point| match &point.distribution_point {
        Some(DistributionPointName::FullName(names)) => Some(names),
        _ => None,
    });
    names.flatten().filter_map(|name| match name {
        GeneralName::URI(text) => HttpUrl::parse(text).ok(),
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
