//! TLS clients that show any certificate: the server takes it exactly when it holds the client's key.

use std::{
    cell::OnceCell,
    sync::{Arc, LazyLock},
};

use net::tls::{Identity, server_config};
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, Error, ServerConfig, ServerConnection,
    SignatureScheme,
    client::{
        ResolvesClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    sign::{CertifiedKey, SigningKey},
    version::{TLS12, TLS13},
};
use testkit::ca::Authority;

use crate::certificates::unframed;

/// The first byte chooses the version of TLS, the rest is a chain in framed form, its leaf first.
pub fn run(input: &[u8]) {
    let Some((version, chain)) = input.split_first() else { return };
    let chain: Vec<CertificateDer<'static>> = unframed(chain).into_iter().map(CertificateDer::from).collect();
    let Some(leaf) = chain.first().cloned() else { return };
    let version = if version & 1 == 0 { &TLS12 } else { &TLS13 };
    thread_local! {
        static SERVER: OnceCell<Arc<ServerConfig>> = const { OnceCell::new() };
    }
    let server = SERVER.with(|server| Arc::clone(server.get_or_init(server_side)));
    let shown = Shown(Arc::new(CertifiedKey::new(chain.clone(), Arc::clone(&CLIENT_KEY))));
    let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .expect("versions that there are")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_client_cert_resolver(Arc::new(shown));
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = Connection::from(ClientConnection::new(Arc::new(client), name).expect("a client"));
    let mut server = Connection::from(ServerConnection::new(server).expect("a server"));
    if shake_hands(&mut client, &mut server).is_ok() && !server.is_handshaking() {
        assert_eq!(server.peer_certificates(), Some(&chain[..]));
        let key = CLIENT_KEY.public_key().expect("the client's key");
        let point = key.last_chunk::<POINT>().expect("a point of P-256");
        assert!(leaf.windows(POINT).any(|part| part == point), "a leaf with another key");
    }
}

/// An uncompressed point of P-256, the end of a SubjectPublicKeyInfo.
const POINT: usize = 65;

/// Passes bytes until neither has any more.
fn shake_hands(client: &mut Connection, server: &mut Connection) -> Result<(), Error> {
    loop {
        let sent = pass(client, server)?;
        if pass(server, client)? + sent == 0 {
            return Ok(());
        }
    }
}

fn pass(from: &mut Connection, to: &mut Connection) -> Result<usize, Error> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).expect("a vector takes it all");
    }
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        to.read_tls(&mut rest).map_err(|error| Error::General(error.to_string()))?;
        to.process_new_packets()?;
    }
    Ok(bytes.len())
}

fn server_side() -> Arc<ServerConfig> {
    let authority = Authority::root("server");
    let own = authority.identity();
    let identity = Identity::from_pem(own.pem().as_bytes(), own.key_pem().as_bytes()).expect("an identity");
    server_config(vec![identity]).expect("a configuration")
}

/// The key whose certificate is in the seeds: PKCS#8 of P-256.
pub static CLIENT_KEY_DER: &[u8] = include_bytes!("client-key.der");

static CLIENT_KEY: LazyLock<Arc<dyn SigningKey>> = LazyLock::new(|| {
    let key = PrivateKeyDer::try_from(CLIENT_KEY_DER).expect("a key");
    default_provider().key_provider.load_private_key(key).expect("a key of a known kind")
});

#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The server is not under test here.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}
