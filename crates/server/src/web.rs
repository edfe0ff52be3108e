//! The router of the HTTPS port, for both the device provisioning endpoint and the service operations endpoint.

use std::sync::Arc;

use axum::{Router, body::Body, extract::ConnectInfo, response::Response};
use http::{HeaderValue, Method, Request, header::CONTENT_TYPE};
use net::{Peer, Purpose};
use service_api::OnGrant;
use tower_service::Service;

/// The path of health checks of load balancers.
const HEALTH: &str = "/health";

/// Whether the first segment of a path leads to another endpoint than that of devices, in any case. No ID scope may be such a
/// word, because the paths of devices begin with their ID scope.
pub(crate) fn is_reserved(segment: &str) -> bool {
    let path = format!("/{segment}");
    path.eq_ignore_ascii_case(HEALTH) || service_api::is_service_path(&path)
}

/// Routes each request by its path to one of the endpoints.
pub(crate) fn router(device: Router, service: Router) -> Router {
    Router::new().fallback(move |mut request: Request<Body>| {
        let (mut device, mut service) = (device.clone(), service.clone());
        async move {
            if let Some(Peer { addr, standing, .. }) = request.extensions().get::<Peer>().cloned() {
                // As axum's own listeners do; the service endpoint reads the address from it.
                request.extensions_mut().insert(ConnectInfo(addr));
                let prove = move || standing.mark_proven(Purpose::Operations);
                request.extensions_mut().insert(OnGrant(Arc::new(prove)));
            }
            let path = request.uri().path();
            if request.method() == Method::GET && path == HEALTH {
                return serving();
            }
            let owner = if service_api::is_service_path(path) { &mut service } else { &mut device };
            // The error type of a router has no values.
            owner.call(request).await.unwrap_or_else(|impossible| match impossible {})
        }
    })
}

fn serving() -> Response {
    let mut response = Response::new(Body::from("{\"status\":\"serving\"}"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
