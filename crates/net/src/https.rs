//! HTTP/1.1 over TLS.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use crate::accept::{Accepted, Gate, Listening};
use crate::leftover;
use crate::peer::Peer;
use crate::pulse::{Pulse, Reporting};

/// Serves `router` until `shutdown`, then lets requests in progress finish within the grace period.
///
/// Every request carries its [`Peer`] as an extension. Connections are kept between requests and can be
/// upgraded (WebSocket); an upgraded connection keeps its place, and its deadlines are its new owner's
/// concern.
pub async fn serve_https(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    router: Router,
    gate: Gate,
    shutdown: CancellationToken,
) {
    let connection = Http { builder: builder(&gate), router, gate: gate.clone(), shutdown: shutdown.clone() };
    let connection = Arc::new(connection);
    let listening = Listening { listener, tls, gate, shutdown };
    listening.run(move |accepted| Arc::clone(&connection).serve(accepted)).await;
}

/// What all connections of one listener share.
struct Http {
    builder: http1::Builder,
    router: Router,
    gate: Gate,
    shutdown: CancellationToken,
}

impl Http {
    async fn serve(self: Arc<Self>, accepted: Accepted) {
        let Accepted { stream, peer, place } = accepted;
        let addr = peer.addr;
        let pulse = Pulse::new(Arc::clone(&self.gate.limits));
        let stream = TokioIo::new(Reporting { stream, pulse: Arc::clone(&pulse), _place: place });
        let handler = {
            let (router, pulse) = (self.router.clone(), Arc::clone(&pulse));
            service_fn(move |request| handle(router.clone(), peer.clone(), Arc::clone(&pulse), request))
        };
        let connection = self.builder.serve_connection(stream, handler).with_upgrades();
        let until_shutdown = async {
            let mut connection = pin!(connection);
            tokio::select! {
                end = connection.as_mut() => return end,
                () = self.shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            let grace = self.gate.limits.shutdown_grace;
            timeout(grace, connection).await.unwrap_or(Ok(())) // dropped with what is still in progress
        };
        match pulse.watch(until_shutdown).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(peer.addr = %addr, %error, "HTTP connection ended"),
            Err(_) => tracing::debug!(peer.addr = %addr, "HTTP connection closed: too slow or idle"),
        }
    }
}

async fn handle(
    mut router: Router,
    peer: Peer,
    pulse: Arc<Pulse>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    pulse.request();
    request.extensions_mut().insert(peer);
    let (request, leftover) = leftover::lend(request);
    let response = router.call(request).await;
    if let Some(leftover) = leftover {
        leftover.discard().await;
    }
    pulse.response();
    response
}

fn builder(gate: &Gate) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(None) // the pulse knows better
        .max_buf_size(gate.limits.max_header_bytes.max(HYPER_MIN_BUFFER));
    builder
}

/// hyper takes no smaller buffer.
const HYPER_MIN_BUFFER: usize = 8192;
