//! TLS configurations: TLS 1.2 and 1.3 by rustls with aws-lc-rs.
//!
//! The server requests a client certificate but never requires one, and accepts every certificate whose
//! private key the peer proves to hold (module `possession`): the application decides per request what a certificate
//! allows. Where session tickets are switched on, they restore the client's chain; a resumed
//! connection has the same certificates as the first, and must be judged again.

mod handshake_record;
mod identity;
mod possession;
mod spki;

use std::sync::Arc;

use certpath::encoding::{Object, read_objects};
use rustls::{
    CipherSuite, ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    server::NoServerSessionStorage,
    version::{TLS12, TLS13},
};

use identity::ChooseIdentity;
use possession::ProofOfPossession;

pub(crate) use handshake_record::{HandshakeRecord, observed};
pub use identity::{Identities, Identity, IdentityError, read_key};
pub(crate) use possession::ChainRefusal;

/// Why a TLS configuration is invalid.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A trusted certificate cannot be read or used.
    #[error("CA certificates: {0}")]
    Ca(String),
    /// A server without a certificate.
    #[error("a TLS server needs at least one certificate and key")]
    NoIdentity,
    /// rustls refused.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// The options of a TLS server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerOptions {
    /// Whether clients get a ticket by which they resume their session. Off by default: a device registers once, a ticket
    /// of TLS 1.2 holds the client's whole chain, and wolfSSL as it is usually built cannot read one of TLS 1.3.
    pub session_tickets: bool,
    /// Whether only TLS 1.2 is offered, for secure elements that cannot sign PSS.
    pub tls12_only: bool,
}

/// Returns the configuration of a server with [`ServerOptions::default`].
pub fn server_config(identities: Vec<Identity>) -> Result<Arc<ServerConfig>, TlsError> {
    server_config_with(&Identities::new(identities)?, ServerOptions::default())
}

/// Returns the configuration of a server. Of several identities the first is used whose key type the client can verify, so put
/// ECDSA P-256 before RSA: an RSA signature costs the server ten times as much. They may be replaced while it serves: the next
/// handshake uses the new ones.
///
/// The server's order of cipher suites counts, and AES-128 with SHA-256 comes first: processors hash SHA-256 in hardware, and
/// the key schedule is a tenth of a handshake. Key exchange is the provider's order, X25519 first.
pub fn server_config_with(
    identities: &Identities,
    options: ServerOptions,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let verifier = Arc::new(ProofOfPossession::new(provider.signature_verification_algorithms));
    let versions: &[_] = if options.tls12_only { &[&TLS12] } else { &[&TLS13, &TLS12] };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(ChooseIdentity::new(identities.clone())));
    config.ignore_client_order = true;
    // Sessions are kept neither here nor, unless asked for, by the client.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = usize::from(options.session_tickets);
    if options.session_tickets {
        config.ticketer = aws_lc_rs::Ticketer::new()?;
    }
    Ok(Arc::new(config))
}

/// Returns the configuration of a client that trusts the CA certificates in `ca`: see [`Roots::client_config`].
pub fn client_config(ca: &[u8], identity: Option<&Identity>) -> Result<Arc<ClientConfig>, TlsError> {
    Roots::from_pem(ca)?.client_config(identity)
}

/// Returns the configuration of a client without an identity that trusts the CAs of the system.
pub fn client_config_of_system() -> Result<Arc<ClientConfig>, TlsError> {
    Roots::of_system()?.client_config(None)
}

/// Returns the configuration of a client without an identity that trusts these CAs besides those of the system, if there are any.
pub fn client_config_of_system_and(ca: &[u8]) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = read(ca)?;
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Roots(Arc::new(roots)).client_config(None)
}

/// The CA certificates that servers must chain to. Read once, they serve any number of clients.
#[derive(Debug, Clone)]
pub struct Roots(Arc<RootCertStore>);

impl Roots {
    /// Reads one or more certificates: PEM, or another encoding.
    pub fn from_pem(ca: &[u8]) -> Result<Roots, TlsError> {
        Ok(Roots(Arc::new(read(ca)?)))
    }

    /// Reads the CA certificates that the system trusts; the environment variables `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
    pub fn of_system() -> Result<Roots, TlsError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // Some systems have certificates that rustls cannot read; servers that chain to those are refused.
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            return Err(TlsError::Ca(
                format!("the system has none {}", reasons.join(", ")).trim_end().to_owned(),
            ));
        }
        Ok(Roots(Arc::new(roots)))
    }

    /// Returns the configuration of a client: the server must present a chain to one of these, for the name connected to.
    ///
    /// Sessions are not resumed: every connection is the full handshake that a device's first one is.
    pub fn client_config(&self, identity: Option<&Identity>) -> Result<Arc<ClientConfig>, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(Arc::clone(&self.0));
        let mut config = match identity {
            Some(identity) => builder.with_client_cert_resolver(identity.as_client()),
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

fn read(ca: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let certificates = read_objects(ca, Object::Certificate);
    for certificate in certificates.map_err(|error| TlsError::Ca(error.to_string()))? {
        roots.add(certificate.into()).map_err(|error| TlsError::Ca(error.to_string()))?;
    }
    Ok(roots)
}

/// Returns the provider, which is passed explicitly: the process-wide default would depend on the code that sets it first.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    // A stable sort: within AES-128 and the rest the provider's order stays.
    provider
        .cipher_suites
        .sort_by_key(|suite| !matches!(suite.suite(), AES_128_FOR_1_3 | AES_128_ECDSA | AES_128_RSA));
    Arc::new(provider)
}

const AES_128_FOR_1_3: CipherSuite = CipherSuite::TLS13_AES_128_GCM_SHA256;
const AES_128_ECDSA: CipherSuite = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
const AES_128_RSA: CipherSuite = CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256;
