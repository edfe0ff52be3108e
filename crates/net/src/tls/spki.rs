//! The public key inside a certificate, read without verifying the certificate.

use x509_parser::asn1_rs::{Any, FromDer};

/// The fields of a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PublicKey<'a> {
    /// Content of the AlgorithmIdentifier, without its SEQUENCE header: the form that webpki's algorithms
    /// compare.
    pub(super) algorithm: &'a [u8],
    /// The bits of the key.
    pub(super) bits: &'a [u8],
}

impl<'a> PublicKey<'a> {
    /// Returns the key of a certificate of any version: skips the fields before it in TBSCertificate (RFC 5280 §4.1) and reads
    /// nothing else. Returns `None` if the bytes are not a certificate.
    pub(super) fn of_certificate(certificate: &'a [u8]) -> Option<PublicKey<'a>> {
        PublicKey::from_spki(after_subject(certificate)?)
    }

    /// Returns the bits of the modulus of an RSA key (RFC 8017 §A.1.1); `None` for other keys.
    pub(super) fn rsa_bits(&self) -> Option<usize> {
        if !self.algorithm.starts_with(RSA_ENCRYPTION) {
            return None;
        }
        let (_, key) = Any::from_der(self.bits).ok()?;
        let (_, modulus) = Any::from_der(key.data).ok()?;
        let significant = modulus.data.iter().skip_while(|byte| **byte == 0);
        let mut bytes = significant.clone();
        let leading_zeros = bytes.next().map_or(0, |byte| byte.leading_zeros() as usize);
        Some(significant.count() * 8 - leading_zeros)
    }

    /// Reads the DER of a SubjectPublicKeyInfo; ignores what follows it.
    pub(super) fn from_spki(der: &'a [u8]) -> Option<PublicKey<'a>> {
        let (_, info) = Any::from_der(der).ok()?;
        let (key, algorithm) = Any::from_der(info.data).ok()?;
        let (_, key) = Any::from_der(key).ok()?;
        let (&UNUSED_BITS, bits) = key.data.split_first()? else { return None };
        Some(PublicKey { algorithm: algorithm.data, bits })
    }
}

/// Returns what follows serial number, signature algorithm, issuer, validity and subject.
fn after_subject(certificate: &[u8]) -> Option<&[u8]> {
    let (_, certificate) = Any::from_der(certificate).ok()?;
    let (_, tbs) = Any::from_der(certificate.data).ok()?;
    let mut rest = tbs.data;
    if rest.first() == Some(&EXPLICIT_VERSION) {
        rest = Any::from_der(rest).ok()?.0;
    }
    for _field in 0..5 {
        rest = Any::from_der(rest).ok()?.0;
    }
    Some(rest)
}

/// Tag of `[0] EXPLICIT Version`, absent from v1 certificates.
const EXPLICIT_VERSION: u8 = 0xa0;

/// The object identifier 1.2.840.113549.1.1.1 in DER.
const RSA_ENCRYPTION: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// First byte of a BIT STRING that fills its last byte.
const UNUSED_BITS: u8 = 0;

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, PublicKeyData};

    use super::*;

    #[test]
    fn a_key_is_found_and_malformed_certificates_do_not_panic() {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let certificate = CertificateParams::new(["device".to_owned()]).unwrap().self_signed(&key).unwrap();
        let found = PublicKey::of_certificate(certificate.der()).unwrap();
        assert_eq!(found.bits, key.der_bytes());
        assert_eq!(found.algorithm, [0x06, 0x03, 0x2b, 0x65, 0x70]); // 1.3.101.112
        for length in 0..certificate.der().len() {
            assert_eq!(PublicKey::of_certificate(&certificate.der()[..length]), None, "{length} bytes");
            for value in [0, 1, 0x30, 0x7f, 0x80, 0x84, 0xff] {
                let mut altered = certificate.der().to_vec();
                altered[length] = value;
                let _ = PublicKey::of_certificate(&altered); // must not panic
            }
        }
    }
}
