//! Accepting connections: one loop for every protocol.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection_limiter::{ConnectionEnd, ConnectionLimiter, Permit};
use crate::listener::Listener;
use crate::peer::Peer;
use crate::proxy;
use crate::refused::{HandshakeTooLong, Refused};
use crate::tls::{self, Shown};

/// What stands between a TCP connection and the bytes that are served.
pub(crate) trait Handshake: Clone + Send + Sync + 'static {
    /// What is served.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Makes it, and returns what the client showed of itself, also when it fails. The client may send up to `max_bytes` for
    /// it.
    fn shake(
        &self,
        tcp: TcpStream,
        max_bytes: usize,
    ) -> impl Future<Output = (io::Result<Self::Stream>, Shown)> + Send;
}

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
    type Stream = TlsStream<Bounded<TcpStream>>;

    async fn shake(&self, tcp: TcpStream, max_bytes: usize) -> (io::Result<Self::Stream>, Shown) {
        let bounded = Bounded { stream: tcp, left: Some(max_bytes) };
        let (shaken, mut shown) = tls::observed(self.0.accept(bounded).into_fallible()).await;
        let shaken = shaken.map_err(|(error, stream)| {
            // Whoever says nothing only looks whether somebody listens.
            let is_silent = is_end(&error) && stream.left == Some(max_bytes);
            if is_silent { io::ErrorKind::NotConnected.into() } else { error }
        });
        let shaken = shaken.map(|mut stream| {
            stream.get_mut().0.left = None;
            shown.certificates = stream.get_ref().1.peer_certificates().unwrap_or_default().into();
            stream
        });
        (shaken, shown)
    }
}

impl Handshake for InClear {
    type Stream = TcpStream;

    async fn shake(&self, tcp: TcpStream, _max_bytes: usize) -> (io::Result<TcpStream>, Shown) {
        (Ok(tcp), Shown::default())
    }
}

/// A stream that ends with an error when the peer sends more than it may: rustls alone keeps 64 KiB of a handshake.
#[derive(Debug)]
pub(crate) struct Bounded<S> {
    stream: S,
    /// Bytes that may still come; `None` when there is no bound.
    left: Option<usize>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some(left) = &mut self.left {
            match left.checked_sub(buffer.filled().len() - before) {
                Some(rest) => *left = rest,
                None => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, HandshakeTooLong)));
                }
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A connection after its handshake. The place is given back when the permit is dropped.
pub(crate) struct Accepted<S> {
    pub(crate) stream: S,
    pub(crate) peer: Peer,
    pub(crate) permit: Permit,
    pub(crate) end: ConnectionEnd,
}

/// One listener with what every connection on it needs.
pub(crate) struct Listening<H> {
    pub(crate) listener: Listener,
    pub(crate) handshake: H,
    pub(crate) limiter: ConnectionLimiter,
    pub(crate) shutdown: CancellationToken,
}

impl<H: Handshake> Listening<H> {
    /// Accepts until shutdown, serving every connection in a task of its own; returns when all have ended.
    /// `serve` must end within the grace period after shutdown.
    pub(crate) async fn run<S, F>(self, serve: S)
    where
        S: Fn(Accepted<H::Stream>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = ()> + Send,
    {
        let tasks = TaskTracker::new();
        loop {
            let (tcp, addr) = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = self.shutdown.cancelled() => break,
            };
            let permit = match self.limiter.enter(addr.ip()) {
                Ok(permit) => permit,
                Err(reason) => {
                    tracing::info!(peer.addr = %addr, reason = reason.name(), error = %reason, "connection refused");
                    continue;
                }
            };
            let arrival = Arrival {
                handshake: self.handshake.clone(),
                limiter: self.limiter.clone(),
                shutdown: self.shutdown.clone(),
                addr,
                is_proxied: self.listener.is_proxy(addr.ip()),
            };
            let serve = serve.clone();
            tasks.spawn(async move { arrival.serve(tcp, permit, serve).await });
        }
        drop(self.listener); // refuse, rather than queue, what comes from here on
        tasks.close();
        tasks.wait().await;
    }
}

/// A connection that has a place.
struct Arrival<H> {
    handshake: H,
    limiter: ConnectionLimiter,
    shutdown: CancellationToken,
    addr: SocketAddr,
    is_proxied: bool,
}

impl<H: Handshake> Arrival<H> {
    /// Runs the connection to its end.
    async fn serve<S, F>(mut self, tcp: TcpStream, permit: Permit, serve: S)
    where
        S: Fn(Accepted<H::Stream>) -> F + Sync,
        F: Future<Output = ()>,
    {
        let end = permit.end();
        let mut shown = Shown::default();
        let shaken = {
            // Its room is free again when the connection is served.
            let shaking = pin!(self.shaken(tcp, &permit, &mut shown));
            end.watch(shaking).await
        };
        let Shown { server_name, certificates } = shown;
        let peer = Peer { addr: self.addr, certificates, server_name, standing: permit.standing() };
        let stream = match shaken {
            Ok(Ok(Some(stream))) => stream,
            Ok(Ok(None)) => return,
            Ok(Err(error)) => return peer.refuse_handshake(&error).await,
            Err(reason) => return peer.report_refusal(reason, reason).await,
        };
        let refused = peer.clone();
        let connection = pin!(serve(Accepted { stream, peer, permit, end: end.clone() }));
        if let Err(reason) = end.watch(connection).await {
            refused.report_refusal(reason, reason).await;
        }
    }

    /// The stream after the PROXY header, if one is due, and the handshake; what the client showed goes to `shown`. `None` at shutdown, and for who leaves without
    /// a word, as health checks do.
    async fn shaken(
        &mut self,
        mut tcp: TcpStream,
        permit: &Permit,
        shown: &mut Shown,
    ) -> io::Result<Option<H::Stream>> {
        let limits = Arc::clone(&self.limiter.limits);
        let shutdown = self.shutdown.clone();
        let shaken = async {
            if self.is_proxied {
                match proxy::take_header(&mut tcp).await {
                    Ok(Some(source)) => {
                        permit.standing().relocate(source.ip()).map_err(io::Error::other)?;
                        self.addr = source;
                    }
                    Ok(None) => {} // the proxy itself, on its own account
                    Err(error) if is_end(&error) => return Ok(None),
                    Err(error) => return Err(error),
                }
            }
            let (shaken, seen) = self.handshake.shake(tcp, limits.unproven.handshake_bytes).await;
            *shown = seen;
            match shaken {
                Ok(stream) => Ok(Some(stream)),
                Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(None),
                Err(error) => Err(error),
            }
        };
        tokio::select! {
            shaken = timeout(limits.handshake_timeout, shaken) => {
                shaken.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, Refused::HandshakeTimeout)))
            }
            () = shutdown.cancelled() => Ok(None),
        }
    }
}

/// Whether the peer has left.
fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
}
