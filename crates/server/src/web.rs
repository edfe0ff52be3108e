//! The one HTTPS port: device provisioning endpoint and service operations endpoint side by side.

use std::sync::Arc;

use axum::{Router, body::Body, extract::ConnectInfo, response::Response};
use http::{HeaderValue, Method, Request, header::CONTENT_TYPE};
use net::{Peer, Purpose};
use service_api::OnGrant;
use tower_service::Service;

/// Where load balancers ask whether the process serves.
const HEALTH: &str = "/health";

/// Sends each request to whom its path belongs: an ID scope never collides with the service endpoint's words.
pub(crate) fn router(device: Router, service: Router) -> Router {
    Router::new().fallback(move |mut request: Request<Body>| {
        let (mut device, mut service) = (device.clone(), service.clone());
        async move {
            if let Some(Peer { addr, standing, .. }) = request.extensions().get::<Peer>().cloned() {
                // The form in which axum's own listeners tell it; the service endpoint knows no other.
                request.extensions_mut().insert(ConnectInfo(addr));
                let prove = move || standing.mark_proven(Purpose::Operations);
                request.extensions_mut().insert(OnGrant(Arc::new(prove)));
            }
            let path = request.uri().path();
            if request.method() == Method::GET && path == HEALTH {
                return serving();
            }
            let owner = if service_api::is_service_path(path) { &mut service } else { &mut device };
            // A router's error type has no values.
            owner.call(request).await.unwrap_or_else(|impossible| match impossible {})
        }
    })
}

fn serving() -> Response {
    let mut response = Response::new(Body::from("{\"status\":\"serving\"}"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
