//! The other end of a connection, as far as the transport knows it.

use std::{net::SocketAddr, sync::Arc};

use rustls::pki_types::CertificateDer;

use crate::connection_limiter::Standing;

/// The other end of a connection. Cheap to clone; in the extensions of every HTTP request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The client's address: behind a proxy, the one that the proxy reported.
    pub addr: SocketAddr,
    /// The certificates the client sent, leaf first; empty when it sent none. The client has proved that it
    /// holds the leaf's private key; nothing else about them is checked.
    pub certificates: Arc<[CertificateDer<'static>]>,
    /// The host name that it requested in the TLS handshake.
    pub server_name: Option<Arc<str>>,
    /// Whether the connection is proven. Each service marks it when it accepts a request.
    pub standing: Standing,
}

impl Peer {
    /// Creates a peer whose connection has no permit.
    pub fn new(addr: SocketAddr, certificates: Arc<[CertificateDer<'static>]>) -> Peer {
        Peer { addr, certificates, server_name: None, standing: Standing::default() }
    }
}
