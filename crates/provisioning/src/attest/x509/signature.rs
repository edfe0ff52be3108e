//! Whether a certificate's key signed another certificate, or a revocation list.

use model::{
    Certificate, CertificateParts,
    der::{BIT_STRING, SEQUENCE, bits, element, whole_element},
};
use rustls_pki_types::SignatureVerificationAlgorithm;
use x509_parser::{certificate::X509Certificate, prelude::FromDer, public_key::PublicKey};

/// RSA of 2048 to 8192 bits with PKCS#1 or PSS, ECDSA on P-256, P-384 and P-521, Ed25519, all over SHA-256 or better.
/// SHA-1 and MD5 are in none of them.
static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = webpki::ALL_VERIFICATION_ALGS;

/// The sizes of RSA keys taken, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Whether `issuer`'s key made the signature of `certificate`. What is around the signed part can be spelled in one way
/// only, so nobody but the issuer can make another certificate of it: DER is taken strictly, and the algorithm named
/// there must be the one named inside (RFC 5280 §4.1.1.2).
pub(crate) fn is_signed_by(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    let Some(parts) = CertificateParts::read(certificate.as_raw()) else { return false };
    verify((parts.tbs, parts.algorithm, parts.signature), issuer).is_some()
}

/// Whether the key of a certificate is of a kind and size that [`is_signed_by`] would take.
pub(super) fn is_strong(certificate: &X509Certificate<'_>) -> bool {
    let Some((algorithm, _)) = public_key(certificate) else { return false };
    let is_known = ALGORITHMS.iter().any(|known| known.public_key_alg_id().as_ref() == algorithm);
    is_known
        && match certificate.public_key().parsed() {
            Ok(PublicKey::RSA(key)) => RSA_BITS.contains(&bit_length(key.modulus)),
            Ok(_) => true,
            Err(_) => false,
        }
}

/// The length of a number without the zeros in front.
fn bit_length(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let first = number.get(zeros).map_or(0, |byte| byte.leading_zeros() as usize);
    (number.len() - zeros) * 8 - first
}

/// Whether everything that is signed was read: a parser that stops early must not hide a constraint.
pub(super) fn is_read_whole(certificate: &X509Certificate<'_>) -> bool {
    let read = certificate.tbs_certificate.as_ref().len();
    CertificateParts::read(certificate.as_raw()).is_some_and(|parts| parts.tbs.len() == read)
}

/// Whether `issuer`'s key made the signature of the revocation list that is `der`.
pub(crate) fn is_list_signed_by(der: &[u8], issuer: &Certificate) -> bool {
    let issuer = X509Certificate::from_der(issuer.der());
    issuer.is_ok_and(|(_, issuer)| list_parts(der).and_then(|parts| verify(parts, &issuer)).is_some())
}

/// What is signed, the content of the algorithm identifier, and the signature.
type Signed<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn verify((signed, signature_algorithm, signature): Signed<'_>, issuer: &X509Certificate<'_>) -> Option<()> {
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

/// `CertificateList ::= SEQUENCE { tbsCertList, signatureAlgorithm, signatureValue BIT STRING }` (RFC 5280 §5.1).
fn list_parts(der: &[u8]) -> Option<Signed<'_>> {
    let (content, []) = element(SEQUENCE, der)? else { return None };
    let (signed, rest) = whole_element(SEQUENCE, content)?;
    let (algorithm, rest) = element(SEQUENCE, rest)?;
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
