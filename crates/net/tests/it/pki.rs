//! Certificates for the tests, and TLS connections with them.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use net::tls::{self, Identity};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SignatureAlgorithm};
use rustls::{
    ClientConfig, ServerConfig,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// A certification authority and a server certificate of it for `localhost`.
pub struct Pki {
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    pub fn new() -> Pki {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Pki { ca: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub fn ca_pem(&self) -> String {
        self.ca.pem()
    }

    /// Credentials signed by the CA.
    pub fn credentials(
        &self,
        params: CertificateParams,
        algorithm: &'static SignatureAlgorithm,
    ) -> Credentials {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        Credentials { chain_pem: certificate.pem() + &self.ca.pem(), key_pem: key.serialize_pem() }
    }

    /// Returns P-256 credentials of a device.
    pub fn device(&self) -> Credentials {
        self.credentials(device(), &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    pub fn server(&self) -> Arc<ServerConfig> {
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        tls::server_config(vec![self.credentials(params, &rcgen::PKCS_ECDSA_P256_SHA256).identity()]).unwrap()
    }

    pub fn client(&self, identity: Option<&Identity>) -> Arc<ClientConfig> {
        tls::client_config(self.ca_pem().as_bytes(), identity).unwrap()
    }
}

/// A chain and a key, which need not belong together.
pub struct Credentials {
    pub chain_pem: String,
    pub key_pem: String,
}

impl Credentials {
    pub fn identity(&self) -> Identity {
        Identity::from_pem(self.chain_pem.as_bytes(), self.key_pem.as_bytes()).unwrap()
    }

    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.chain_pem.as_bytes()).map(Result::unwrap).collect()
    }
}

/// Returns the usual parameters of a device certificate.
pub fn device() -> CertificateParams {
    CertificateParams::new(["device".to_owned()]).unwrap()
}

/// Opens a listener on a free port; returns its address, too.
pub fn listen() -> (TcpListener, SocketAddr) {
    let listener = net::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// Opens a TCP connection from 127.0.0.`last`.
pub async fn dial_from(last: u8, addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, last], 0).into())?;
    socket.connect(addr).await
}

/// Completes a TLS handshake.
pub async fn connect(addr: SocketAddr, config: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    handshake(TcpStream::connect(addr).await?, config).await
}

/// Performs the client's side of a handshake.
pub async fn handshake(tcp: TcpStream, config: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    TlsConnector::from(config).connect(ServerName::try_from("localhost").unwrap(), tcp).await
}
