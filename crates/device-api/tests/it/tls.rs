//! Certificates of the server, and connections to it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use net::{
    client::Duplex,
    tls::{Identity, client_config, server_config},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, ServerConfig,
    crypto::aws_lc_rs,
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use testkit::ca;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::TlsConnector;

/// A CA for the server's certificate, whose clients may come through a proxy.
pub struct ServerCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The PROXY header of new connections; empty without a proxy.
    proxy_header: Mutex<Vec<u8>>,
}

impl ServerCa {
    pub fn new() -> ServerCa {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        ServerCa { issuer, proxy_header: Mutex::default() }
    }

    /// Has new connections begin with this PROXY header.
    pub fn send_first(&self, proxy_header: Vec<u8>) {
        *self.proxy_header.lock().unwrap() = proxy_header;
    }

    pub fn server(&self) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned(), HOST.to_owned()]).unwrap();
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        let identity = Identity::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        server_config(vec![identity]).unwrap()
    }

    /// A connection, with a device's certificate if it has one.
    pub async fn connect(&self, addr: SocketAddr, device: Option<&Presented>) -> ByteStream {
        let config = client_config(self.issuer.pem().as_bytes(), device.map(|device| &device.0)).unwrap();
        self.handshake("localhost", addr, config).await
    }

    /// A connection that asks for the host name of the first instance, with a certificate and perhaps a key that is not its
    /// own.
    pub async fn connect_with(
        &self,
        addr: SocketAddr,
        chain: Vec<Vec<u8>>,
        key: &ca::Identity,
    ) -> ByteStream {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.key_der().to_vec()));
        let key = aws_lc_rs::default_provider().key_provider.load_private_key(key).unwrap();
        let key = CertifiedKey::new(chain.into_iter().map(Into::into).collect(), key);
        let mut config = ClientConfig::clone(&client_config(self.issuer.pem().as_bytes(), None).unwrap());
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(key));
        self.handshake(HOST, addr, Arc::new(config)).await
    }

    async fn handshake(&self, name: &'static str, addr: SocketAddr, config: Arc<ClientConfig>) -> ByteStream {
        let mut tcp = TcpStream::connect(addr).await.unwrap();
        let proxy_header = self.proxy_header.lock().unwrap().clone();
        tcp.write_all(&proxy_header).await.unwrap();
        let name = ServerName::try_from(name).unwrap();
        Box::new(TlsConnector::from(config).connect(name, tcp).await.unwrap())
    }
}

/// The service's host name of the first instance.
const HOST: &str = "0ne00000001.example";

/// A device's end of a connection, whatever it runs over.
pub type ByteStream = Box<dyn Duplex>;

/// What a device presents in the handshake.
pub struct Presented(Identity);

impl Presented {
    /// These certificates, leaf first, with the leaf's key.
    pub fn new(leaf: &ca::Identity, others: &[Vec<u8>]) -> Presented {
        let chain = std::iter::once(leaf.der().to_vec()).chain(others.iter().cloned()).map(Into::into);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf.key_der().to_vec()));
        Presented(Identity::from_der(chain.collect(), key).unwrap())
    }
}
