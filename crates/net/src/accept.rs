//! Listening and accepting: one loop for every protocol.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::Limits;
use crate::peer::Peer;
use crate::share::{Share, Shares};

/// Limits, and the places for connections under them. Clones share the places.
#[derive(Debug, Clone)]
pub struct Gate {
    pub(crate) limits: Arc<Limits>,
    places: Arc<Semaphore>,
    shares: Arc<Shares>,
}

/// A connection's place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    _share: Share,
}

impl Gate {
    /// A gate with all its places free.
    pub fn new(limits: Limits) -> Gate {
        let places = limits.max_connections.min(Semaphore::MAX_PERMITS);
        Gate {
            limits: Arc::new(limits),
            places: Arc::new(Semaphore::new(places)),
            shares: Arc::new(Shares::default()),
        }
    }

    /// The same places under other bounds: endpoints differ in how large a message they take, and how long a request.
    pub fn with(&self, limits: Limits) -> Gate {
        Gate { limits: Arc::new(limits), places: Arc::clone(&self.places), shares: Arc::clone(&self.shares) }
    }

    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Connections open now, handshakes included.
    pub fn connections(&self) -> usize {
        self.limits.max_connections.saturating_sub(self.places.available_permits())
    }
}

/// A listening socket with `SO_REUSEADDR` and a queue of 4096. Needs a tokio runtime.
pub fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// A connection after its handshake. The place is given back when it is dropped.
pub(crate) struct Accepted {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) peer: Peer,
    pub(crate) place: Place,
}

/// One listener with what every connection on it needs.
pub(crate) struct Listening {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) gate: Gate,
    pub(crate) shutdown: CancellationToken,
}

impl Listening {
    /// Accepts until shutdown, serving every connection in a task of its own; returns when all have ended.
    /// `serve` must end within the grace period after shutdown.
    pub(crate) async fn run<S, F>(self, serve: S)
    where
        S: Fn(Accepted) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let tasks = TaskTracker::new();
        let acceptor = TlsAcceptor::from(Arc::clone(&self.tls));
        while let Some((tcp, addr, place)) = self.next().await {
            let (acceptor, serve) = (acceptor.clone(), serve.clone());
            let (shutdown, limit) = (self.shutdown.clone(), self.gate.limits.handshake_timeout);
            tasks.spawn(async move {
                let handshake = timeout(limit, acceptor.accept(tcp));
                let stream = tokio::select! {
                    stream = handshake => stream,
                    () = shutdown.cancelled() => return,
                };
                match stream {
                    Ok(Ok(stream)) => serve(accepted(stream, addr, place)).await,
                    Ok(Err(error)) => tracing::debug!(peer.addr = %addr, %error, "TLS handshake failed"),
                    Err(_) => tracing::debug!(peer.addr = %addr, "TLS handshake timed out"),
                }
            });
        }
        drop(self.listener); // refuse, rather than queue, what comes from here on
        tasks.close();
        tasks.wait().await;
    }

    /// The next TCP connection and its place; `None` at shutdown.
    async fn next(&self) -> Option<(TcpStream, SocketAddr, Place)> {
        // In this order, so that a quiet listener does not keep a place from the others.
        let next = async {
            let (tcp, addr, share) = self.admitted().await;
            let permit = Arc::clone(&self.gate.places).acquire_owned().await.ok()?;
            Some((tcp, addr, Place { _permit: permit, _share: share }))
        };
        tokio::select! {
            next = next => next,
            () = self.shutdown.cancelled() => None,
        }
    }

    /// The next connection of an address that may have one more; others are closed.
    async fn admitted(&self) -> (TcpStream, SocketAddr, Share) {
        let at_most = self.gate.limits.per_address();
        loop {
            let (tcp, addr) = self.accept().await;
            match self.gate.shares.take(addr.ip(), at_most) {
                Some(share) => return (tcp, addr, share),
                None => {
                    tracing::debug!(peer.addr = %addr, at_most, "closed: the address has its share of connections")
                }
            }
        }
    }

    async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((tcp, addr)) => {
                    if let Err(error) = tcp.set_nodelay(true) {
                        tracing::debug!(peer.addr = %addr, %error, "no TCP_NODELAY");
                    }
                    return (tcp, addr);
                }
                Err(error) if gone_before_accept(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections, trying again");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Errors of one connection, not of the listener (accept(2) passes them on).
fn gone_before_accept(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn accepted(stream: TlsStream<TcpStream>, addr: SocketAddr, place: Place) -> Accepted {
    let certificates: Arc<[CertificateDer<'static>]> =
        stream.get_ref().1.peer_certificates().unwrap_or_default().into();
    Accepted { stream, peer: Peer { addr, certificates }, place }
}

/// Connections the kernel completes ahead of us: a fleet comes back all at once after an outage.
const BACKLOG: u32 = 4096;

/// Rest after a failed accept (no descriptors or memory left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
