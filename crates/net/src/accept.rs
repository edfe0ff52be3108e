//! Listening and accepting: one loop for every protocol.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::Limits;
use crate::peer::Peer;
use crate::share::{Share, Shares, network};
use crate::transport::{Counted, Open, Transport};

/// Limits, and the places for connections under them. Clones share the places.
#[derive(Debug, Clone)]
pub struct Gate {
    pub(crate) limits: Arc<Limits>,
    places: Arc<Semaphore>,
    /// By network.
    shares: Arc<Shares<IpAddr>>,
    open: Open,
}

/// A connection's place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    _share: Share<IpAddr>,
}

impl Gate {
    /// A gate with all its places free.
    pub fn new(limits: Limits) -> Gate {
        let places = limits.max_connections.min(Semaphore::MAX_PERMITS);
        Gate {
            limits: Arc::new(limits),
            places: Arc::new(Semaphore::new(places)),
            shares: Arc::new(Shares::default()),
            open: Open::default(),
        }
    }

    /// The same places under other bounds: endpoints differ in how large a message they take, and how long a request. By
    /// transport its connections are counted apart.
    pub fn with(&self, limits: Limits) -> Gate {
        Gate { limits: Arc::new(limits), open: Open::default(), ..self.clone() }
    }

    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Connections open now, handshakes included.
    pub fn connections(&self) -> usize {
        self.limits.max_connections.saturating_sub(self.free())
    }

    /// Places that are left.
    pub fn free(&self) -> usize {
        self.places.available_permits()
    }

    /// Connections open now that speak this, handshakes excluded.
    pub fn open(&self, transport: Transport) -> usize {
        self.open.count(transport)
    }

    /// Counts a connection for as long as what is returned lives.
    pub(crate) fn count(&self, transport: Transport) -> Counted {
        self.open.one_more(transport)
    }
}

/// A listening socket with `SO_REUSEADDR` and a queue of 4096. Needs a tokio runtime.
pub fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// What stands between a TCP connection and the bytes that are served.
pub(crate) trait Handshake: Clone + Send + 'static {
    /// What is served.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Makes it, and says which certificates the client showed.
    fn shake(&self, tcp: TcpStream) -> impl Future<Output = io::Result<(Self::Stream, Certificates)>> + Send;
}

type Certificates = Arc<[CertificateDer<'static>]>;

/// TLS.
#[derive(Clone)]
pub(crate) struct OverTls(TlsAcceptor);

/// Nothing: the bytes are in clear.
#[derive(Clone)]
pub(crate) struct InClear;

impl From<Arc<ServerConfig>> for OverTls {
    fn from(config: Arc<ServerConfig>) -> OverTls {
        OverTls(config.into())
    }
}

impl Handshake for OverTls {
    type Stream = TlsStream<TcpStream>;

    async fn shake(&self, tcp: TcpStream) -> io::Result<(Self::Stream, Certificates)> {
        let stream = self.0.accept(tcp).await?;
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default().into();
        Ok((stream, certificates))
    }
}

impl Handshake for InClear {
    type Stream = TcpStream;

    async fn shake(&self, tcp: TcpStream) -> io::Result<(TcpStream, Certificates)> {
        Ok((tcp, Certificates::default()))
    }
}

/// A connection after its handshake. The place is given back when it is dropped.
pub(crate) struct Accepted<S> {
    pub(crate) stream: S,
    pub(crate) peer: Peer,
    pub(crate) place: Place,
}

/// One listener with what every connection on it needs.
pub(crate) struct Listening<H> {
    pub(crate) listener: TcpListener,
    pub(crate) handshake: H,
    pub(crate) gate: Gate,
    pub(crate) shutdown: CancellationToken,
}

impl<H: Handshake> Listening<H> {
    /// Accepts until shutdown, serving every connection in a task of its own; returns when all have ended.
    /// `serve` must end within the grace period after shutdown.
    pub(crate) async fn run<S, F>(self, serve: S)
    where
        S: Fn(Accepted<H::Stream>) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let tasks = TaskTracker::new();
        while let Some((tcp, addr, place)) = self.next().await {
            let (handshake, serve) = (self.handshake.clone(), serve.clone());
            let (shutdown, limit) = (self.shutdown.clone(), self.gate.limits.handshake_timeout);
            tasks.spawn(async move {
                let shaken = tokio::select! {
                    shaken = timeout(limit, handshake.shake(tcp)) => shaken,
                    () = shutdown.cancelled() => return,
                };
                match shaken {
                    Ok(Ok((stream, certificates))) => {
                        serve(Accepted { stream, peer: Peer { addr, certificates }, place }).await;
                    }
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
    async fn admitted(&self) -> (TcpStream, SocketAddr, Share<IpAddr>) {
        let at_most = self.gate.limits.per_address();
        loop {
            let (tcp, addr) = self.accept().await;
            match self.gate.shares.take(network(addr.ip()), at_most) {
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

/// Connections the kernel completes ahead of us: a fleet comes back all at once after an outage.
const BACKLOG: u32 = 4096;

/// Rest after a failed accept (no descriptors or memory left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
