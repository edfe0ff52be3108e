//! Devices that no enrollment admits, and connections from many addresses.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use fleet::{CertificateAuthority, Device, Endpoint, HttpsSession, RegisterError};
use model::{RegistrationId, SymmetricKey};
use net::tls::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P521_SHA512, SerialNumber,
};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, pki_types::ServerName},
};
use wire::sas;

const TIMEOUT: Duration = Duration::from_secs(20);

/// The number of certificates with one name that a stranger sends along.
const SAME_NAMES: u64 = 9;

/// The evidence of a stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// A token signed with an unknown key.
    Token,
    /// A chain to an unknown CA.
    Chain,
    /// Certificates with the name of an enrolled CA and one P-521 key, each a possible issuer of each other.
    SameNames,
}

impl Evidence {
    /// All kinds of evidence.
    pub const ALL: [Evidence; 3] = [Evidence::Token, Evidence::Chain, Evidence::SameNames];

    /// Makes a device with this evidence. `enrolled` is the common name of an enrolled CA.
    pub fn device(self, enrolled: &str) -> anyhow::Result<Device> {
        let id = RegistrationId::parse("stranger")?;
        Ok(match self {
            Evidence::Token => Device::with_key(id, SymmetricKey::from_bytes(&[7; 32])?),
            Evidence::Chain => {
                let chain = CertificateAuthority::root("stranger's root")?.intermediate("stranger's line")?;
                Device::with_certificate(id.clone(), chain.issue(&id)?)
            }
            Evidence::SameNames => Device::with_certificate(id, same_names(enrolled)?),
        })
    }

    /// Returns the title in the table.
    pub fn title(self) -> &'static str {
        match self {
            Evidence::Token => "a token by an unknown key",
            Evidence::Chain => "a chain to an unknown CA",
            Evidence::SameNames => "ten certificates of an enrolled CA's name with one P-521 key",
        }
    }
}

fn same_names(enrolled: &str) -> anyhow::Result<Identity> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512)?;
    let issuer = Issuer::new(ca(enrolled, 0), KeyPair::from_pem(&key.serialize_pem())?);
    let leaf_key = KeyPair::generate()?;
    let leaf = named("stranger", 0).signed_by(&leaf_key, &issuer)?;
    let cas =
        (1..=SAME_NAMES).map(|serial| anyhow::Ok(ca(enrolled, serial).self_signed(&key)?.der().clone()));
    let chain = std::iter::once(Ok(leaf.der().clone())).chain(cas).collect::<anyhow::Result<_>>()?;
    Ok(Identity::from_der(chain, leaf_key.into())?)
}

fn ca(common_name: &str, serial: u64) -> CertificateParams {
    let mut params = named(common_name, serial);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn named(common_name: &str, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serial_number = Some(SerialNumber::from(serial + 1));
    params
}

/// Registers a stranger until it is refused this number of times, over as few connections as the server allows.
pub async fn refused(endpoint: &Endpoint, device: &Device, times: usize) -> anyhow::Result<()> {
    let mut session = None;
    let mut connections = 0;
    let mut left = times;
    while left > 0 {
        let mut open = match session.take() {
            Some(open) => open,
            None => {
                connections += 1;
                HttpsSession::open(endpoint, device).await?
            }
        };
        match open.register(device, None).await {
            Err(RegisterError::Refused(_)) => {
                left -= 1;
                session = Some(open);
            }
            // The server may close the connection of a stranger.
            Err(RegisterError::Transport(_)) if connections <= times => {}
            other => anyhow::bail!("a stranger was not refused: {other:?}"),
        }
    }
    Ok(())
}

/// Opens a TLS connection from one of many addresses of this machine.
pub async fn connect(endpoint: &Endpoint, port: u16, number: usize) -> anyhow::Result<TlsStream<TcpStream>> {
    connect_from(endpoint, port, address(number), endpoint.trust.anonymous()).await
}

/// Opens a TLS connection from an address, with this client configuration.
pub async fn connect_from(
    endpoint: &Endpoint,
    port: u16,
    from: IpAddr,
    client: Arc<ClientConfig>,
) -> anyhow::Result<TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    let server = SocketAddr::new(endpoint.host.as_str().parse()?, port);
    let tcp = tokio::time::timeout(TIMEOUT, socket.connect(server)).await.context("no connection")??;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(endpoint.host.to_string())?;
    let handshake = TlsConnector::from(client).connect(name, tcp);
    Ok(tokio::time::timeout(TIMEOUT, handshake).await.context("no TLS handshake")??)
}

/// Makes an identity with a chain of the maximum length.
pub fn long_chain() -> anyhow::Result<Identity> {
    const BYTES: usize = 15 * 1024;
    let mut params = named("stranger", 0);
    let text = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 55555, 1], vec![0; BYTES]);
    params.custom_extensions.push(text);
    let key = KeyPair::generate()?;
    let leaf = params.self_signed(&key)?;
    Ok(Identity::from_der(vec![leaf.der().clone()], key.into())?)
}

/// Formats a register call with a token by an unknown key.
pub fn wrong_token(endpoint: &Endpoint) -> anyhow::Result<Vec<u8>> {
    let resource = format!("{}/registrations/stranger", endpoint.id_scope);
    let token = sas::sign(&resource, &[7; 32], 4_000_000_000, Some("registration"));
    let body = r#"{"registrationId":"stranger"}"#;
    let request = format!(
        "PUT /{resource}/register?api-version=2021-06-01 HTTP/1.1\r\nHost: {}\r\nAuthorization: {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        endpoint.host,
        body.len()
    );
    Ok(request.into_bytes())
}

/// Returns one of 4,000 loopback addresses.
pub fn address(number: usize) -> IpAddr {
    let [third, fourth] = [number / 250 % 16, number % 250].map(|part| u8::try_from(part).unwrap_or(0));
    IpAddr::V4(Ipv4Addr::new(127, 9, third, fourth + 1))
}
