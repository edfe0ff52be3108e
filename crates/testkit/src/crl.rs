//! Revocation lists of the test CAs.

use model::{Crl, Timestamp};
use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber,
    date_time_ymd,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::ca::{Authority, since_1970};

/// What a revocation list is to say.
#[derive(Debug, Clone)]
pub struct Revocations {
    /// Its number.
    pub number: u64,
    /// When it was made.
    pub this_update: Timestamp,
    /// When the next one is due.
    pub next_update: Timestamp,
    /// Serial numbers of what it revokes, for key compromise.
    pub serials: Vec<Vec<u8>>,
}

impl Revocations {
    /// A list of nothing, made at this time and due after a day.
    pub fn made_at(number: u64, this_update: Timestamp) -> Revocations {
        Revocations {
            number,
            this_update,
            next_update: this_update.plus_seconds(86_400),
            serials: Vec::new(),
        }
    }

    /// The same with one certificate more.
    pub fn revoke(mut self, der: &[u8]) -> Revocations {
        let (_, certificate) = X509Certificate::from_der(der).unwrap();
        self.serials.push(certificate.raw_serial().to_vec());
        self
    }

    /// The list, signed by this CA.
    pub fn signed_by(&self, authority: &Authority) -> Crl {
        let entry = |serial: &Vec<u8>| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(1970, 1, 1) + since_1970(self.this_update),
            next_update: date_time_ymd(1970, 1, 1) + since_1970(self.next_update),
            crl_number: SerialNumber::from(self.number),
            issuing_distribution_point: None,
            revoked_certs: self.serials.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Crl::from_der(list.signed_by(authority.issuer()).unwrap().der().to_vec()).unwrap()
    }
}
