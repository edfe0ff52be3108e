//! Certificate revocation lists (RFC 5280 §5): parsed once, then asked for serial numbers.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use x509_parser::{
    extensions::{ParsedExtension, X509Extension},
    prelude::FromDer,
    revocation_list::{CertificateRevocationList, RevokedCertificate},
};

use crate::{
    CaReference, CrlMaxAge, CrlScope, ListId, Record, RevocationReason, Sha256Thumbprint, Timestamp,
    crl_scope::IsIndirect,
    encoding::{EncodingError, Object, read_object},
    revocation_parts::Number,
};

/// A revocation list of a CA, as an instance keeps it. A CA may have several, each of a scope of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationList {
    /// The CA certificate that it belongs to.
    pub authority: CaReference,
    /// Tells it from other lists of that CA. Lists stored by the first version have none.
    #[serde(default = "ListId::first", skip_serializing_if = "ListId::is_first")]
    pub id: ListId,
    /// The certificate whose key signed it. A list that came while the CA's certificate was replaced is told by this.
    pub signed_by: Sha256Thumbprint,
    /// The list.
    pub crl: Crl,
    /// Version, and when it came.
    pub record: Record,
}

/// A list of what one CA revoked, whole as far as its scope goes. Nothing here says that the CA signed it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Crl(Arc<Parsed>);

#[derive(PartialEq, Eq)]
struct Parsed {
    der: Vec<u8>,
    issuer: Vec<u8>,
    number: Option<Number>,
    this_update: Timestamp,
    next_update: Option<Timestamp>,
    scope: CrlScope,
    /// The ID that the list gets when no list of its scope is stored.
    id: ListId,
    /// By serial number.
    revoked: Vec<Revoked>,
}

/// One certificate that a CA revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    serial: Number,
    /// Since when.
    pub at: Timestamp,
    /// Why.
    pub reason: RevocationReason,
}

/// Why bytes are no revocation list that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// The document holds no list in any encoding.
    #[error("revocation list cannot be read: {0}")]
    Encoding(#[from] EncodingError),
    /// Longer than is taken.
    #[error("revocation list is longer than {} bytes", Crl::MAX_BYTES)]
    TooLong,
    /// The bytes do not hold a revocation list.
    #[error("revocation list cannot be read: {0}")]
    Malformed(String),
    /// It tells only what changed since another.
    #[error("this is a delta CRL, which holds only changes; a complete list is needed")]
    Delta,
    /// It speaks for other CAs, too.
    #[error("this is an indirect CRL, which holds what other CAs revoked; the CA's own list is needed")]
    Indirect,
    /// It must be understood and is not.
    #[error("revocation list has the critical extension {0}, which is not known here")]
    CriticalExtension(String),
}

impl Crl {
    /// The longest list taken, in bytes of DER: more than 100,000 entries, which have 40 to 60 bytes each.
    pub const MAX_BYTES: usize = 8 << 20;

    /// Reads a list from a text in any encoding.
    pub fn parse(text: &str) -> Result<Self, CrlError> {
        Self::from_bytes(text.as_bytes())
    }

    /// Reads a list from a document in any encoding; of several the first is taken.
    pub fn from_bytes(document: &[u8]) -> Result<Self, CrlError> {
        Self::from_der(read_object(document, Object::RevocationList)?)
    }

    /// Reads a list from its DER; nothing may follow it.
    pub fn from_der(der: Vec<u8>) -> Result<Self, CrlError> {
        if der.len() > Self::MAX_BYTES {
            return Err(CrlError::TooLong);
        }
        let malformed = |problem: &str| CrlError::Malformed(problem.to_owned());
        let (rest, list) = CertificateRevocationList::from_der(&der)
            .map_err(|error| CrlError::Malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(malformed("bytes follow the list"));
        }
        let signed = list.tbs_cert_list.as_ref();
        // The parser passes over entries that it cannot read; then what it read is shorter than what was signed.
        if declared_length(signed) != Some(signed.len()) {
            return Err(malformed("it has entries that cannot be read"));
        }
        refuse_extensions(list.extensions())?;
        let issuer = list.issuer().as_raw();
        let points: Vec<&[u8]> =
            list.extensions().iter().filter(|it| is_issuing_point(it)).map(|it| it.value).collect();
        let (scope, IsIndirect(is_indirect)) = match points.as_slice() {
            [] => (CrlScope::COMPLETE, IsIndirect(false)),
            [point] => CrlScope::read(point, issuer),
            _ => CrlScope::read(&[], issuer),
        };
        if is_indirect {
            return Err(CrlError::Indirect);
        }
        let number = list.crl_number().map(|number| Number::of(&number.to_bytes_be()));
        let mut revoked =
            list.iter_revoked_certificates().map(Revoked::read).collect::<Result<Vec<_>, _>>()?;
        revoked.sort_by_key(|entry| entry.serial);
        let parsed = Parsed {
            issuer: issuer.to_vec(),
            scope,
            id: ListId::of_scope(&points.concat()),
            number: number
                .map(|number| number.ok_or_else(|| malformed("its number is too long")))
                .transpose()?,
            this_update: Timestamp::from_unix_seconds(list.last_update().timestamp()),
            next_update: list.next_update().map(|time| Timestamp::from_unix_seconds(time.timestamp())),
            revoked,
            der,
        };
        Ok(Crl(Arc::new(parsed)))
    }

    /// Its bytes.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// The DER of its issuer's name.
    pub fn issuer(&self) -> &[u8] {
        &self.0.issuer
    }

    /// Its number in hex, if it has one.
    pub fn number(&self) -> Option<String> {
        self.0.number.map(|number| number.to_string())
    }

    /// When it was made.
    pub fn this_update(&self) -> Timestamp {
        self.0.this_update
    }

    /// When the next one is due, if it says.
    pub fn next_update(&self) -> Option<Timestamp> {
        self.0.next_update
    }

    /// What it covers.
    pub fn scope(&self) -> &CrlScope {
        &self.0.scope
    }

    /// The ID for it when no list of its scope is stored.
    pub fn id(&self) -> &ListId {
        &self.0.id
    }

    /// When it grows stale: when the next one is due, or else at this age.
    pub fn due(&self, max_age: CrlMaxAge) -> Timestamp {
        self.0.next_update.unwrap_or_else(|| max_age.after(self.0.this_update))
    }

    /// Whether the next one is overdue.
    pub fn is_stale(&self, max_age: CrlMaxAge, now: Timestamp) -> bool {
        self.due(max_age) < now
    }

    /// Whether it was made before the other one: its number is lower, or else its date. Numbers count the lists of one
    /// scope (RFC 5280 §5.2.3), so between scopes the dates decide.
    pub fn is_older_than(&self, other: &Crl) -> bool {
        match (self.0.number, other.0.number) {
            (Some(number), Some(others)) if number != others && self.scope() == other.scope() => {
                number < others
            }
            _ => self.0.this_update < other.0.this_update,
        }
    }

    /// How many certificates it revokes.
    pub fn len(&self) -> usize {
        self.0.revoked.len()
    }

    /// Whether it revokes none.
    pub fn is_empty(&self) -> bool {
        self.0.revoked.is_empty()
    }

    /// What it says of the certificate with this serial number, the content of its DER.
    pub fn revoked(&self, serial: &[u8]) -> Option<&Revoked> {
        let serial = Number::of(serial)?;
        let found = self.0.revoked.binary_search_by_key(&serial, |entry| entry.serial);
        found.ok().and_then(|at| self.0.revoked.get(at))
    }
}

impl fmt::Debug for Crl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crl({} revoked, made {})", self.len(), self.0.this_update)
    }
}

impl TryFrom<String> for Crl {
    type Error = CrlError;
    fn try_from(text: String) -> Result<Self, CrlError> {
        Self::from_der(STANDARD.decode(text).map_err(|_| EncodingError::NotEncoded)?)
    }
}

impl From<Crl> for String {
    fn from(crl: Crl) -> String {
        STANDARD.encode(crl.der())
    }
}

impl Revoked {
    fn read(entry: &RevokedCertificate<'_>) -> Result<Revoked, CrlError> {
        let serial = Number::of(entry.raw_serial());
        let serial = serial.ok_or_else(|| CrlError::Malformed("a serial number is too long".into()))?;
        let mut reason = RevocationReason::default();
        for extension in entry.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::ReasonCode(code) => reason = RevocationReason::of(code.0)?,
                ParsedExtension::InvalidityDate(_) => {}
                _ if extension.oid.to_id_string() == CERTIFICATE_ISSUER => return Err(CrlError::Indirect),
                _ if extension.critical => return Err(critical(extension)),
                _ => {}
            }
        }
        Ok(Revoked { serial, at: Timestamp::from_unix_seconds(entry.revocation_date.timestamp()), reason })
    }
}

/// Refuses a list that is a change to another one, or that must be understood and is not.
fn refuse_extensions(extensions: &[X509Extension<'_>]) -> Result<(), CrlError> {
    for extension in extensions {
        match extension.parsed_extension() {
            ParsedExtension::CRLNumber(_) | ParsedExtension::AuthorityKeyIdentifier(_) => {}
            // Its scope is read on its own.
            ParsedExtension::IssuingDistributionPoint(_) => {}
            ParsedExtension::ParseError { .. } => {
                return Err(CrlError::Malformed("an extension cannot be read".into()));
            }
            _ if extension.oid.to_id_string() == DELTA_CRL_INDICATOR => return Err(CrlError::Delta),
            _ if extension.critical => return Err(critical(extension)),
            _ => {}
        }
    }
    Ok(())
}

fn is_issuing_point(extension: &X509Extension<'_>) -> bool {
    matches!(extension.parsed_extension(), ParsedExtension::IssuingDistributionPoint(_))
}

fn critical(extension: &X509Extension<'_>) -> CrlError {
    CrlError::CriticalExtension(extension.oid.to_id_string())
}

/// The length with its header that a DER value says it has.
fn declared_length(der: &[u8]) -> Option<usize> {
    let (header, length) = match *der.get(1..)? {
        [length @ 0..=0x7F, ..] => (2, usize::from(length)),
        [0x81, length, ..] => (3, usize::from(length)),
        [0x82, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
        [0x83, high, middle, low, ..] => (5, u32::from_be_bytes([0, high, middle, low]) as usize),
        _ => return None,
    };
    Some(header + length)
}

/// `id-ce-deltaCRLIndicator` (RFC 5280 §5.2.4).
const DELTA_CRL_INDICATOR: &str = "2.5.29.27";
/// `id-ce-certificateIssuer` (RFC 5280 §5.3.3).
const CERTIFICATE_ISSUER: &str = "2.5.29.29";

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
        CrlIssuingDistributionPoint, CrlScope, IsCa, Issuer, KeyPair, KeyUsagePurpose, RevokedCertParams,
        SerialNumber, date_time_ymd,
    };

    use super::*;
    use crate::CoveredCertificates;

    fn ca() -> Issuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Issuer::new(params, KeyPair::generate().unwrap())
    }

    fn list(number: u64, revoked: &[(u64, rcgen::RevocationReason)]) -> CertificateRevocationListParams {
        CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 11, 1),
            next_update: date_time_ymd(2026, 12, 1),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|(serial, reason)| RevokedCertParams {
                    serial_number: SerialNumber::from(*serial),
                    revocation_time: date_time_ymd(2026, 10, 1),
                    reason_code: Some(*reason),
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        }
    }

    fn made(params: CertificateRevocationListParams) -> Result<Crl, CrlError> {
        Crl::from_der(params.signed_by(&ca()).unwrap().der().to_vec())
    }

    #[test]
    fn finds_what_is_revoked_and_why() {
        use rcgen::RevocationReason::{KeyCompromise, Superseded};
        let crl = made(list(7, &[(0xFF01, KeyCompromise), (2, Superseded)])).unwrap();
        assert_eq!((crl.len(), crl.number().as_deref()), (2, Some("07")));
        assert_eq!(crl.revoked(&[2]).unwrap().reason, RevocationReason::Superseded);
        // With the zero that DER puts before a number whose first bit is set, and without it.
        for serial in [&[0xFF, 1][..], &[0, 0xFF, 1]] {
            let found = crl.revoked(serial).unwrap();
            assert_eq!(found.reason.as_str(), "keyCompromise");
            assert_eq!(found.at, Timestamp::parse("2026-10-01T00:00:00Z").unwrap());
        }
        for serial in [&[3][..], &[], &[1; 21]] {
            assert_eq!(crl.revoked(serial), None);
        }
        let due = Timestamp::parse("2026-12-01T00:00:00Z").unwrap();
        assert!(!crl.is_stale(CrlMaxAge::default(), due));
        assert!(crl.is_stale(CrlMaxAge::default(), Timestamp::from_ticks(due.ticks() + 1)));
    }

    fn scoped(params: CertificateRevocationListParams, scope: Option<CrlScope>) -> Crl {
        let distribution_point = CrlDistributionPoint { uris: vec!["http://crl.example/".into()] };
        let point = CrlIssuingDistributionPoint { distribution_point, scope };
        made(CertificateRevocationListParams { issuing_distribution_point: Some(point), ..params }).unwrap()
    }

    #[test]
    fn a_list_says_what_it_covers() {
        use CoveredCertificates::{All, Cas, EndEntities};
        let whole = made(list(1, &[])).unwrap();
        assert_eq!((whole.scope().certificates(), whole.scope().point()), (All, None));
        for (scope, covered) in
            [(None, All), (Some(CrlScope::UserCertsOnly), EndEntities), (Some(CrlScope::CaCertsOnly), Cas)]
        {
            let crl = scoped(list(1, &[]), scope);
            assert_eq!(crl.scope().certificates(), covered);
            assert_eq!(crl.scope().point().unwrap().texts().collect::<Vec<_>>(), ["http://crl.example/"]);
            assert!(whole.scope().includes(crl.scope()) && !crl.scope().includes(whole.scope()));
            assert_ne!(crl.id(), whole.id());
        }
    }

    #[test]
    fn a_list_of_changes_or_of_other_cas_is_refused() {
        // Made by OpenSSL.
        let delta = include_bytes!("../../../fuzz/corpus/revocation_list/delta");
        assert_eq!(Crl::from_bytes(delta), Err(CrlError::Delta));
        let indirect = include_bytes!("../../../fuzz/corpus/revocation_list/indirect");
        assert_eq!(Crl::from_bytes(indirect), Err(CrlError::Indirect));
        let removed = list(1, &[(1, rcgen::RevocationReason::RemoveFromCrl)]);
        assert_eq!(made(removed), Err(CrlError::Delta));
    }

    #[test]
    fn newer_lists_have_higher_numbers() {
        let (first, second) = (made(list(9, &[])).unwrap(), made(list(10, &[])).unwrap());
        assert!(first.is_older_than(&second) && !second.is_older_than(&first));
        let later =
            CertificateRevocationListParams { this_update: date_time_ymd(2026, 11, 2), ..list(9, &[]) };
        assert!(first.is_older_than(&made(later).unwrap()));
        assert!(!first.is_older_than(&first));
        // A number says nothing about lists of another scope.
        let shard = scoped(list(1, &[]), None);
        assert!(!shard.is_older_than(&second) && !second.is_older_than(&shard));
    }

    #[test]
    fn reads_the_forms_in_which_lists_come() {
        let signed = list(1, &[(1, rcgen::RevocationReason::Unspecified)]).signed_by(&ca()).unwrap();
        let (der, pem) = (signed.der().to_vec(), signed.pem().unwrap());
        let crl = Crl::from_der(der.clone()).unwrap();
        assert_eq!(Crl::parse(&pem), Ok(crl.clone()));
        assert_eq!(Crl::parse(&STANDARD.encode(&der)), Ok(crl.clone()));
        assert_eq!(Crl::parse(&STANDARD.encode(&pem)), Ok(crl.clone()));
        assert_eq!(Crl::from_bytes(pem.as_bytes()), Ok(crl.clone()));
        let stored = serde_json::to_string(&crl).unwrap();
        assert_eq!(serde_json::from_str::<Crl>(&stored).unwrap(), crl);

        for text in
            ["", "no list!", "aGVsbG8=", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
        {
            assert!(Crl::parse(text).is_err(), "{text}");
        }
        assert!(Crl::from_der([der.as_slice(), &[0]].concat()).is_err());
        // An entry whose date is none must not vanish: the list would let its certificate through.
        let date = der.windows(2).rposition(|pair| pair == [0x17, 13]).unwrap();
        let mut broken = der;
        broken[date + 2] = b'x';
        assert!(Crl::from_der(broken).is_err());
    }

    #[test]
    fn a_hundred_thousand_entries_are_looked_up() {
        let entries: Vec<_> =
            (0..100_000).map(|serial| (serial * 3 + 1, rcgen::RevocationReason::Superseded)).collect();
        let crl = made(list(1, &entries)).unwrap();
        assert_eq!(crl.len(), 100_000);
        for serial in [1u32, 150_001, 299_998] {
            assert!(crl.revoked(&serial.to_be_bytes()).is_some(), "{serial}");
            assert!(crl.revoked(&(serial + 1).to_be_bytes()).is_none(), "{serial}");
        }
    }
}
