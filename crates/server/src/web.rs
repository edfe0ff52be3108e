//! The router of the HTTPS port, for both the device provisioning endpoint and the service operations endpoint.

use std::sync::Arc;

use axum::{Router, body::Body, extract::ConnectInfo, response::Response};
use device_api::DeviceApi;
use http::{HeaderValue, Method, Request, StatusCode, header::CONTENT_TYPE};
use net::{Peer, Purpose};
use runner::AssignmentRunner;
use service_api::{OnGrant, ServiceApi};
use tower_service::Service;

/// Whether the process serves: a restart would help if it does not answer.
const ALIVE: [&str; 2] = ["/healthz", "/health"];

/// Whether the process can register devices: a load balancer sends them elsewhere if not.
const READY: &str = "/readyz";

/// Whether the first segment of a path leads to another endpoint than that of devices, in any case. No ID scope may be such a
/// word, because the paths of devices begin with their ID scope.
pub(crate) fn is_reserved(segment: &str) -> bool {
    let path = format!("/{segment}");
    let is_check = ALIVE.iter().chain([&READY]).any(|check| path.eq_ignore_ascii_case(check));
    is_check || service_api::is_service_path(&path)
}

/// Routes each request by its path to one of the endpoints.
///
/// The process is ready while it has the lease of its runner: the database was away for less than half of the time
/// after which other processes take over.
pub(crate) fn router(device: &DeviceApi, service: &ServiceApi, runs: AssignmentRunner) -> Router {
    let (device, service) = (device.router(), service_api::router(service.clone()));
    Router::new().fallback(move |mut request: Request<Body>| {
        let (mut device, mut service) = (device.clone(), service.clone());
        let runs = runs.clone();
        async move {
            if let Some(Peer { addr, standing, .. }) = request.extensions().get::<Peer>().cloned() {
                // As axum's own listeners do; the service endpoint reads the address from it.
                request.extensions_mut().insert(ConnectInfo(addr));
                let prove = move || standing.mark_proven(Purpose::Operations);
                request.extensions_mut().insert(OnGrant(Arc::new(prove)));
            }
            let path = request.uri().path();
            match path {
                _ if !matches!(*request.method(), Method::GET | Method::HEAD) => {}
                READY if runs.has_lease() => return state(StatusCode::OK, "ready"),
                READY => {
                    return state(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "this process cannot write to its database",
                    );
                }
                _ if ALIVE.contains(&path) => return state(StatusCode::OK, "serving"),
                _ => {}
            }
            let owner = if service_api::is_service_path(path) { &mut service } else { &mut device };
            // The error type of a router has no values.
            owner.call(request).await.unwrap_or_else(|impossible| match impossible {})
        }
    })
}

fn state(status: StatusCode, text: &str) -> Response {
    let mut response = Response::new(Body::from(format!("{{\"status\":\"{text}\"}}")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
