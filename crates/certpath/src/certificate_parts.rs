//! The parts of a certificate in its DER, and the hashes that identify it and its key.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{
    Sha256Thumbprint,
    der::{
        BIT_STRING, INTEGER, SEQUENCE, bits, element, positive_integer, whole_element, write,
        write_positive_integer,
    },
};

/// `version [0]`.
const VERSION: u8 = 0xA0;

/// The SHA-256 of the signed part of a certificate, its TBSCertificate. It identifies the certificate: the whole DER does not,
/// because the signature in it can be rewritten without the issuer's key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TbsHash(Sha256Thumbprint);

impl TbsHash {
    /// Returns its 64 hex digits, in upper case.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// The SHA-256 of a SubjectPublicKeyInfo. It identifies a key, whatever certificates are made for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyHash(Sha256Thumbprint);

impl KeyHash {
    /// Returns its 64 hex digits, in upper case.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// A certificate cut into its parts: `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue }`
/// (RFC 5280 §4.1). Parts exist only if the encoding around the signed part is the only possible one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateParts<'a> {
    /// The whole certificate.
    pub der: &'a [u8],
    /// The TBSCertificate, with its header.
    pub tbs: &'a [u8],
    /// The content of the algorithm identifier in the signed part.
    pub algorithm: &'a [u8],
    /// The issuer's name.
    pub issuer: &'a [u8],
    /// The subject's name.
    pub subject: &'a [u8],
    /// The SubjectPublicKeyInfo.
    pub public_key: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
}

/// Where the parts of a certificate are in its DER.
#[derive(Clone, PartialEq, Eq)]
pub struct PartRanges([Range<usize>; 6]);

impl PartRanges {
    /// Finds the parts; `None` if there are none.
    pub fn of(der: &[u8]) -> Option<Self> {
        let CertificateParts { tbs, algorithm, issuer, subject, public_key, signature, .. } =
            CertificateParts::read(der)?;
        let range = |part: &[u8]| {
            let start = part.as_ptr().addr() - der.as_ptr().addr();
            start..start + part.len()
        };
        Some(PartRanges([tbs, algorithm, issuer, subject, public_key, signature].map(range)))
    }

    /// Returns the parts of the certificate in which they were found.
    pub fn parts<'a>(&self, der: &'a [u8]) -> Option<CertificateParts<'a>> {
        let [tbs, algorithm, issuer, subject, public_key, signature] =
            self.0.each_ref().map(|range| der.get(range.clone()));
        Some(CertificateParts {
            der,
            tbs: tbs?,
            algorithm: algorithm?,
            issuer: issuer?,
            subject: subject?,
            public_key: public_key?,
            signature: signature?,
        })
    }
}

impl<'a> CertificateParts<'a> {
    /// Reads the parts. `None` unless the outer form is exact DER and names the algorithm that is named in the
    /// signed part (RFC 5280 §4.1.1.2): then two certificates with one signed part differ in their signatures alone.
    pub fn read(der: &'a [u8]) -> Option<Self> {
        let (content, []) = element(SEQUENCE, der)? else { return None };
        let (tbs, rest) = whole_element(SEQUENCE, content)?;
        let (outer_algorithm, rest) = element(SEQUENCE, rest)?;
        let (signature, []) = element(BIT_STRING, rest)? else { return None };
        let (fields, _) = element(SEQUENCE, tbs)?;
        // version [0] DEFAULT v1, serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo
        let fields = element(VERSION, fields).map_or(fields, |(_, rest)| rest);
        let (_, fields) = element(INTEGER, fields)?;
        let (algorithm, fields) = element(SEQUENCE, fields)?;
        let (issuer, fields) = whole_element(SEQUENCE, fields)?;
        let (_, fields) = element(SEQUENCE, fields)?;
        let (subject, fields) = whole_element(SEQUENCE, fields)?;
        let (public_key, _) = whole_element(SEQUENCE, fields)?;
        let signature = bits(signature)?;
        let parts = CertificateParts { der, tbs, algorithm, issuer, subject, public_key, signature };
        (outer_algorithm == algorithm).then_some(parts)
    }

    /// Returns the hash that identifies it.
    pub fn tbs_hash(&self) -> TbsHash {
        TbsHash(Sha256Thumbprint::of(self.tbs))
    }

    /// Returns the hash of its key.
    pub fn key_hash(&self) -> KeyHash {
        KeyHash(Sha256Thumbprint::of(self.public_key))
    }

    /// Returns the thumbprints of all certificates that can be derived from this one without its issuer's key, its own first.
    pub fn thumbprints(&self) -> Vec<Sha256Thumbprint> {
        let twins = self.twins();
        let all = std::iter::once(self.der).chain(twins.iter().map(Vec::as_slice));
        all.map(Sha256Thumbprint::of).collect()
    }

    /// Returns the certificates that can be derived from this one without its issuer's key: for an ECDSA signature (r, s) the
    /// one with (r, n - s), which is as valid. The curve is the issuer's and not known here, so there is one for each curve
    /// whose order n is above s.
    pub fn twins(&self) -> Vec<Vec<u8>> {
        EC_ORDERS.iter().filter_map(|order| self.with_negated_signature(order)).collect()
    }

    /// Returns the same certificate with the ECDSA signature (r, order - s). `None` if its signature is not one of this order.
    fn with_negated_signature(&self, order: &[u8]) -> Option<Vec<u8>> {
        let (values, []) = element(SEQUENCE, self.signature)? else { return None };
        let (r, rest) = positive_integer(values)?;
        let (s, []) = positive_integer(rest)? else { return None };
        let s = difference(order, s)?;
        let values = [write_positive_integer(r), write_positive_integer(&s)].concat();
        let signature = [&[0], &write(SEQUENCE, &values)[..]].concat();
        let algorithm = write(SEQUENCE, self.algorithm);
        let content = [self.tbs, &algorithm, &write(BIT_STRING, &signature)].concat();
        Some(write(SEQUENCE, &content))
    }
}

/// The orders of P-256, P-384 and P-521 (FIPS 186-5, SP 800-186 §3.2.1).
const EC_ORDERS: [&[u8]; 3] = [
    &[
        0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xBC,
        0xE6, 0xFA, 0xAD, 0xA7, 0x17, 0x9E, 0x84, 0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63, 0x25, 0x51,
    ],
    &[
        0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
        0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xC7, 0x63, 0x4D, 0x81, 0xF4, 0x37, 0x2D, 0xDF, 0x58, 0x1A,
        0x0D, 0xB2, 0x48, 0xB0, 0xA7, 0x7A, 0xEC, 0xEC, 0x19, 0x6A, 0xCC, 0xC5, 0x29, 0x73,
    ],
    &[
        0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
        0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFA,
        0x51, 0x86, 0x87, 0x83, 0xBF, 0x2F, 0x96, 0x6B, 0x7F, 0xCC, 0x01, 0x48, 0xF7, 0x09, 0xA5, 0xD0, 0x3B,
        0xB5, 0xC9, 0xB8, 0x89, 0x9C, 0x47, 0xAE, 0xBB, 0x6F, 0xB7, 0x1E, 0x91, 0x38, 0x64, 0x09,
    ],
];

/// Subtracts big-endian numbers; `None` unless `one` is greater.
fn difference(one: &[u8], other: &[u8]) -> Option<Vec<u8>> {
    let mut padded = vec![0; one.len().checked_sub(other.len())?];
    padded.extend(other);
    let mut borrow = false;
    let mut digits: Vec<u8> = Vec::with_capacity(one.len());
    for (left, right) in one.iter().zip(&padded).rev() {
        let (digit, below) = left.overflowing_sub(*right);
        let (digit, below_too) = digit.overflowing_sub(u8::from(borrow));
        borrow = below || below_too;
        digits.push(digit);
    }
    digits.reverse();
    let is_positive = !borrow && digits.iter().any(|digit| *digit != 0);
    is_positive.then_some(digits)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn certificate(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        CertificateParams::default().self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a_negated_signature_negated_again_is_the_first() {
        let kinds = [
            (&rcgen::PKCS_ECDSA_P256_SHA256, 0),
            (&rcgen::PKCS_ECDSA_P384_SHA384, 1),
            (&rcgen::PKCS_ECDSA_P521_SHA512, 2),
        ];
        for (algorithm, curve) in kinds {
            // Some signatures need a zero in front of a number, and some do not.
            for _ in 0..16 {
                let der = certificate(algorithm);
                let parts = CertificateParts::read(&der).unwrap();
                let twin = parts.with_negated_signature(EC_ORDERS[curve]).unwrap();
                assert_ne!(twin, der);
                let twin = CertificateParts::read(&twin).unwrap();
                assert_eq!(twin.tbs_hash(), parts.tbs_hash());
                assert_eq!(twin.with_negated_signature(EC_ORDERS[curve]).unwrap(), der);
                assert!(twin.thumbprints().contains(&Sha256Thumbprint::of(&der)));
                assert!(parts.thumbprints().contains(&Sha256Thumbprint::of(twin.der)));
            }
        }
        let der = certificate(&rcgen::PKCS_ED25519);
        assert_eq!(CertificateParts::read(&der).unwrap().thumbprints(), [Sha256Thumbprint::of(&der)]);
    }

    #[test]
    fn a_certificate_and_its_key_are_identified_by_their_own_bytes() {
        let (der, other) = (certificate(&rcgen::PKCS_ED25519), certificate(&rcgen::PKCS_ED25519));
        let (parts, others) =
            (CertificateParts::read(&der).unwrap(), CertificateParts::read(&other).unwrap());
        let (tbs, key) = (parts.tbs_hash(), parts.key_hash());
        assert_eq!(tbs.as_str(), Sha256Thumbprint::of(parts.tbs).as_str());
        assert_eq!(key.as_str(), Sha256Thumbprint::of(parts.public_key).as_str());
        assert!(tbs != others.tbs_hash() && key != others.key_hash() && tbs.as_str() != key.as_str());
    }

    /// Each change is outside of what the issuer signed.
    #[test]
    fn the_outer_form_has_one_spelling() {
        let der = certificate(&rcgen::PKCS_ED25519);
        let parts = CertificateParts::read(&der).unwrap();
        let algorithm = write(SEQUENCE, parts.algorithm);
        let signature = [&[0], parts.signature].concat();
        let outer = |algorithm: &[u8], signature: &[u8], after: &[u8]| {
            let content = [parts.tbs, algorithm, &write(BIT_STRING, signature), after].concat();
            write(SEQUENCE, &content)
        };
        assert_eq!(outer(&algorithm, &signature, &[]), der);
        let with_null = write(SEQUENCE, &[parts.algorithm, &[5, 0]].concat());
        let unused_bits = [&[1], parts.signature].concat();
        for (case, changed) in [
            ("an element behind", outer(&algorithm, &signature, &[5, 0])),
            ("bytes behind", [&der[..], &[0]].concat()),
            ("parameters", outer(&with_null, &signature, &[])),
            ("unused bits", outer(&algorithm, &unused_bits, &[])),
            ("no bits", outer(&algorithm, &[], &[])),
        ] {
            assert_eq!(CertificateParts::read(&changed), None, "{case}");
        }
        // A length in one more byte than it takes, in front of each element that is not signed.
        for at in [0, 4 + parts.tbs.len(), 4 + parts.tbs.len() + algorithm.len()] {
            let mut longer = der.clone();
            let spelled: Vec<u8> = match der[at + 1] {
                0x82 => vec![0x83, 0],
                short => vec![0x81, short],
            };
            longer.splice(at + 1..at + 2, spelled);
            assert_eq!(CertificateParts::read(&longer), None, "a long length at {at}");
        }
    }

    #[test]
    fn differences() {
        assert_eq!(difference(&[1, 0, 0], &[1]), Some(vec![0, 255, 255]));
        assert_eq!(difference(&[1, 0], &[1, 0]), None);
        assert_eq!(difference(&[1, 0], &[1, 1]), None);
        assert_eq!(difference(&[1], &[1, 1]), None);
    }
}
