//! HTTP/1.1 over TLS, and what begins as HTTP.

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
use tokio_util::task::TaskTracker;
use tower_service::Service;

use crate::accept::{Accepted, Gate, Listening};
use crate::leftover;
use crate::mqtt::{Link, MqttEndpoint, drive};
use crate::peer::Peer;
use crate::pulse::{Ended, Pulse, Reporting};
use crate::websocket::{self, BinaryStream};

/// What is served on an HTTPS port.
pub struct Site {
    /// Who answers requests.
    pub router: Router,
    /// Who answers MQTT over WebSockets, on any path. Without it the router gets the requests that ask for a
    /// WebSocket too.
    pub mqtt: Option<Arc<dyn MqttEndpoint>>,
}

impl From<Router> for Site {
    fn from(router: Router) -> Site {
        Site { router, mqtt: None }
    }
}

/// Serves `site` until `shutdown`, then lets requests in progress finish within the grace period, and MQTT sessions
/// that still owe a reply.
///
/// Every request carries its [`Peer`] as an extension. Connections are kept between requests and can be
/// upgraded; an upgraded connection keeps its place, and its deadlines are its new owner's concern.
pub async fn serve_https(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    site: impl Into<Site>,
    gate: Gate,
    shutdown: CancellationToken,
) {
    let Site { router, mqtt } = site.into();
    let (limits, until) = (Arc::clone(&gate.limits), shutdown.clone());
    let http = Arc::new(Http {
        builder: builder(&gate),
        router,
        link: mqtt.map(|endpoint| Link { endpoint, limits, shutdown: until }),
        upgraded: TaskTracker::new(),
        gate: gate.clone(),
        shutdown: shutdown.clone(),
    });
    let upgraded = http.upgraded.clone();
    let listening = Listening { listener, tls, gate, shutdown };
    listening.run(move |accepted| Arc::clone(&http).serve(accepted)).await;
    upgraded.close();
    upgraded.wait().await;
}

/// What all connections of one listener share.
struct Http {
    builder: http1::Builder,
    router: Router,
    link: Option<Link>,
    /// The connections that are not HTTP any more.
    upgraded: TaskTracker,
    gate: Gate,
    shutdown: CancellationToken,
}

impl Http {
    async fn serve(self: Arc<Self>, accepted: Accepted) {
        let Accepted { stream, peer, place } = accepted;
        let addr = peer.addr;
        let pulse = Pulse::new(Arc::clone(&self.gate.limits));
        let stream = Reporting { stream, pulse: Arc::clone(&pulse), ended: Ended::default(), _place: place };
        let stream = TokioIo::new(stream);
        let handler = {
            let (http, pulse) = (Arc::clone(&self), Arc::clone(&pulse));
            service_fn(move |request| Arc::clone(&http).handle(peer.clone(), Arc::clone(&pulse), request))
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

    async fn handle(
        self: Arc<Self>,
        peer: Peer,
        pulse: Arc<Pulse>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        pulse.request();
        if let Some(link) = &self.link
            && websocket::is_asked(&request)
        {
            let response = self.upgrade(link, peer, request);
            pulse.response();
            return Ok(response);
        }
        request.extensions_mut().insert(peer);
        let (request, leftover) = leftover::lend(request);
        let response = self.router.clone().call(request).await;
        if let Some(leftover) = leftover {
            leftover.discard().await;
        }
        pulse.response();
        response
    }

    /// Answers a request for a WebSocket; the connection goes on as MQTT in a task of its own.
    fn upgrade(&self, link: &Link, peer: Peer, mut request: Request<Incoming>) -> Response<Body> {
        let response = match websocket::accept(&request) {
            Ok(response) => response,
            Err(refusal) => {
                tracing::debug!(peer.addr = %peer.addr, %refusal, "no WebSocket");
                return refusal.response();
            }
        };
        let (link, upgraded) = (link.clone(), hyper::upgrade::on(&mut request));
        self.upgraded.spawn(async move {
            let stream = match upgraded.await {
                Ok(stream) => TokioIo::new(stream),
                Err(error) => {
                    return tracing::debug!(peer.addr = %peer.addr, %error, "the client left before its WebSocket");
                }
            };
            let max_packet = link.limits.mqtt.max_packet;
            drive(BinaryStream::new(stream, max_packet).await, peer, link).await;
        });
        response
    }
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
