//! HTTP/1.1 with or without TLS, and the WebSockets that begin as HTTP.

use std::{convert::Infallible, pin::pin, sync::Arc};

use axum::{Router, body::Body, response::Response};
use http::{
    HeaderName, HeaderValue, Request, StatusCode, Version,
    header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_service::Service;

use crate::{
    accept::{AcceptLoop, AcceptedConnection, Handshake, NoHandshake, TlsHandshake},
    amqp::{AmqpEndpoint, ServerConnection},
    connection::{self, Protocol},
    connection_limiter::{ConnectionEnd, ConnectionLimiter},
    deadlines::{DeadlineExpired, HttpDeadlines, HttpStream, Phase},
    listener::Listener,
    listener_context::ListenerContext,
    metered::Meter,
    mqtt::{MqttConnection, MqttEndpoint},
    peer::Peer,
    refused::Refused,
    transport::Transport,
    unread_body,
    websocket::{self, BinaryStream},
};

/// The services on an HTTPS port.
pub struct HttpServices {
    /// Answers requests.
    pub router: Router,
    /// Answers MQTT over WebSockets, on any path. Without this and the next member, the router also gets the requests for
    /// WebSockets.
    pub mqtt: Option<Arc<dyn MqttEndpoint>>,
    /// Answers AMQP over WebSockets, on any path.
    pub amqp: Option<Arc<dyn AmqpEndpoint>>,
}

impl From<Router> for HttpServices {
    fn from(router: Router) -> HttpServices {
        HttpServices { router, mqtt: None, amqp: None }
    }
}

/// Serves `services` until `shutdown`, then lets requests in progress finish within the grace period, and MQTT and AMQP
/// connections that still owe a reply.
///
/// Every request carries its [`Peer`] as an extension. Connections are kept between requests and can be
/// upgraded; an upgraded connection keeps its permit, and the driver of its protocol sets its deadlines.
pub async fn serve_https(
    listener: impl Into<Listener>,
    tls: Arc<ServerConfig>,
    services: impl Into<HttpServices>,
    limiter: ConnectionLimiter,
    shutdown: CancellationToken,
) {
    run(listener.into(), TlsHandshake::from(tls), services.into(), limiter, shutdown).await;
}

/// Serves a router without TLS, for requests that never leave the machine or its own network. Clients have no certificates.
pub async fn serve_http(
    listener: impl Into<Listener>,
    router: Router,
    limiter: ConnectionLimiter,
    shutdown: CancellationToken,
) {
    run(listener.into(), NoHandshake, router.into(), limiter, shutdown).await;
}

async fn run<H: Handshake>(
    listener: Listener,
    handshake: H,
    services: HttpServices,
    limiter: ConnectionLimiter,
    shutdown: CancellationToken,
) {
    let HttpServices { router, mqtt, amqp } = services;
    let http = Arc::new(Http {
        builder: builder(&limiter),
        router,
        websocket_protocols: mqtt
            .map(WebSocketProtocol::Mqtt)
            .into_iter()
            .chain(amqp.map(WebSocketProtocol::Amqp))
            .collect(),
        upgraded: TaskTracker::new(),
        limiter: limiter.clone(),
        shutdown: shutdown.clone(),
    });
    let upgraded = http.upgraded.clone();
    let listening = AcceptLoop { listener, handshake, limiter, shutdown };
    listening.run(move |accepted| Arc::clone(&http).serve(accepted)).await;
    upgraded.close();
    upgraded.wait().await;
}

/// The state that all connections of one listener share.
struct Http {
    builder: http1::Builder,
    router: Router,
    /// The protocols over WebSockets.
    websocket_protocols: Vec<WebSocketProtocol>,
    /// The tasks of upgraded connections.
    upgraded: TaskTracker,
    limiter: ConnectionLimiter,
    shutdown: CancellationToken,
}

/// A protocol over WebSockets, and what answers it.
enum WebSocketProtocol {
    Amqp(Arc<dyn AmqpEndpoint>),
    Mqtt(Arc<dyn MqttEndpoint>),
}

impl WebSocketProtocol {
    /// Returns its name in the handshake (AMQP WebSocket Binding 1.0 §2.1; MQTT 3.1.1 §6).
    fn subprotocol(&self) -> &'static str {
        match self {
            WebSocketProtocol::Amqp(_) => "AMQPWSB10",
            WebSocketProtocol::Mqtt(_) => "mqtt",
        }
    }
}

impl Http {
    async fn serve<S>(self: Arc<Self>, accepted: AcceptedConnection<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let _counted = self.limiter.count(Transport::Https);
        let AcceptedConnection { stream, peer, permit, end } = accepted;
        let client = peer.clone();
        let deadlines = HttpDeadlines::new(Arc::clone(&self.limiter.limits));
        let stream =
            HttpStream { stream, deadlines: Arc::clone(&deadlines), peer_closed: false, _permit: permit };
        let stream = TokioIo::new(stream);
        let handler = {
            let (http, client) = (Arc::clone(&self), Client { peer, deadlines: Arc::clone(&deadlines), end });
            service_fn(move |request| Arc::clone(&http).handle(client.clone(), request))
        };
        let connection = self.builder.serve_connection(stream, handler).with_upgrades();
        let mut connection = pin!(connection);
        let until_shutdown = pin!(async {
            tokio::select! {
                end = connection.as_mut() => return end,
                () = self.shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            let grace = self.limiter.limits.shutdown_grace;
            timeout(grace, connection).await.unwrap_or(Ok(())) // drops the requests that are still in progress
        });
        match deadlines.watch(until_shutdown).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.is_parse() => client.refuse(Refused::Protocol, error).await,
            Ok(Err(error)) => tracing::debug!(peer.addr = %client.addr, %error, "HTTP connection ended"),
            Err(DeadlineExpired(Phase::Receiving)) => {
                client.refuse(Refused::PacketTimeout, "a header or body that did not come in time").await;
            }
            Err(DeadlineExpired(phase)) => {
                tracing::debug!(peer.addr = %client.addr, ?phase, "HTTP connection closed")
            }
        }
    }

    async fn handle(
        self: Arc<Self>,
        client: Client,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let Client { peer, deadlines, end } = client;
        deadlines.begin_request();
        if let Some(header) = ambiguous(&request) {
            peer.standing.note_login(request.uri().path());
            peer.refuse(Refused::BadRequest, format!("a request must have one header {header}")).await;
            return Ok(bad_request(&header));
        }
        if !self.websocket_protocols.is_empty() && websocket::is_upgrade_request(&request) {
            let response = self.upgrade(peer, end, request).await;
            deadlines.begin_response();
            return Ok(response);
        }
        let standing = peer.standing.clone();
        request.extensions_mut().insert(peer);
        let (request, unread_body) = unread_body::wrap_body(request, &deadlines);
        let response = self.router.clone().call(request).await;
        if let Some(unread_body) = unread_body {
            deadlines.begin_body();
            unread_body.discard().await;
        }
        if response.as_ref().is_ok_and(|response| response.status() == StatusCode::UNAUTHORIZED) {
            standing.pace_refusal().await;
        }
        deadlines.begin_response();
        response
    }

    /// Answers a request for a WebSocket; the connection continues as MQTT or AMQP in a task of its own.
    async fn upgrade(
        &self,
        peer: Peer,
        end: ConnectionEnd,
        mut request: Request<Incoming>,
    ) -> Response<Body> {
        let served: Vec<_> = self.websocket_protocols.iter().map(WebSocketProtocol::subprotocol).collect();
        let (index, response) = match websocket::accept(&request, &served) {
            Ok(accepted) => accepted,
            Err(refusal) => {
                peer.standing.note_login(request.uri().path());
                peer.refuse(Refused::BadRequest, &refusal).await;
                return refusal.response();
            }
        };
        let upgraded = hyper::upgrade::on(&mut request);
        match &self.websocket_protocols[index] {
            WebSocketProtocol::Amqp(endpoint) => {
                self.serve_upgraded::<ServerConnection>(upgraded, (peer, end), endpoint)
            }
            WebSocketProtocol::Mqtt(endpoint) => {
                self.serve_upgraded::<MqttConnection>(upgraded, (peer, end), endpoint)
            }
        }
        response
    }

    fn context<E: ?Sized>(&self, endpoint: &Arc<E>) -> ListenerContext<E> {
        ListenerContext {
            endpoint: Arc::clone(endpoint),
            limits: Arc::clone(&self.limiter.limits),
            shutdown: self.shutdown.clone(),
        }
    }

    /// Drives the WebSocket that a connection has become.
    fn serve_upgraded<P: Protocol>(
        &self,
        upgraded: OnUpgrade,
        (peer, end): (Peer, ConnectionEnd),
        endpoint: &Arc<P::Endpoint>,
    ) {
        let context = self.context(endpoint);
        let counted = self.limiter.count(P::OVER_WEBSOCKETS);
        let limits = &self.limiter.limits;
        let max_message = limits.mqtt.max_packet.max(limits.amqp.max_message);
        let meter = Meter::new(peer.standing.clone(), limits);
        self.upgraded.spawn(async move {
            let client = peer.clone();
            let connection = pin!(async {
                let stream = TokioIo::new(upgraded.await?);
                let stream = BinaryStream::metered(stream, max_message, Arc::clone(&meter)).await;
                tokio::select! {
                    () = connection::drive::<P, _>(stream, peer, context) => {}
                    () = meter.overdue() => {
                        client.refuse(Refused::PacketTimeout, "a WebSocket message that did not come in time").await;
                    }
                }
                Ok::<(), hyper::Error>(())
            });
            match end.watch(connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(peer.addr = %client.addr, %error, "the client left before its WebSocket was open");
                }
                Err(reason) => client.report_refusal(reason, reason).await,
            }
            drop(counted);
        });
    }
}

/// The state that all requests of one connection share.
#[derive(Clone)]
struct Client {
    peer: Peer,
    deadlines: Arc<HttpDeadlines>,
    end: ConnectionEnd,
}

/// Returns the header that a proxy might read in another way: one that must come once and comes twice, or `Host`, if it is
/// missing (RFC 9112 §3.2).
fn ambiguous<B>(request: &Request<B>) -> Option<HeaderName> {
    let count = |name: &HeaderName| request.headers().get_all(name).iter().count();
    if request.version() == Version::HTTP_11 && count(&HOST) == 0 {
        return Some(HOST);
    }
    SINGLE.into_iter().find(|name| count(name) > 1)
}

/// Headers with one value that requests are judged by.
const SINGLE: [HeaderName; 5] = [HOST, AUTHORIZATION, CONTENT_TYPE, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION];

/// Returns a 400 that closes the connection: what follows may be the rest of a request that a proxy read in another way.
fn bad_request(header: &HeaderName) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("a request must have one header {header}\n")));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn builder(limiter: &ConnectionLimiter) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(None) // see `HttpDeadlines`
        .max_buf_size(limiter.limits.max_header_bytes.max(HYPER_MIN_BUFFER));
    builder
}

/// hyper takes no smaller buffer.
const HYPER_MIN_BUFFER: usize = 8192;
