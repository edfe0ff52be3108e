//! Whether one certificate's key signed another.

use rustls_pki_types::SignatureVerificationAlgorithm;
use x509_parser::{asn1_rs::Any, certificate::X509Certificate, prelude::FromDer};

/// RSA of 2048 to 8192 bits with PKCS#1 or PSS, ECDSA on P-256, P-384 and P-521, Ed25519, all over SHA-256 or better.
/// SHA-1 and MD5 are in none of them.
static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = webpki::ALL_VERIFICATION_ALGS;

/// Whether `issuer`'s key made the signature of `certificate`. The algorithm that it names outside of what is signed must
/// be the one it names inside (RFC 5280 §4.1.1.2).
pub(super) fn is_signed_by(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    certificate.signature_algorithm == certificate.signature && verify(certificate.as_raw(), issuer).is_some()
}

fn verify(der: &[u8], issuer: &X509Certificate<'_>) -> Option<()> {
    let (signed, signature_algorithm, signature) = parts(der)?;
    let (key_algorithm, key) = public_key(issuer)?;
    let fits = |algorithm: &&&dyn SignatureVerificationAlgorithm| {
        algorithm.public_key_alg_id().as_ref() == key_algorithm
            && algorithm.signature_alg_id().as_ref() == signature_algorithm
    };
    ALGORITHMS
        .iter()
        .filter(fits)
        .find_map(|algorithm| algorithm.verify_signature(key, signed, signature).ok())
}

/// The signed part with its header, the content of the algorithm identifier, and the signature.
/// `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue BIT STRING }` (RFC 5280 §4.1).
fn parts(der: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let content = element(der)?.1.data;
    let (after_signed, _) = element(content)?;
    let signed = content.get(..content.len() - after_signed.len())?;
    let (rest, algorithm) = element(after_signed)?;
    let (_, signature) = element(rest)?;
    Some((signed, algorithm.data, bits(signature.data)?))
}

/// The content of the key's algorithm identifier, and the key.
/// `SubjectPublicKeyInfo ::= SEQUENCE { algorithm, subjectPublicKey BIT STRING }`.
fn public_key<'a>(certificate: &'a X509Certificate<'_>) -> Option<(&'a [u8], &'a [u8])> {
    let content = element(certificate.public_key().raw)?.1.data;
    let (rest, algorithm) = element(content)?;
    let (_, key) = element(rest)?;
    Some((algorithm.data, bits(key.data)?))
}

struct Element<'a> {
    data: &'a [u8],
}

/// The next DER element and what follows it.
fn element(der: &[u8]) -> Option<(&[u8], Element<'_>)> {
    let (rest, any) = Any::from_der(der).ok()?;
    Some((rest, Element { data: any.data }))
}

/// A bit string's bytes, when no bits are left over.
fn bits(content: &[u8]) -> Option<&[u8]> {
    content.split_first().filter(|(unused, _)| **unused == 0).map(|(_, bytes)| bytes)
}
