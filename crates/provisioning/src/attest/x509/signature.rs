//! Whether one certificate's key signed another.

use rustls_pki_types::SignatureVerificationAlgorithm;
use x509_parser::certificate::X509Certificate;

/// RSA of 2048 to 8192 bits with PKCS#1 or PSS, ECDSA on P-256, P-384 and P-521, Ed25519, all over SHA-256 or better.
/// SHA-1 and MD5 are in none of them.
static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = webpki::ALL_VERIFICATION_ALGS;

/// Whether `issuer`'s key made the signature of `certificate`. What is around the signed part can be spelled in one way
/// only, so nobody but the issuer can make another certificate of it: DER is taken strictly, and the algorithm named
/// there must be the one named inside (RFC 5280 §4.1.1.2).
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
    let (content, []) = element(SEQUENCE, der)? else { return None };
    let (_, after_signed) = element(SEQUENCE, content)?;
    let signed = content.get(..content.len() - after_signed.len())?;
    let (algorithm, rest) = element(SEQUENCE, after_signed)?;
    let (signature, []) = element(BIT_STRING, rest)? else { return None };
    Some((signed, algorithm, bits(signature)?))
}

/// The content of the key's algorithm identifier, and the key.
/// `SubjectPublicKeyInfo ::= SEQUENCE { algorithm, subjectPublicKey BIT STRING }`.
fn public_key<'a>(certificate: &'a X509Certificate<'_>) -> Option<(&'a [u8], &'a [u8])> {
    let (content, _) = element(SEQUENCE, certificate.public_key().raw)?;
    let (algorithm, rest) = element(SEQUENCE, content)?;
    let (key, _) = element(BIT_STRING, rest)?;
    Some((algorithm, bits(key)?))
}

/// The content of the element that `der` begins with, if it has this tag, and what follows it. Its length must be
/// written in as few bytes as possible (X.690 §10.1), of which a certificate never needs more than two.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match *der.strip_prefix(&[tag])? {
        [length @ 0..=0x7F, ref rest @ ..] => (usize::from(length), rest),
        [0x81, length @ 0x80..=0xFF, ref rest @ ..] => (usize::from(length), rest),
        [0x82, high @ 1..=0xFF, low, ref rest @ ..] => (usize::from(u16::from_be_bytes([high, low])), rest),
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// A bit string's bytes, when no bits are left over.
fn bits(content: &[u8]) -> Option<&[u8]> {
    content.split_first().filter(|(unused, _)| **unused == 0).map(|(_, bytes)| bytes)
}

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
