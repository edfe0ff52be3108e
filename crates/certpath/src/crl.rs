//! Certificate revocation lists (RFC 5280 §5): parsed once, then searched for serial numbers.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use x509_parser::{
    extensions::{ParsedExtension, X509Extension},
    prelude::FromDer,
    revocation_list::{CertificateRevocationList, RevokedCertificate},
};

use crate::{
    CrlMaxAge, CrlScope, RevocationReason, Time,
    crl_parts::Number,
    crl_scope::IsIndirect,
    encoding::{EncodingError, Object, read_object},
};

/// `id-ce-deltaCRLIndicator` (RFC 5280 §5.2.4).
const DELTA_CRL_INDICATOR: &str = "2.5.29.27";
/// `id-ce-certificateIssuer` (RFC 5280 §5.3.3).
const CERTIFICATE_ISSUER: &str = "2.5.29.29";

/// A list of the certificates that one CA revoked, complete for its scope. Whether the CA signed it is not checked here.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Crl(Arc<Parsed>);

#[derive(PartialEq, Eq)]
struct Parsed {
    der: Vec<u8>,
    issuer: Vec<u8>,
    number: Option<Number>,
    this_update: Time,
    next_update: Option<Time>,
    scope: CrlScope,
    /// The value of the extension that states the scope.
    scope_extension: Box<[u8]>,
    /// By serial number.
    revoked: Vec<Revoked>,
}

/// One certificate that a CA revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    serial: Number,
    /// The date of the revocation.
    pub at: Time,
    /// The reason.
    pub reason: RevocationReason,
}

/// Why bytes are not a usable revocation list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// The document holds no list in any encoding.
    #[error("revocation list cannot be read: {0}")]
    Encoding(#[from] EncodingError),
    /// It is longer than [`Crl::MAX_BYTES`].
    #[error("revocation list is longer than {} bytes", Crl::MAX_BYTES)]
    TooLong,
    /// The bytes do not hold a revocation list.
    #[error("revocation list cannot be read: {0}")]
    Malformed(String),
    /// It is a delta CRL, which holds only the changes since another.
    #[error("this is a delta CRL, which holds only changes; a complete list is needed")]
    Delta,
    /// It is an indirect CRL, which holds the revocations of other CAs.
    #[error("this is an indirect CRL, which holds what other CAs revoked; the CA's own list is needed")]
    Indirect,
    /// It has a critical extension that is not known.
    #[error("revocation list has the critical extension {0}, which is not supported")]
    CriticalExtension(String),
}

impl Crl {
    /// The longest accepted list, in bytes of DER: more than 100,000 entries, which have 40 to 60 bytes each.
    pub const MAX_BYTES: usize = 8 << 20;

    /// Reads a list from a text in any encoding.
    pub fn parse(text: &str) -> Result<Self, CrlError> {
        Self::from_bytes(text.as_bytes())
    }

    /// Reads the first list of a document in any encoding.
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
        // The parser skips entries that it cannot read; then the part that it read is shorter than the signed part.
        if declared_length(signed) != Some(signed.len()) {
            return Err(malformed("it has entries that cannot be read"));
        }
        if let Some(error) = error_of_extensions(list.extensions()) {
            return Err(error);
        }
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
            scope_extension: points.concat().into(),
            number: number
                .map(|number| number.ok_or_else(|| malformed("its number is too long")))
                .transpose()?,
            this_update: Time::from(list.last_update()),
            next_update: list.next_update().map(Time::from),
            revoked,
            der,
        };
        Ok(Crl(Arc::new(parsed)))
    }

    /// Returns its DER.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// Returns the DER of its issuer's name.
    pub fn issuer(&self) -> &[u8] {
        &self.0.issuer
    }

    /// Returns its number in hex, if it has one.
    pub fn number(&self) -> Option<String> {
        self.0.number.map(|number| number.to_string())
    }

    /// Returns the date of issue.
    pub fn this_update(&self) -> Time {
        self.0.this_update
    }

    /// Returns the date by which the next list is issued, if the list states it.
    pub fn next_update(&self) -> Option<Time> {
        self.0.next_update
    }

    /// Returns which certificates it covers.
    pub fn scope(&self) -> &CrlScope {
        &self.0.scope
    }

    /// Returns the value of the extension that states the scope (issuingDistributionPoint); empty if there is none.
    pub fn scope_extension(&self) -> &[u8] {
        &self.0.scope_extension
    }

    /// Returns the date from which it is stale: that of the next list, or else when it reaches this age.
    pub fn due(&self, max_age: CrlMaxAge) -> Time {
        self.0.next_update.unwrap_or_else(|| max_age.after(self.0.this_update))
    }

    /// Returns whether it is stale.
    pub fn is_stale(&self, max_age: CrlMaxAge, now: Time) -> bool {
        self.due(max_age) < now
    }

    /// Returns whether it was issued before the other one: its number is lower, or else its date is earlier. Numbers count the
    /// lists of one scope (RFC 5280 §5.2.3), so between scopes the dates decide.
    pub fn is_older_than(&self, other: &Crl) -> bool {
        match (self.0.number, other.0.number) {
            (Some(number), Some(others)) if number != others && self.scope() == other.scope() => {
                number < others
            }
            _ => self.0.this_update < other.0.this_update,
        }
    }

    /// Returns the number of certificates that it revokes.
    pub fn len(&self) -> usize {
        self.0.revoked.len()
    }

    /// Returns whether it revokes none.
    pub fn is_empty(&self) -> bool {
        self.0.revoked.is_empty()
    }

    /// Returns the entry for a serial number, given as the content of its DER.
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
        Ok(Revoked { serial, at: Time::from(entry.revocation_date), reason })
    }
}

/// Returns why a list cannot be used because of its extensions: it is a delta, or has a critical one that is not known.
fn error_of_extensions(extensions: &[X509Extension<'_>]) -> Option<CrlError> {
    extensions.iter().find_map(|extension| {
        match extension.parsed_extension() {
            ParsedExtension::CRLNumber(_) | ParsedExtension::AuthorityKeyIdentifier(_) => None,
            // The scope is read separately.
            ParsedExtension::IssuingDistributionPoint(_) => None,
            ParsedExtension::ParseError { .. } => {
                Some(CrlError::Malformed("an extension cannot be read".into()))
            }
            _ if extension.oid.to_id_string() == DELTA_CRL_INDICATOR => Some(CrlError::Delta),
            _ if extension.critical => Some(critical(extension)),
            _ => None,
        }
    })
}

fn is_issuing_point(extension: &X509Extension<'_>) -> bool {
    matches!(extension.parsed_extension(), ParsedExtension::IssuingDistributionPoint(_))
}

fn critical(extension: &X509Extension<'_>) -> CrlError {
    CrlError::CriticalExtension(extension.oid.to_id_string())
}

/// Returns the length that a DER value states, with its header.
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

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
        CrlIssuingDistributionPoint, CrlScope, IsCa, Issuer, KeyPair, KeyUsagePurpose, RevokedCertParams,
        SerialNumber, date_time_ymd,
    };

    use super::*;
    use crate::{
        CoveredCertificates,
        der::{self, SEQUENCE},
    };

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
    fn finds_revoked_certificates_and_the_reason() {
        use rcgen::RevocationReason::{KeyCompromise, Superseded};
        let crl = made(list(7, &[(0xFF01, KeyCompromise), (2, Superseded)])).unwrap();
        assert_eq!((crl.len(), crl.number().as_deref()), (2, Some("07")));
        assert_eq!(crl.revoked(&[2]).unwrap().reason, RevocationReason::Superseded);
        // With the zero that DER puts before a number whose first bit is set, and without it.
        for serial in [&[0xFF, 1][..], &[0, 0xFF, 1]] {
            let found = crl.revoked(serial).unwrap();
            assert_eq!(found.reason.as_str(), "keyCompromise");
            assert_eq!(found.at, Time::from_unix_seconds(1_790_812_800));
        }
        for serial in [&[3][..], &[], &[1; 21]] {
            assert_eq!(crl.revoked(serial), None);
        }
        let due = Time::from_unix_seconds(1_796_083_200);
        assert!(!crl.is_stale(CrlMaxAge::default(), due));
        assert!(crl.is_stale(CrlMaxAge::default(), due.plus_seconds(1)));
    }

    /// Encodes a list of one revoked certificate, which rcgen cannot write so: without a date for the next list, and with these
    /// extensions of the entry.
    fn encoded(serial: &[u8], extensions: &[&[u8]]) -> Vec<u8> {
        let date = der::write(0x17, b"261101000000Z");
        let extensions = der::write(SEQUENCE, &extensions.concat());
        let entry = der::write(SEQUENCE, &[&der::write(0x02, serial)[..], &date, &extensions].concat());
        let algorithm = der::write(SEQUENCE, b"\x06\x03\x2B\x65\x70");
        let entries = der::write(SEQUENCE, &entry);
        let signed = [&[2, 1, 1], &algorithm[..], &der::write(SEQUENCE, ISSUER), &date, &entries].concat();
        let list = [&der::write(SEQUENCE, &signed)[..], &algorithm, &der::write(0x03, &[0; 65])].concat();
        der::write(SEQUENCE, &list)
    }

    /// `CN=Root`, as the content of a name.
    const ISSUER: &[u8] = b"\x31\x0D\x30\x0B\x06\x03\x55\x04\x03\x0C\x04Root";

    #[test]
    fn an_entry_with_an_unknown_critical_extension_is_rejected() {
        const CRITICAL: &[u8] = &[1, 1, 0xFF];
        let extension = |oid: &[u8], critical: &[u8], value: &[u8]| {
            der::write(SEQUENCE, &[&der::write(0x06, oid)[..], critical, &der::write(0x04, value)].concat())
        };
        let (reason, date, issuer) = (&[0x55, 0x1D, 21], &[0x55, 0x1D, 24], &[0x55, 0x1D, 29]);
        let (unknown, compromise) = (&[0x2A, 3, 4], extension(reason, &[], &[0x0A, 1, 1]));
        let reason_of = |extensions: &[&[u8]]| {
            Crl::from_der(encoded(&[5], extensions)).map(|crl| crl.revoked(&[5]).unwrap().reason.as_str())
        };
        assert_eq!(reason_of(&[]), Ok("unspecified"));
        assert_eq!(reason_of(&[&compromise]), Ok("keyCompromise"));
        assert_eq!(reason_of(&[&extension(unknown, &[], b""), &compromise]), Ok("keyCompromise"));
        let dated = extension(date, CRITICAL, b"\x18\x0F20261001000000Z");
        assert_eq!(reason_of(&[&dated, &compromise]), Ok("keyCompromise"));
        let critical = CrlError::CriticalExtension("1.2.3.4".into());
        assert_eq!(reason_of(&[&compromise, &extension(unknown, CRITICAL, b"")]), Err(critical));
        for critical in [CRITICAL, &[]] {
            assert_eq!(reason_of(&[&extension(issuer, critical, b"")]), Err(CrlError::Indirect));
        }
        let coded = |code| reason_of(&[&extension(reason, &[], &[0x0A, 1, code])]);
        assert_eq!(coded(8), Err(CrlError::Delta));
        assert_eq!(coded(7), Err(CrlError::Malformed("reason 7 does not exist".into())));
        assert!(Crl::from_der(encoded(&[1; 20], &[])).is_ok());
        let too_long = CrlError::Malformed("a serial number is too long".into());
        assert_eq!(Crl::from_der(encoded(&[1; 21], &[])), Err(too_long));
    }

    #[test]
    fn a_list_without_a_date_for_the_next_is_stale_at_the_maximal_age() {
        let crl = Crl::from_der(encoded(&[5], &[])).unwrap();
        assert_eq!((crl.next_update(), crl.number()), (None, None));
        assert_eq!(crl.issuer(), der::write(SEQUENCE, ISSUER));
        let due = crl.this_update().plus_seconds(2 * 86_400);
        let max_age = CrlMaxAge::try_from(2).unwrap();
        assert_eq!(crl.due(max_age), due);
        assert!(!crl.is_stale(max_age, due) && crl.is_stale(max_age, due.plus_seconds(1)));
    }

    fn scoped(params: CertificateRevocationListParams, scope: Option<CrlScope>) -> Crl {
        let distribution_point = CrlDistributionPoint { uris: vec!["http://crl.example/".into()] };
        let point = CrlIssuingDistributionPoint { distribution_point, scope };
        made(CertificateRevocationListParams { issuing_distribution_point: Some(point), ..params }).unwrap()
    }

    #[test]
    fn a_list_states_its_scope() {
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
            assert_ne!(crl.scope_extension(), whole.scope_extension());
        }
    }

    #[test]
    fn delta_and_indirect_lists_are_rejected() {
        // Created by OpenSSL.
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
    fn reads_lists_in_every_encoding() {
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
        // An entry with a malformed date must not be skipped: its certificate would be accepted.
        let date = der.windows(2).rposition(|pair| pair == [0x17, 13]).unwrap();
        let mut broken = der;
        broken[date + 2] = b'x';
        assert!(Crl::from_der(broken).is_err());
    }

    #[test]
    fn a_hundred_thousand_entries_are_found() {
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
