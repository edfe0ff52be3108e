//! X.509 certificates as they are stored.

use std::fmt;

use aws_lc_rs::digest;
use certpath::{
    CertificateParts, PartRanges, Sha256Thumbprint,
    encoding::{EncodingError, Object, read_object, read_objects, write_pem},
    name_text,
};
use serde::{Deserialize, Serialize};
use x509_parser::{certificate::X509Certificate, prelude::FromDer, time::ASN1Time};

use crate::Timestamp;

/// A stored certificate: its DER, and the information about it that operators see.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct Certificate {
    #[serde(with = "base64_text")]
    der: Vec<u8>,
    #[serde(with = "base64_text")]
    subject: Vec<u8>,
    info: Box<CertificateInfo>,
    /// Its parts, found once: each device that names its issuer is compared with them.
    #[serde(skip)]
    parts: Option<Box<PartRanges>>,
}

/// The stored form of a certificate.
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
        let parts = PartRanges::of(&der).map(Box::new);
        Certificate { der, subject, info, parts }
    }
}

/// The information about a certificate that the service returns in place of the certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateInfo {
    /// Subject, most specific part first: `CN=x, OU=Azure IoT, C=US`.
    pub subject_name: String,
    /// SHA-1 of the DER, upper-case hex.
    pub sha1_thumbprint: String,
    /// SHA-256 of the DER.
    pub sha256_thumbprint: Sha256Thumbprint,
    /// Issuer, in the form of the subject.
    pub issuer_name: String,
    /// The start of its validity.
    pub not_before: Timestamp,
    /// The end of its validity.
    pub not_after: Timestamp,
    /// Serial number, upper-case hex.
    pub serial_number: String,
    /// The X.509 version, 1 or 3.
    pub version: u32,
}

/// Why a text is not a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The document holds no certificate in any encoding.
    #[error("certificate cannot be read: {0}")]
    Encoding(#[from] EncodingError),
    /// The bytes do not hold a certificate.
    #[error("certificate cannot be read: {0}")]
    Malformed(String),
}

impl Certificate {
    /// The longest accepted certificate, in bytes of DER.
    pub const MAX_BYTES: usize = 16 * 1024;

    /// Reads the first certificate of a text in any encoding.
    pub fn parse(text: &str) -> Result<Self, CertificateError> {
        Self::from_der(&read_object(text.as_bytes(), Object::Certificate)?)
    }

    /// Reads the certificates of a document in any encoding, in order; at least one.
    pub fn parse_all(document: &[u8]) -> Result<Vec<Self>, CertificateError> {
        read_objects(document, Object::Certificate)?.iter().map(|der| Self::from_der(der)).collect()
    }

    /// Returns it as PEM.
    pub fn to_pem(&self) -> String {
        write_pem(Object::Certificate, &self.der)
    }

    /// Reads a certificate from its DER; nothing may follow it.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > Self::MAX_BYTES {
            return Err(CertificateError::Malformed(format!("longer than {} bytes", Self::MAX_BYTES)));
        }
        let (rest, parsed) =
            X509Certificate::from_der(der).map_err(|error| CertificateError::Malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(CertificateError::Malformed("bytes follow the certificate".into()));
        }
        let info = CertificateInfo {
            subject_name: name_text(parsed.subject()),
            sha1_thumbprint: hex_upper(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der).as_ref()),
            sha256_thumbprint: Sha256Thumbprint::of(der),
            issuer_name: name_text(parsed.issuer()),
            not_before: instant(parsed.validity().not_before),
            not_after: instant(parsed.validity().not_after),
            serial_number: hex_upper(parsed.raw_serial()),
            version: parsed.version().0 + 1,
        };
        let subject = parsed.subject().as_raw().to_vec();
        Ok(Stored { der: der.to_vec(), subject, info: Box::new(info) }.into())
    }

    /// Returns its DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Returns its parts; `None` if its outer form is not exact DER, which no path accepts.
    pub fn parts(&self) -> Option<CertificateParts<'_>> {
        self.parts.as_ref()?.parts(&self.der)
    }

    /// Returns the DER of its subject, by which issuers are looked up.
    pub fn subject(&self) -> &[u8] {
        &self.subject
    }

    /// Returns the information that operators see.
    pub fn info(&self) -> &CertificateInfo {
        &self.info
    }

    /// Returns its SHA-256 thumbprint.
    pub fn thumbprint(&self) -> &Sha256Thumbprint {
        &self.info.sha256_thumbprint
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({}, {})", self.info.subject_name, self.info.sha256_thumbprint)
    }
}

fn instant(time: ASN1Time) -> Timestamp {
    certpath::Time::from(time).into()
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
    use base64::{Engine, engine::general_purpose::STANDARD};

    use super::*;

    fn pem() -> String {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CountryName, "US");
        params.distinguished_name.push(rcgen::DnType::CommonName, "dev-1");
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn reads_the_three_encodings_that_clients_send() {
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
    fn rejects_text_that_is_not_a_certificate() {
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
    fn is_stored_with_its_information() {
        let certificate = Certificate::parse(&pem()).unwrap();
        let stored = serde_json::to_string(&certificate).unwrap();
        let read: Certificate = serde_json::from_str(&stored).unwrap();
        assert_eq!(read, certificate);
        assert!(read.parts.is_some(), "its parts are found when it is read, and not by each device");
        assert_eq!(read.parts(), CertificateParts::read(certificate.der()));
    }
}
