//! A listening socket, and the proxies in front of it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ipnetwork::IpNetwork;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::sleep,
};

/// Binds a listening socket with `SO_REUSEADDR` and a queue of 4096. Needs a tokio runtime.
pub fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// A listening socket, and the proxies in front of it.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    /// Connections from here begin with a PROXY header; others must not have one.
    proxies: Arc<[IpNetwork]>,
}

impl From<TcpListener> for Listener {
    fn from(socket: TcpListener) -> Listener {
        Listener { socket, proxies: Arc::default() }
    }
}

impl Listener {
    /// Requires the PROXY protocol of connections from these networks, and of no others.
    #[must_use]
    pub fn behind(self, proxies: &[IpNetwork]) -> Listener {
        Listener { proxies: proxies.into(), ..self }
    }

    /// Returns the address that it is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Returns whether connections from this address must begin with a PROXY header.
    pub(crate) fn is_proxy(&self, addr: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(addr.to_canonical()))
    }

    /// Accepts the next connection; failures of the listener are logged and retried.
    pub(crate) async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.socket.accept().await {
                Ok((tcp, addr)) => {
                    if let Err(error) = tcp.set_nodelay(true) {
                        tracing::debug!(peer.addr = %addr, %error, "no TCP_NODELAY");
                    }
                    return (tcp, addr);
                }
                Err(error) if is_of_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections, trying again");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Returns whether an error is one of a connection, not of the listener (accept(2) passes them on).
fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Connections that the kernel completes before they are accepted: a fleet reconnects all at once after an outage.
const BACKLOG: u32 = 4096;

/// The pause after a failed accept (no descriptors or memory left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
