//! What the connections of one listener share, whatever protocol they speak.

use std::sync::Arc;

use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use crate::{
    accept::{AcceptLoop, AcceptedConnection, TlsHandshake},
    connection::{self, Protocol},
    connection_limiter::ConnectionLimiter,
    limits::Limits,
    listener::Listener,
};

/// What the connections of a listener share: the endpoint, the limits, and the shutdown token.
pub struct ListenerContext<E: ?Sized> {
    /// Decides which clients may connect.
    pub endpoint: Arc<E>,
    /// Bounds of each connection.
    pub limits: Arc<Limits>,
    /// Canceled to end the connections gracefully.
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
    pub(crate) listener: Listener,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) endpoint: Arc<E>,
    pub(crate) limiter: ConnectionLimiter,
    pub(crate) shutdown: CancellationToken,
}

impl<E: ?Sized + Send + Sync + 'static> TlsListener<E> {
    /// Drives every connection until shutdown; returns when all have ended.
    pub(crate) async fn run<P: Protocol<Endpoint = E>>(self) {
        let TlsListener { listener, tls, endpoint, limiter, shutdown } = self;
        let context =
            ListenerContext { endpoint, limits: Arc::clone(&limiter.limits), shutdown: shutdown.clone() };
        let counts = limiter.clone();
        let listening = AcceptLoop { listener, handshake: TlsHandshake::from(tls), limiter, shutdown };
        let serve = move |accepted| {
            let (context, counted) = (context.clone(), counts.count(P::OVER_TLS));
            async move {
                let AcceptedConnection { stream, peer, permit, .. } = accepted;
                connection::drive::<P, _>(stream, peer, context).await;
                drop((permit, counted));
            }
        };
        listening.run(serve).await;
    }
}
