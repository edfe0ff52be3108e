//! What the connections of one listener share, whatever protocol they speak.

use std::sync::Arc;

use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use crate::accept::{Accepted, Handshake, Listening, OverTls};
use crate::connection_limiter::ConnectionLimiter;
use crate::limits::Limits;
use crate::listener::Listener;
use crate::peer::Peer;
use crate::transport::Transport;

/// Who decides on a listener's clients, what they can cost, and when they must go.
pub struct ListenerContext<E: ?Sized> {
    /// Decides who may connect.
    pub endpoint: Arc<E>,
    /// Bounds of each connection.
    pub limits: Arc<Limits>,
    /// Cancelled to end the connections gracefully.
    pub shutdown: CancellationToken,
}

impl<E: ?Sized> Clone for ListenerContext<E> {
    fn clone(&self) -> Self {
        ListenerContext {
            endpoint: Arc::clone(&self.endpoint),
            limits: Arc::clone(&self.limits),
            shutdown: self.shutdown.clone(),
        }
    }
}

/// A listener whose connections are TLS and then one protocol.
pub(crate) struct TlsListener<E: ?Sized> {
    pub(crate) transport: Transport,
    pub(crate) listener: Listener,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) endpoint: Arc<E>,
    pub(crate) limiter: ConnectionLimiter,
    pub(crate) shutdown: CancellationToken,
}

impl<E: ?Sized + Send + Sync + 'static> TlsListener<E> {
    /// Has every connection driven until shutdown; returns when all have ended.
    pub(crate) async fn run<D, F>(self, drive: D)
    where
        D: Fn(<OverTls as Handshake>::Stream, Peer, ListenerContext<E>) -> F + Copy + Send + Sync + 'static,
        F: Future<Output = ()> + Send,
    {
        let TlsListener { transport, listener, tls, endpoint, limiter, shutdown } = self;
        let context =
            ListenerContext { endpoint, limits: Arc::clone(&limiter.limits), shutdown: shutdown.clone() };
        let counts = limiter.clone();
        let listening = Listening { listener, handshake: OverTls::from(tls), limiter, shutdown };
        let serve = move |accepted| {
            let (context, counted) = (context.clone(), counts.count(transport));
            async move {
                let Accepted { stream, peer, permit, .. } = accepted;
                drive(stream, peer, context).await;
                drop((permit, counted));
            }
        };
        listening.run(serve).await;
    }
}
