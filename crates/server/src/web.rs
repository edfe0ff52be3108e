//! The one HTTPS port: device provisioning endpoint and service operations endpoint side by side.

use std::sync::Arc;

use axum::{Router, body::Body, response::Response};
use http::{HeaderValue, Method, Request, StatusCode, header::CONTENT_TYPE};
use net::Peer;
use tower_service::Service;

use crate::metrics::{self, Metrics};

/// Where load balancers ask whether the process serves.
const HEALTH: &str = "/health";

/// Where monitoring on the same machine reads what should be looked at.
const METRICS: &str = "/metrics";

/// Sends each request to whom its path belongs: an ID scope never collides with the service endpoint's words.
pub(crate) fn router(device: Router, service: Router, metrics: Arc<Metrics>) -> Router {
    Router::new().fallback(move |request: Request<Body>| {
        let (mut device, mut service, metrics) = (device.clone(), service.clone(), Arc::clone(&metrics));
        async move {
            let (path, is_get) = (request.uri().path(), request.method() == Method::GET);
            if is_get && path == HEALTH {
                return answer(StatusCode::OK, "application/json", "{\"status\":\"serving\"}");
            }
            if is_get && path == METRICS {
                return read(&metrics, request.extensions().get());
            }
            let owner = if service_api::is_service_path(path) { &mut service } else { &mut device };
            // A router's error type has no values.
            owner.call(request).await.unwrap_or_else(|impossible| match impossible {})
        }
    })
}

/// The metrics for this machine; they name all instances, which devices and operators of one must not learn.
fn read(metrics: &Metrics, peer: Option<&Peer>) -> Response {
    if peer.is_some_and(|peer| peer.addr.ip().to_canonical().is_loopback()) {
        return answer(StatusCode::OK, metrics::MEDIA_TYPE, metrics.text());
    }
    answer(StatusCode::FORBIDDEN, "text/plain", "metrics are for loopback addresses only\n")
}

fn answer(status: StatusCode, media_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn metrics_are_for_this_machine_only() {
        let mut router = router(Router::new(), Router::new(), Arc::default());
        for (peer, status) in [
            (Some("127.0.0.1:5000"), StatusCode::OK),
            (Some("[::1]:5000"), StatusCode::OK),
            (Some("[::ffff:127.0.0.1]:5000"), StatusCode::OK),
            (Some("192.0.2.1:5000"), StatusCode::FORBIDDEN),
            (Some("10.0.0.1:5000"), StatusCode::FORBIDDEN),
            (Some("[::ffff:192.0.2.1]:5000"), StatusCode::FORBIDDEN),
            (None, StatusCode::FORBIDDEN),
        ] {
            let mut request = Request::get(METRICS).body(Body::empty()).unwrap();
            if let Some(addr) = peer {
                let peer = Peer { addr: addr.parse().unwrap(), certificates: Arc::default() };
                request.extensions_mut().insert(peer);
            }
            let response = router.call(request).await.unwrap();
            assert_eq!(response.status(), status, "{peer:?}");
            let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
            assert_eq!(body.starts_with(b"# HELP muster_"), status == StatusCode::OK, "{peer:?}");
        }
    }
}
