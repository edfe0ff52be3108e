//! Accepting connections: one loop for every protocol.

use std::{
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    connection_limiter::{ConnectionEnd, ConnectionLimiter, Permit},
    listener::Listener,
    peer::Peer,
    proxy,
    refused::{HandshakeTooLong, Refused},
    tls::{self, HandshakeRecord},
};

/// What happens between the accept of a TCP connection and its service.
pub(crate) trait Handshake: Clone + Send + Sync + 'static {
    /// The stream that is served.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Performs it, and returns what the client presented, also when it fails. The client may send up to `max_bytes` for it.
    fn perform(
        &self,
        tcp: TcpStream,
        max_bytes: usize,
    ) -> impl Future<Output = (io::Result<Self::Stream>, HandshakeRecord)> + Send;
}

/// The handshake of TLS.
#[derive(Clone)]
pub(crate) struct TlsHandshake(TlsAcceptor);

/// No handshake: the connection is not encrypted.
#[derive(Clone)]
pub(crate) struct NoHandshake;

impl From<Arc<ServerConfig>> for TlsHandshake {
    fn from(config: Arc<ServerConfig>) -> TlsHandshake {
        TlsHandshake(config.into())
    }
}

impl Handshake for TlsHandshake {
    type Stream = TlsStream<BoundedStream<TcpStream>>;

    async fn perform(&self, tcp: TcpStream, max_bytes: usize) -> (io::Result<Self::Stream>, HandshakeRecord) {
        let bounded = BoundedStream { stream: tcp, left: Some(max_bytes) };
        let (result, mut record) = tls::observed(self.0.accept(bounded).into_fallible()).await;
        let result = result.map_err(|(error, stream)| {
            // A client that sends nothing only checks whether the port is open.
            let is_silent = is_end(&error) && stream.left == Some(max_bytes);
            if is_silent { io::ErrorKind::NotConnected.into() } else { error }
        });
        let result = result.map(|mut stream| {
            stream.get_mut().0.left = None;
            record.certificates = stream.get_ref().1.peer_certificates().unwrap_or_default().into();
            stream
        });
        (result, record)
    }
}

impl Handshake for NoHandshake {
    type Stream = TcpStream;

    async fn perform(&self, tcp: TcpStream, _max_bytes: usize) -> (io::Result<TcpStream>, HandshakeRecord) {
        (Ok(tcp), HandshakeRecord::default())
    }
}

/// A stream that ends with an error when the peer sends more than it may: rustls alone keeps 64 KiB of a handshake.
#[derive(Debug)]
pub(crate) struct BoundedStream<S> {
    stream: S,
    /// Bytes that may still come; `None` when there is no bound.
    left: Option<usize>,
}

impl<S: AsyncRead + Unpin> AsyncRead for BoundedStream<S> {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for BoundedStream<S> {
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

/// A connection after its handshake. Dropping the permit frees its slot.
pub(crate) struct AcceptedConnection<S> {
    pub(crate) stream: S,
    pub(crate) peer: Peer,
    pub(crate) permit: Permit,
    pub(crate) end: ConnectionEnd,
}

/// A listener, and what every connection on it needs.
pub(crate) struct AcceptLoop<H> {
    pub(crate) listener: Listener,
    pub(crate) handshake: H,
    pub(crate) limiter: ConnectionLimiter,
    pub(crate) shutdown: CancellationToken,
}

impl<H: Handshake> AcceptLoop<H> {
    /// Accepts until shutdown, serving every connection in a task of its own; returns when all have ended.
    /// `serve` must end within the grace period after shutdown.
    pub(crate) async fn run<S, F>(self, serve: S)
    where
        S: Fn(AcceptedConnection<H::Stream>) -> F + Clone + Send + Sync + 'static,
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
            let arrival = PendingConnection {
                handshake: self.handshake.clone(),
                limiter: self.limiter.clone(),
                shutdown: self.shutdown.clone(),
                addr,
                is_proxied: self.listener.is_proxy(addr.ip()),
            };
            let serve = serve.clone();
            tasks.spawn(async move { arrival.serve(tcp, permit, serve).await });
        }
        drop(self.listener); // refuse new connections rather than queue them
        tasks.close();
        tasks.wait().await;
    }
}

/// A connection that has a permit, and whose handshake is due.
struct PendingConnection<H> {
    handshake: H,
    limiter: ConnectionLimiter,
    shutdown: CancellationToken,
    addr: SocketAddr,
    is_proxied: bool,
}

impl<H: Handshake> PendingConnection<H> {
    /// Runs the connection to its end.
    async fn serve<S, F>(mut self, tcp: TcpStream, permit: Permit, serve: S)
    where
        S: Fn(AcceptedConnection<H::Stream>) -> F + Sync,
        F: Future<Output = ()>,
    {
        let end = permit.end();
        let mut record = HandshakeRecord::default();
        let result = {
            // Dropped here, so that its memory is free while the connection is served.
            let handshake = pin!(self.handshake(tcp, &permit, &mut record));
            end.watch(handshake).await
        };
        let HandshakeRecord { server_name, certificates } = record;
        let peer = Peer { addr: self.addr, certificates, server_name, standing: permit.standing() };
        let stream = match result {
            Ok(Ok(Some(stream))) => stream,
            Ok(Ok(None)) => return,
            Ok(Err(error)) => return peer.refuse_handshake(&error).await,
            Err(reason) => return peer.report_refusal(reason, reason).await,
        };
        let refused = peer.clone();
        let connection = pin!(serve(AcceptedConnection { stream, peer, permit, end: end.clone() }));
        if let Err(reason) = end.watch(connection).await {
            refused.report_refusal(reason, reason).await;
        }
    }

    /// Reads the PROXY header, if one is due, and performs the handshake; `record` gets what the client presented. Returns `None`
    /// at shutdown, and for a client that leaves without sending anything, as health checks do.
    async fn handshake(
        &mut self,
        mut tcp: TcpStream,
        permit: &Permit,
        record: &mut HandshakeRecord,
    ) -> io::Result<Option<H::Stream>> {
        let limits = Arc::clone(&self.limiter.limits);
        let shutdown = self.shutdown.clone();
        let handshake = async {
            if self.is_proxied {
                match proxy::take_header(&mut tcp).await {
                    Ok(Some(source)) => {
                        permit.standing().relocate(source.ip()).map_err(io::Error::other)?;
                        self.addr = source;
                    }
                    Ok(None) => {} // the proxy itself, for example a health check
                    Err(error) if is_end(&error) => return Ok(None),
                    Err(error) => return Err(error),
                }
            }
            let (result, presented) = self.handshake.perform(tcp, limits.unproven.handshake_bytes).await;
            *record = presented;
            match result {
                Ok(stream) => Ok(Some(stream)),
                Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(None),
                Err(error) => Err(error),
            }
        };
        tokio::select! {
            result = timeout(limits.handshake_timeout, handshake) => {
                result.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, Refused::HandshakeTimeout)))
            }
            () = shutdown.cancelled() => Ok(None),
        }
    }
}

/// Returns whether the error means that the peer has left.
fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
}
