//! Who is at the other end, as far as the transport can tell.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

/// The other end of a connection. Cheap to clone; in the extensions of every HTTP request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where the connection comes from.
    pub addr: SocketAddr,
    /// The certificates the client sent, leaf first; empty when it sent none. The client has proved that it
    /// holds the leaf's private key; nothing else about them is checked.
    pub certificates: Arc<[CertificateDer<'static>]>,
}
