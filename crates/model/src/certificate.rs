//! X.509 certificates that enrollments hold.

use std::fmt;

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use x509_parser::prelude::FromDer;

use crate::{
    CertificateParts, Timestamp,
    certificate_parts::Cut,
    encoding::{EncodingError, Object, read_object, read_objects},
    name_text,
};

/// A certificate as an enrollment keeps it: its bytes, and what operators are shown of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct Certificate {
    #[serde(with = "base64_text")]
    der: Vec<u8>,
    #[serde(with = "base64_text")]
    subject: Vec<u8>,
    info: Box<CertificateInfo>,
    /// Where its parts are, found once: each device that names its issuer is compared with them.
    #[serde(skip)]
    cut: Option<Box<Cut>>,
}

/// What is stored of a certificate.
#[derive(Deserialize)]
struct Stored {
    #[serde(with = "base64_text")]
    der: Vec<u8>,
    #[serde(with = "base64_text")]
    subject: Vec<u8>,
    info: Box<CertificateInfo>,
}

impl From<Stored> for Certificate {
    fn from(Stored { der, subject, info }: Stored) -> Self {
        let cut = Cut::of(&der).map(Box::new);
        Certificate { der, subject, info, cut }
    }
}

/// What the service shows of a certificate; it never gives the certificate back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateInfo {
    /// Subject, most specific part first: `CN=x, OU=Azure IoT, C=US`.
    pub subject_name: String,
    /// SHA-1 of the DER, upper-case hex.
    pub sha1_thumbprint: String,
    /// SHA-256 of the DER.
    pub sha256_thumbprint: Sha256Thumbprint,
    /// Issuer, written as the subject is.
    pub issuer_name: String,
    /// Not valid before.
    pub not_before: Timestamp,
    /// Not valid after.
    pub not_after: Timestamp,
    /// Serial number, upper-case hex.
    pub serial_number: String,
    /// 1 or 3.
    pub version: u32,
}

/// The SHA-256 of a certificate's DER, 64 upper-case hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Thumbprint(Box<str>);

/// Why a text is not a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The document holds no certificate in any encoding.
    #[error("certificate cannot be read: {0}")]
    Encoding(#[from] EncodingError),
    /// The bytes do not hold a certificate.
    #[error("certificate cannot be read: {0}")]
    Malformed(String),
    /// A thumbprint is not 64 hex digits.
    #[error("SHA-256 thumbprint must be 64 hex digits")]
    Thumbprint,
}

impl Certificate {
    /// The longest certificate taken, in bytes of DER.
    pub const MAX_BYTES: usize = 16 * 1024;

    /// Reads a certificate from a text in any encoding; of several the first is taken.
    pub fn parse(text: &str) -> Result<Self, CertificateError> {
        Self::from_der(&read_object(text.as_bytes(), Object::Certificate)?)
    }

    /// Reads the certificates of a document in any encoding, in their order; at least one.
    pub fn parse_all(document: &[u8]) -> Result<Vec<Self>, CertificateError> {
        read_objects(document, Object::Certificate)?.iter().map(|der| Self::from_der(der)).collect()
    }

    /// Its text, as PEM.
    pub fn to_pem(&self) -> String {
        let text = STANDARD.encode(&self.der);
        let lines: Vec<&str> =
            (0..text.len()).step_by(64).filter_map(|at| text.get(at..text.len().min(at + 64))).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    }

    /// Reads a certificate from its DER; nothing may follow it.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > Self::MAX_BYTES {
            return Err(CertificateError::Malformed(format!("longer than {} bytes", Self::MAX_BYTES)));
        }
        let (rest, parsed) = x509_parser::certificate::X509Certificate::from_der(der)
            .map_err(|error| CertificateError::Malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(CertificateError::Malformed("bytes follow the certificate".into()));
        }
        let info = CertificateInfo {
            subject_name: name_text(parsed.subject()),
            sha1_thumbprint: hex_upper(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der).as_ref()),
            sha256_thumbprint: Sha256Thumbprint::of(der),
            issuer_name: name_text(parsed.issuer()),
            not_before: Timestamp::from_unix_seconds(parsed.validity().not_before.timestamp()),
            not_after: Timestamp::from_unix_seconds(parsed.validity().not_after.timestamp()),
            serial_number: hex_upper(parsed.raw_serial()),
            version: parsed.version().0 + 1,
        };
        let subject = parsed.subject().as_raw().to_vec();
        Ok(Stored { der: der.to_vec(), subject, info: Box::new(info) }.into())
    }

    /// Its bytes.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Its parts; `None` when its outer form is not exact DER, which no rule about certificates lets pass.
    pub fn parts(&self) -> Option<CertificateParts<'_>> {
        self.cut.as_ref()?.parts(&self.der)
    }

    /// The DER of its subject, by which issuers are looked up.
    pub fn subject(&self) -> &[u8] {
        &self.subject
    }

    /// What operators are shown.
    pub fn info(&self) -> &CertificateInfo {
        &self.info
    }

    /// Its SHA-256.
    pub fn thumbprint(&self) -> &Sha256Thumbprint {
        &self.info.sha256_thumbprint
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({}, {})", self.info.subject_name, self.info.sha256_thumbprint)
    }
}

impl Sha256Thumbprint {
    /// The thumbprint of a certificate's DER.
    pub fn of(der: &[u8]) -> Self {
        Sha256Thumbprint(hex_upper(digest::digest(&digest::SHA256, der).as_ref()).into())
    }

    /// Parses 64 hex digits of either case.
    pub fn parse(text: &str) -> Result<Self, CertificateError> {
        let fits = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if fits {
            Ok(Sha256Thumbprint(text.to_ascii_uppercase().into()))
        } else {
            Err(CertificateError::Thumbprint)
        }
    }

    /// The digits, in upper case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sha256Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Sha256Thumbprint {
    type Error = CertificateError;
    fn try_from(text: String) -> Result<Self, CertificateError> {
        Self::parse(&text)
    }
}

impl From<Sha256Thumbprint> for String {
    fn from(thumbprint: Sha256Thumbprint) -> String {
        thumbprint.0.into()
    }
}

fn hex_upper(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02X}");
        text
    })
}

mod base64_text {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD
            .decode(<std::borrow::Cow<'de, str>>::deserialize(deserializer)?.as_ref())
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem() -> String {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CountryName, "US");
        params.distinguished_name.push(rcgen::DnType::CommonName, "dev-1");
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn reads_the_three_forms_that_clients_send() {
        let pem = pem();
        let certificate = Certificate::parse(&pem).unwrap();
        assert_eq!(certificate.info().version, 3);
        assert!(
            certificate.info().subject_name.starts_with("CN=dev-1"),
            "{}",
            certificate.info().subject_name
        );
        assert_eq!(Certificate::parse(&STANDARD.encode(certificate.der())).unwrap(), certificate);
        assert_eq!(Certificate::parse(&STANDARD.encode(&pem)).unwrap(), certificate);
    }

    #[test]
    fn reads_and_writes_files_of_several() {
        let files = [pem(), pem()];
        let certificates = Certificate::parse_all(files.concat().as_bytes()).unwrap();
        assert_eq!(certificates, files.map(|file| Certificate::parse(&file).unwrap()));
        let written: String = certificates.iter().map(Certificate::to_pem).collect();
        assert_eq!(Certificate::parse_all(written.as_bytes()).unwrap(), certificates);
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        for text in ["", "no PEM", key] {
            assert!(Certificate::parse_all(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(Certificate::parse_all(format!("{key}{}", pem()).as_bytes()).unwrap().len(), 1);
    }

    #[test]
    fn refuses_what_is_no_certificate() {
        let refused =
            ["", "hello world!", "aGVsbG8=", "-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----"];
        for text in refused {
            assert!(Certificate::parse(text).is_err(), "{text}");
        }
        let mut der = Certificate::parse(&pem()).unwrap().der().to_vec();
        der.push(0);
        assert!(Certificate::from_der(&der).is_err());
    }

    #[test]
    fn is_stored_with_what_is_shown_of_it() {
        let certificate = Certificate::parse(&pem()).unwrap();
        let stored = serde_json::to_string(&certificate).unwrap();
        let read: Certificate = serde_json::from_str(&stored).unwrap();
        assert_eq!(read, certificate);
        assert!(read.cut.is_some(), "its parts are found when it is read, and not by each device");
        assert_eq!(read.parts(), CertificateParts::read(certificate.der()));
    }
}
