//! Revocation lists of the test CAs, and distribution points in lists and certificates.

use certpath::Crl;
use model::Timestamp;
use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber,
    date_time_ymd,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::ca::{Authority, SEQUENCE, contents, pem, signed_again, since_1970, wrapped};

const OCTET_STRING: u8 = 0x04;
const UTF8_STRING: u8 = 0x0C;
const SET: u8 = 0x31;
const EXTENSIONS: u8 = 0xA0;
/// The encoded object identifier 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x03];
/// The encoded object identifier 2.5.29.28.
const ISSUING_DISTRIBUTION_POINT: &[u8] = &[0x06, 0x03, 0x55, 0x1D, 0x1C];

/// The content of a revocation list.
#[derive(Debug, Clone)]
pub struct Revocations {
    /// The CRL number.
    pub number: u64,
    /// The time of issue.
    pub this_update: Timestamp,
    /// The time by which the next list is due.
    pub next_update: Option<Timestamp>,
    /// The serial numbers of the revoked certificates, all for key compromise.
    pub serials: Vec<Vec<u8>>,
    /// The scope; `None` for all certificates and reasons.
    pub scope: Option<Scope>,
}

/// The scope of a list: the fields of issuingDistributionPoint (RFC 5280 §5.2.5).
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The names of the distribution point.
    pub point: Vec<PointName>,
    /// Whether the list covers only certificates that are not of CAs (onlyContainsUserCerts).
    pub only_users: bool,
    /// Whether the list covers only certificates of CAs (onlyContainsCACerts).
    pub only_cas: bool,
    /// Whether the list covers only attribute certificates (onlyContainsAttributeCerts).
    pub only_attributes: bool,
    /// Whether the list covers certificates of other CAs, too (indirectCRL).
    pub is_indirect: bool,
    /// The reasons covered, by their bits in `ReasonFlags`; empty for all.
    pub reasons: Vec<usize>,
}

/// A name of a distribution point.
#[derive(Debug, Clone, Copy)]
pub enum PointName {
    /// A URI.
    Uri(&'static str),
    /// A distinguished name of common names only, outermost part first.
    Directory(&'static [&'static str]),
    /// A common name, relative to the name of the lists' signer. It must be the only name.
    Relative(&'static str),
}

/// A distribution point in a certificate.
#[derive(Debug, Clone, Default)]
pub struct Point {
    /// The names of the distribution point.
    pub names: Vec<PointName>,
    /// The reasons covered, by their bits in `ReasonFlags`; empty for all.
    pub reasons: Vec<usize>,
    /// The common name of the CA that signs the lists, if it is not the certificate's issuer (cRLIssuer).
    pub signer: Option<&'static str>,
}

impl Revocations {
    /// Creates the content of an empty list, issued at `this_update` and replaced after a day.
    pub fn made_at(number: u64, this_update: Timestamp) -> Revocations {
        Revocations {
            number,
            this_update,
            next_update: Some(this_update.plus_seconds(86_400)),
            serials: Vec::new(),
            scope: None,
        }
    }

    /// Adds a certificate in DER.
    pub fn revoke(mut self, der: &[u8]) -> Revocations {
        let (_, certificate) = X509Certificate::from_der(der).unwrap();
        self.serials.push(certificate.raw_serial().to_vec());
        self
    }

    /// Sets the scope.
    pub fn covering(self, scope: Scope) -> Revocations {
        Revocations { scope: Some(scope), ..self }
    }

    /// Returns the list, signed by a CA.
    pub fn signed_by(&self, authority: &Authority) -> Crl {
        Crl::from_der(self.der(authority)).unwrap()
    }

    /// Returns the list, signed by a CA, in PEM.
    pub fn pem(&self, authority: &Authority) -> String {
        pem("X509 CRL", &self.der(authority))
    }

    /// Returns the list, signed by a CA, in DER.
    pub fn der(&self, authority: &Authority) -> Vec<u8> {
        let entry = |serial: &Vec<u8>| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let next_update = self.next_update.unwrap_or(self.this_update.plus_seconds(1));
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(1970, 1, 1) + since_1970(self.this_update),
            next_update: date_time_ymd(1970, 1, 1) + since_1970(next_update),
            crl_number: SerialNumber::from(self.number),
            issuing_distribution_point: None,
            revoked_certs: self.serials.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let der = list.signed_by(&authority.list_signer()).unwrap().der().to_vec();
        if self.next_update.is_some() && self.scope.is_none() {
            return der;
        }
        signed_again(&der, authority.issuer().key(), |tbs| self.customized(tbs))
    }

    /// Changes the content of the signed part to what the library that encoded it does not support.
    fn customized(&self, tbs: &[u8]) -> Vec<u8> {
        let mut fields = elements(tbs);
        let extensions = fields.pop().unwrap();
        // The fields are version, algorithm, issuer, this update, next update.
        if self.next_update.is_none() {
            fields.remove(4);
        }
        let point = self.scope.iter().map(Scope::extension).collect::<Vec<_>>().concat();
        let extensions = [contents(contents(extensions).0).0, &point].concat();
        let extensions = wrapped(EXTENSIONS, &wrapped(SEQUENCE, &extensions));
        [fields.concat(), extensions].concat()
    }
}

impl Scope {
    /// Returns the scope of a distribution point with one URI.
    pub fn of(uri: &'static str) -> Scope {
        Scope { point: vec![PointName::Uri(uri)], ..Scope::default() }
    }

    fn extension(&self) -> Vec<u8> {
        let flags =
            [(1, self.only_users), (2, self.only_cas), (4, self.is_indirect), (5, self.only_attributes)];
        let mut fields: Vec<(u8, Vec<u8>)> = flags
            .iter()
            .filter(|(_, is_set)| *is_set)
            .map(|(tag, _)| (*tag, wrapped(0x80 | tag, &[0xFF])))
            .collect();
        fields.extend(point_field(&self.point).map(|field| (0, field)));
        fields.extend(reasons_field(3, &self.reasons).map(|field| (3, field)));
        fields.sort();
        let value = wrapped(SEQUENCE, &fields.into_iter().flat_map(|(_, field)| field).collect::<Vec<_>>());
        let critical = [0x01, 0x01, 0xFF];
        wrapped(SEQUENCE, &[ISSUING_DISTRIBUTION_POINT, &critical, &wrapped(OCTET_STRING, &value)].concat())
    }
}

/// Returns the content of the extension cRLDistributionPoints of a certificate.
pub fn points(points: &[Point]) -> Vec<u8> {
    let point = |point: &Point| {
        let signer = point.signer.map(|name| wrapped(0xA2, &directory(&[name])));
        let fields = [point_field(&point.names), reasons_field(1, &point.reasons), signer];
        wrapped(SEQUENCE, &fields.into_iter().flatten().collect::<Vec<_>>().concat())
    };
    wrapped(SEQUENCE, &points.iter().map(point).collect::<Vec<_>>().concat())
}

impl Point {
    /// Returns a distribution point with one URI.
    pub fn of(uri: &'static str) -> Point {
        Point { names: vec![PointName::Uri(uri)], ..Point::default() }
    }
}

fn point_field(names: &[PointName]) -> Option<Vec<u8>> {
    let name = |name: &PointName| match name {
        PointName::Uri(uri) => wrapped(0x86, uri.as_bytes()),
        PointName::Directory(parts) => directory(parts),
        PointName::Relative(part) => common_name(part),
    };
    let content = names.iter().map(name).collect::<Vec<_>>().concat();
    let tag = if let [PointName::Relative(_)] = names { 0xA1 } else { 0xA0 };
    (!names.is_empty()).then(|| wrapped(0xA0, &wrapped(tag, &content)))
}

fn reasons_field(tag: u8, reasons: &[usize]) -> Option<Vec<u8>> {
    let highest = reasons.iter().max()?;
    let mut bits = vec![0; highest / 8 + 1];
    reasons.iter().for_each(|reason| bits[reason / 8] |= 0x80 >> (reason % 8));
    let unused = u8::try_from(7 - highest % 8).unwrap();
    Some(wrapped(0x80 | tag, &[&[unused], bits.as_slice()].concat()))
}

/// Encodes a distinguished name as a GeneralName.
fn directory(parts: &[&str]) -> Vec<u8> {
    let parts: Vec<_> = parts.iter().map(|part| wrapped(SET, &common_name(part))).collect();
    wrapped(0xA4, &wrapped(SEQUENCE, &parts.concat()))
}

fn common_name(text: &str) -> Vec<u8> {
    wrapped(SEQUENCE, &[COMMON_NAME, &wrapped(UTF8_STRING, text.as_bytes())].concat())
}

fn elements(mut content: &[u8]) -> Vec<&[u8]> {
    let mut elements = Vec::new();
    while !content.is_empty() {
        let (_, rest) = contents(content);
        elements.push(&content[..content.len() - rest.len()]);
        content = rest;
    }
    elements
}
