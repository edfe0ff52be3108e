//! A certificate chain with its private key, of a server or a client.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use certpath::{
    CertificateParts,
    encoding::{Object, read_object, read_objects},
    is_same_name,
};
use rustls::{
    client::{ResolvesClientCert, verify_server_name},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::{TlsError, handshake_record::note_server_name, spki::PublicKey};

/// A certificate chain, leaf first, and the leaf's private key. The key is never printed.
#[derive(Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
}

/// Why a chain and a key cannot be used as an identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The chain cannot be read, or is empty.
    #[error("certificate chain: {0}")]
    Chain(String),
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// There is no usable private key.
    #[error("private key: {0}")]
    Key(String),
    /// The private key is not that of the leaf certificate.
    #[error("the private key does not belong to the first certificate of the chain")]
    Mismatch,
}

impl Identity {
    /// Reads a chain, leaf first, and a key (PKCS #8, SEC 1 or PKCS #1): PEM, or another encoding.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Identity, IdentityError> {
        let chain = read_objects(chain, Object::Certificate);
        let chain = chain.map_err(|error| IdentityError::Chain(error.to_string()))?;
        Identity::from_der(chain.into_iter().map(CertificateDer::from).collect(), read_key(key)?)
    }

    /// Reads a chain and a key from two files, which may be one and the same.
    pub fn from_pem_files(chain: &Path, key: &Path) -> Result<Identity, IdentityError> {
        Identity::from_pem(&read(chain)?, &read(key)?)
    }

    /// Creates an identity from DER.
    pub fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Identity, IdentityError> {
        if chain.is_empty() {
            return Err(IdentityError::Chain("no certificate".to_owned()));
        }
        let provider = aws_lc_rs::default_provider();
        let key = provider
            .key_provider
            .load_private_key(key)
            .map_err(|error| IdentityError::Key(error.to_string()))?;
        let in_leaf = chain.first().and_then(|leaf| PublicKey::of_certificate(leaf));
        let of_key = key.public_key();
        if in_leaf.is_none() || in_leaf != of_key.as_ref().and_then(|spki| PublicKey::from_spki(spki)) {
            return Err(IdentityError::Mismatch);
        }
        Ok(Identity { key: Arc::new(CertifiedKey::new(chain, key)) })
    }

    /// Returns the chain, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    /// Returns whether the leaf is a certificate for this host name or IP address.
    pub fn covers(&self, host: &str) -> bool {
        let leaf = self.key.cert.first().map(ParsedCertificate::try_from);
        let name = ServerName::try_from(host);
        matches!((leaf, name), (Some(Ok(leaf)), Ok(name)) if verify_server_name(&leaf, &name).is_ok())
    }

    pub(super) fn as_client(&self) -> Arc<dyn ResolvesClientCert> {
        Arc::new(SingleCertAndKey::from(Arc::clone(&self.key)))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Identity").field("certificates", &self.key.cert.len()).finish_non_exhaustive()
    }
}

/// The identities of a server, at least one. Clones share them.
#[derive(Debug, Clone)]
pub struct Identities(Arc<RwLock<Arc<IdentitySet>>>);

/// Identities, and their keys with the chains that are sent to clients.
#[derive(Debug)]
struct IdentitySet {
    identities: Arc<[Identity]>,
    keys: Vec<Arc<CertifiedKey>>,
}

impl Identities {
    /// Creates the identities of a server; an empty list is refused.
    pub fn new(identities: Vec<Identity>) -> Result<Identities, TlsError> {
        Ok(Identities(Arc::new(RwLock::new(Arc::new(IdentitySet::new(identities)?)))))
    }

    /// Returns the current identities.
    pub fn current(&self) -> Arc<[Identity]> {
        Arc::clone(&self.load().identities)
    }

    /// Replaces the identities; an empty list is refused.
    pub fn replace(&self, identities: Vec<Identity>) -> Result<(), TlsError> {
        let set = Arc::new(IdentitySet::new(identities)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = set;
        Ok(())
    }

    fn load(&self) -> Arc<IdentitySet> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl IdentitySet {
    fn new(identities: Vec<Identity>) -> Result<IdentitySet, TlsError> {
        if identities.is_empty() {
            return Err(TlsError::NoIdentity);
        }
        let keys = identities.iter().map(|identity| Arc::new(without_root(&identity.key))).collect();
        Ok(IdentitySet { identities: identities.into(), keys })
    }
}

/// Selects for each client the first certificate whose signature it can verify.
#[derive(Debug)]
pub(super) struct ChooseIdentity {
    identities: Identities,
}

impl ChooseIdentity {
    pub(super) fn new(identities: Identities) -> ChooseIdentity {
        ChooseIdentity { identities }
    }
}

impl ResolvesServerCert for ChooseIdentity {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        note_server_name(hello.server_name());
        let schemes = hello.signature_schemes();
        let usable = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        let keys = &self.identities.load().keys;
        // Without a certificate rustls would answer `access_denied`; with an unsuitable one it determines which parameter is
        // not in common, and answers `handshake_failure` (RFC 8446 §4.1.1).
        keys.iter().find(usable).or(keys.first()).cloned()
    }
}

/// Reads a private key in any encoding. Its kind is taken from the content: labels of PEM are often wrong about keys.
pub fn read_key(key: &[u8]) -> Result<PrivateKeyDer<'static>, IdentityError> {
    let der = read_object(key, Object::PrivateKey).map_err(|error| IdentityError::Key(error.to_string()))?;
    PrivateKeyDer::try_from(der).map_err(|error| IdentityError::Key(error.to_owned()))
}

/// Returns whether a certificate's issuer has the name of its subject.
fn is_self_issued(certificate: &[u8]) -> bool {
    CertificateParts::read(certificate).is_some_and(|parts| is_same_name(parts.issuer, parts.subject))
}

/// Returns the chain without the root: a client has it, or does not trust it (RFC 8446 §4.4.2).
fn without_root(key: &CertifiedKey) -> CertifiedKey {
    let is_root = |(at, certificate): (usize, &CertificateDer<'_>)| at > 0 && is_self_issued(certificate);
    let chain = key.cert.iter().enumerate().filter(|it| !is_root((it.0, it.1)));
    CertifiedKey::new(chain.map(|(_, certificate)| certificate.clone()).collect(), Arc::clone(&key.key))
}

fn read(path: &Path) -> Result<Vec<u8>, IdentityError> {
    fs::read(path).map_err(|source| IdentityError::Io { path: path.to_owned(), source })
}
