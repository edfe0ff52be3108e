//! The service operations endpoint: what operators and their tools call to keep enrollments and to see registrations.
//!
//! A request passes four steps, one module each: [`route`] finds its row in the table of routes, [`access`] proves that the
//! caller has the right, the handler of the row (`enrollments`, `registrations`, …) translates between JSON and the verbs
//! of `provisioning`, and [`error`] turns failures into the documented body. [`openapi`] describes all routes.

mod access;
mod assignments;
mod audit;
mod certificates;
mod change_log;
mod enrollments;
mod error;
mod explain;
mod latency;
mod links;
mod openapi;
mod registrations;
mod reply;
mod request;
mod resource;
mod revocation;
mod route;
mod usage;

use std::sync::Arc;

use axum::{Router, body::Body, extract::State, response::Response, routing::get};
use http::Request;
use provisioning::{
    Provisioning,
    ports::{AssignmentRuns, Clock, Entropy},
};

use crate::{audit::CallRecord, error::Failure, request::Call, route::Target};

pub use audit::AUDIT;
pub use openapi::document as openapi_document;
pub use request::{MAX_BODY_BYTES, MAX_LIST_BODY_BYTES};
pub use route::{is_service_path, routes};

/// An extension of requests: called as soon as the caller is granted its route, before the body is read.
#[derive(Clone)]
pub struct OnGrant(pub Arc<dyn Fn() + Send + Sync>);

/// What the endpoint is made of.
#[derive(Clone)]
pub struct ServiceApi {
    provisioning: Arc<Provisioning>,
    runs: Arc<dyn AssignmentRuns>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl ServiceApi {
    /// Creates the endpoint over these verbs. Runs whose records it changes are woken. The clock judges tokens and dates
    /// errors, the entropy names errors.
    pub fn new(
        provisioning: Arc<Provisioning>,
        runs: Arc<dyn AssignmentRuns>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        ServiceApi { provisioning, runs, clock, entropy }
    }
}

/// All routes of the endpoint. It answers every path itself: use [`is_service_path`] to tell which requests are its.
pub fn router(api: ServiceApi) -> Router {
    // One handler for all other paths, because they match without regard to case and with a trailing slash.
    Router::new().route(openapi::PATH, get(openapi::read).fallback(handle)).fallback(handle).with_state(api)
}

async fn handle(State(api): State<ServiceApi>, request: Request<Body>) -> Response {
    let mut record = CallRecord::new(&request);
    match answer(&api, request, &mut record).await {
        Ok(response) => {
            record.log_success();
            response
        }
        Err(failure) => reply::failure(&failure, &api, &record),
    }
}

async fn answer(
    api: &ServiceApi,
    request: Request<Body>,
    record: &mut CallRecord,
) -> Result<Response, Failure> {
    let (head, body) = request.into_parts();
    let Target { route, parameters } = route::parse(&head.method, head.uri.path())?;
    request::api_version(&head)?;
    let instance = access::instance(api, &head).await?;
    record.note_instance(&instance.id_scope);
    let granted = access::grant(instance, &head, route, api.clock.now())?;
    record.note_grant(&granted, route);
    if let Some(OnGrant(note)) = head.extensions.get() {
        note();
    }
    let body = request::read_body(&head, body, route).await?;
    (route.handler)(api, &granted, &Call::new(parameters, head, body)).await
}
