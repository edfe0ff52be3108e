//! Whether a certificate's key signed another certificate, or a revocation list.

use rustls_pki_types::SignatureVerificationAlgorithm;
use webpki::aws_lc_rs as algorithms;
use x509_parser::{
    certificate::X509Certificate,
    prelude::FromDer,
    public_key::{PublicKey, RSAPublicKey},
};

use crate::{
    CertificateParts,
    der::{BIT_STRING, SEQUENCE, bits, element, whole_element},
    pss,
};

/// ECDSA on P-256, P-384 and P-521, Ed25519, and RSA of 2048 to 8192 bits with PKCS #1, all over SHA-256 or better. SHA-1 and
/// MD5 are in none of them. RSA with PSS is in [`pss`], because its algorithm identifier has parameters.
static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P256_SHA512,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ECDSA_P384_SHA512,
    algorithms::ECDSA_P521_SHA256,
    algorithms::ECDSA_P521_SHA384,
    algorithms::ECDSA_P521_SHA512,
    algorithms::ED25519,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
    algorithms::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
    algorithms::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
    algorithms::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
];

/// The accepted sizes of RSA keys, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The result of checking a signature by a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The key made the signature.
    Valid,
    /// The key did not make the signature.
    Wrong,
    /// The algorithm is not accepted, or is for another kind of key: nothing was computed.
    Unsupported,
}

/// Returns whether `issuer`'s key made the signature of `certificate`. Outside of the signed part there is one spelling only,
/// but for the twin of an ECDSA signature: DER is read strictly, and the algorithm named there must be the one named inside
/// (RFC 5280 §4.1.1.2).
pub fn is_signed_by(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    let parts = CertificateParts::read(certificate.as_raw());
    parts.is_some_and(|parts| check(&parts, issuer.public_key().raw) == Verdict::Valid)
}

/// Checks the signature of a certificate by the key in this SubjectPublicKeyInfo.
pub(crate) fn check(certificate: &CertificateParts<'_>, key: &[u8]) -> Verdict {
    verify((certificate.tbs, certificate.algorithm, certificate.signature), key)
}

/// Returns about how many microseconds it takes to check a signature by the key in this SubjectPublicKeyInfo.
pub(crate) fn cost(key: &[u8]) -> u32 {
    // The size of a key follows from its length: an uncompressed point, or an RSA modulus with some bytes around it.
    match public_key(key).map_or(0, |(_, key)| key.len()) {
        0..=48 => 50,
        49..=65 => 60,
        66..=97 => 250,
        98..=133 => 450,
        134..=600 => 60,
        _ => 250,
    }
}

/// Returns whether the kind and size of a certificate's key are accepted by [`is_signed_by`].
pub(crate) fn is_strong(certificate: &X509Certificate<'_>) -> bool {
    let Some((algorithm, key)) = public_key(certificate.public_key().raw) else { return false };
    if pss::is_key(algorithm) {
        return RSAPublicKey::from_der(key).is_ok_and(|(_, key)| is_long(&key));
    }
    let is_known = ALGORITHMS.iter().any(|known| known.public_key_alg_id().as_ref() == algorithm);
    is_known
        && match certificate.public_key().parsed() {
            Ok(PublicKey::RSA(key)) => is_long(&key),
            Ok(_) => true,
            Err(_) => false,
        }
}

fn is_long(key: &RSAPublicKey<'_>) -> bool {
    RSA_BITS.contains(&bit_length(key.modulus))
}

/// Returns the length of a number in bits, without leading zeros.
fn bit_length(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let first = number.get(zeros).map_or(0, |byte| byte.leading_zeros() as usize);
    (number.len() - zeros) * 8 - first
}

/// Returns the parts of a certificate if the signed part was read to its end: a parser that stops early must not hide a
/// constraint.
pub(crate) fn parts_read_whole<'s>(certificate: &X509Certificate<'s>) -> Option<CertificateParts<'s>> {
    let read = certificate.tbs_certificate.as_ref().len();
    CertificateParts::read(certificate.as_raw()).filter(|parts| parts.tbs.len() == read)
}

/// Returns whether `issuer`'s key made the signature of the revocation list that is `der`.
pub fn is_list_signed_by(der: &[u8], issuer: &CertificateParts<'_>) -> bool {
    list_parts(der).is_some_and(|parts| verify(parts, issuer.public_key) == Verdict::Valid)
}

/// The signed part, the content of the algorithm identifier, and the signature.
type Signed<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn verify((signed, signature_algorithm, signature): Signed<'_>, key: &[u8]) -> Verdict {
    let Some((key_algorithm, key)) = public_key(key) else { return Verdict::Unsupported };
    let fits = |algorithm: &&&dyn SignatureVerificationAlgorithm| {
        algorithm.public_key_alg_id().as_ref() == key_algorithm
            && algorithm.signature_alg_id().as_ref() == signature_algorithm
    };
    match ALGORITHMS.iter().find(fits) {
        None => match pss::Pss::of(signature_algorithm, key_algorithm) {
            Some(pss) if pss.verify(key, signed, signature) => Verdict::Valid,
            Some(_) => Verdict::Wrong,
            None => Verdict::Unsupported,
        },
        Some(algorithm) if algorithm.verify_signature(key, signed, signature).is_ok() => Verdict::Valid,
        Some(_) => Verdict::Wrong,
    }
}

/// Reads `CertificateList ::= SEQUENCE { tbsCertList, signatureAlgorithm, signatureValue BIT STRING }` (RFC 5280 §5.1).
fn list_parts(der: &[u8]) -> Option<Signed<'_>> {
    let (content, []) = element(SEQUENCE, der)? else { return None };
    let (signed, rest) = whole_element(SEQUENCE, content)?;
    let (algorithm, rest) = element(SEQUENCE, rest)?;
    let (signature, []) = element(BIT_STRING, rest)? else { return None };
    Some((signed, algorithm, bits(signature)?))
}

/// Returns the content of the key's algorithm identifier, and the key.
/// `SubjectPublicKeyInfo ::= SEQUENCE { algorithm, subjectPublicKey BIT STRING }`.
fn public_key(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (content, _) = element(SEQUENCE, key)?;
    let (algorithm, rest) = element(SEQUENCE, content)?;
    let (key, _) = element(BIT_STRING, rest)?;
    Some((algorithm, bits(key)?))
}
