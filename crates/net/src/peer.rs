//! Who is at the other end, as far as the transport can tell.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use crate::connection_limiter::Standing;

/// The other end of a connection. Cheap to clone; in the extensions of every HTTP request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where the connection comes from: behind a proxy, the address that the proxy named.
    pub addr: SocketAddr,
    /// The certificates the client sent, leaf first; empty when it sent none. The client has proved that it
    /// holds the leaf's private key; nothing else about them is checked.
    pub certificates: Arc<[CertificateDer<'static>]>,
    /// The host name that it asked for in the TLS handshake.
    pub server_name: Option<Arc<str>>,
    /// Whether a request of the connection has been accepted. Each service marks it where it accepts one.
    pub standing: Standing,
}

impl Peer {
    /// A peer whose connection is in no gate.
    pub fn new(addr: SocketAddr, certificates: Arc<[CertificateDer<'static>]>) -> Peer {
        Peer { addr, certificates, server_name: None, standing: Standing::default() }
    }
}
