//! The check of client certificates inside the handshake: possession of the private key, and nothing else.
//!
//! rustls' own helpers parse the leaf with webpki, which refuses X.509 v1 and unknown critical extensions;
//! the peer would then be gone before the application could say why. So the public key is taken out of the
//! certificate here, and the handshake signature verified with the provider's algorithms.

use std::sync::Arc;

use model::ChainTooLong;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerIncompatible,
    PeerMisbehaved, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::WebPkiSupportedAlgorithms,
    pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

use super::{handshake_record::note_refused_leaf, spki::PublicKey};

/// Why a chain is refused although the client may hold the key of its leaf. The client gets the alert `certificate_unknown`: "some
/// other issue arose in processing the certificate, rendering it unacceptable" (RFC 8446 §6.2).
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(crate) enum ChainRefusal {
    /// Too many certificates or bytes.
    #[error(transparent)]
    TooLong(#[from] ChainTooLong),
    /// An RSA key that is too short.
    #[error("the client's RSA key has {bits} bits; at least {MIN_RSA_BITS} are needed")]
    WeakKey {
        /// Bits of its modulus.
        bits: usize,
    },
}

impl From<ChainRefusal> for Error {
    fn from(refusal: ChainRefusal) -> Error {
        CertificateError::Other(OtherError(Arc::new(refusal))).into()
    }
}

/// Requests a certificate, requires none, and accepts any whose key the peer holds: RSA 2048 to 8192, P-256,
/// P-384, P-521, Ed25519.
#[derive(Debug)]
pub(super) struct ProofOfPossession {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ProofOfPossession {
    pub(super) fn new(algorithms: WebPkiSupportedAlgorithms) -> ProofOfPossession {
        ProofOfPossession { algorithms }
    }

    /// Returns the algorithms of a signature scheme, the one that TLS 1.3 demands first.
    fn algorithms(&self, scheme: SignatureScheme) -> Result<&[&dyn SignatureVerificationAlgorithm], Error> {
        let offered = OFFERED.contains(&scheme).then_some(scheme);
        let of_scheme = self.algorithms.mapping.iter().find(|(known, _)| Some(*known) == offered);
        of_scheme
            .map(|(_, algorithms)| *algorithms)
            .ok_or(Error::PeerMisbehaved(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme))
    }

    fn algorithms_of_tls13(
        &self,
        scheme: SignatureScheme,
    ) -> Result<&[&dyn SignatureVerificationAlgorithm], Error> {
        let pkcs1 = [
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA512,
        ];
        if pkcs1.contains(&scheme) {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        let algorithms = self.algorithms(scheme)?;
        Ok(&algorithms[..algorithms.len().min(1)])
    }
}

impl ClientCertVerifier for ProofOfPossession {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// Returns no hints: clients drop certificates of issuers that are not on the list.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let accepted = acceptable(leaf, others).inspect_err(|_| note_refused_leaf(leaf));
        accepted.map(|()| ClientCertVerified::assertion())
    }

    /// Verifies with every algorithm of the scheme: in TLS 1.2 the scheme leaves the curve open (RFC 5246 §7.4.1.4.1).
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = self.algorithms(signed.scheme).and_then(|it| verify(it, message, leaf, signed));
        verified.inspect_err(|_| note_refused_leaf(leaf))
    }

    /// Verifies with the algorithm of the scheme: in TLS 1.3 the scheme names the curve (RFC 8446 §4.2.3), and PKCS#1 v1.5 is not for handshakes.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified =
            self.algorithms_of_tls13(signed.scheme).and_then(|it| verify(it, message, leaf, signed));
        verified.inspect_err(|_| note_refused_leaf(leaf))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        OFFERED.to_vec()
    }
}

/// Refuses a chain that is too long, and a leaf whose RSA key is too short for rustls.
fn acceptable(leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), Error> {
    let lengths = std::iter::once(leaf).chain(others).map(|certificate| certificate.len());
    if let Some(too_long) = ChainTooLong::of(lengths) {
        return Err(ChainRefusal::TooLong(too_long).into());
    }
    let key = PublicKey::of_certificate(leaf).ok_or(CertificateError::BadEncoding)?;
    match key.rsa_bits() {
        Some(bits) if bits < MIN_RSA_BITS => Err(ChainRefusal::WeakKey { bits }.into()),
        _ => Ok(()),
    }
}

fn verify(
    algorithms: &[&dyn SignatureVerificationAlgorithm],
    message: &[u8],
    leaf: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let key = PublicKey::of_certificate(leaf).ok_or(CertificateError::BadEncoding)?;
    let algorithm = algorithms
        .iter()
        .find(|algorithm| algorithm.public_key_alg_id().as_ref() == key.algorithm)
        .ok_or(PeerIncompatible::NoSignatureSchemesInCommon)?;
    algorithm
        .verify_signature(key.bits, message, signed.signature())
        .map(|()| HandshakeSignatureValid::assertion())
        .map_err(|_| CertificateError::BadSignature.into())
}

/// The signature schemes that are requested of clients, as documented in `docs/compatibility.md`. Listed here, because the provider's own
/// list grows with its versions: ML-DSA came with one, for certificates that nothing else here can judge.
const OFFERED: [SignatureScheme; 10] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];

/// The shortest RSA key whose signatures rustls verifies.
const MIN_RSA_BITS: usize = 2048;
