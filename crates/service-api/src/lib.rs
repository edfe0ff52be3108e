//! The service operations endpoint: operators and their tools manage enrollments here, and read registrations.
//!
//! A request passes four steps, one module each: [`route`] finds its row in the table of routes, [`access`] proves that the
//! caller has the right (with [`bearer`] for tokens of an identity provider), the handler of the row (`enrollments`, `registrations`, …) translates between JSON and the verbs
//! of `provisioning`, and [`error`] turns failures into the documented body. [`openapi`] describes all routes.

mod access;
mod assignments;
mod audit;
mod bearer;
mod certificates;
mod change_log;
mod enrollments;
mod error;
mod explain;
mod latency;
mod links;
mod management;
mod openapi;
mod policies;
mod private_links;
mod quotas;
mod registrations;
mod reply;
mod request;
mod resource;
mod revocation;
mod route;
mod tally;
mod usage;

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::{Router, body::Body, extract::State, response::Response, routing::get};
use http::Request;
use model::IdScope;
use provisioning::{
    Provisioning,
    ports::{AssignmentRuns, Clock, Entropy},
};

use crate::{
    access::CalledHost,
    audit::{CallRecord, NoSink},
    error::Failure,
    quotas::OperationLimiter,
    request::Call,
    route::{Answer, Handler, Target},
    tally::Tally,
};

pub use access::{GrantScope, Management, OperatorAccess};
pub use audit::{AUDIT, AuditEntry, AuditFailure, AuditOutcome, AuditSink};
pub use bearer::{
    BearerSettings, BearerTokens, ClaimPointer, ClaimPointerError, KeySource, RoleRow, RoleTable,
};
pub use openapi::document as openapi_document;
pub use request::MAX_LIST_BODY_BYTES;
pub use route::{is_service_path, routes};

/// An extension of requests. The endpoint calls it as soon as the caller has proved the right for the route, before it reads
/// the body.
#[derive(Clone)]
pub struct OnGrant(pub Arc<dyn Fn() + Send + Sync>);

/// The endpoint's state.
#[derive(Clone)]
pub struct ServiceApi {
    provisioning: Arc<Provisioning>,
    runs: Arc<dyn AssignmentRuns>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    audit: Arc<dyn AuditSink>,
    tally: Arc<Tally>,
    operations: Arc<OperationLimiter>,
    access: Arc<OperatorAccess>,
    /// Where the next request finds its `access`.
    current_access: Arc<ArcSwap<OperatorAccess>>,
}

impl ServiceApi {
    /// Creates the endpoint over these verbs. `runs` is for waking the runs whose records it changes, `clock` for the expiry of
    /// tokens and the time of errors, `entropy` for tracking IDs.
    pub fn new(
        provisioning: Arc<Provisioning>,
        runs: Arc<dyn AssignmentRuns>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let (access, audit) = (Arc::<OperatorAccess>::default(), Arc::new(NoSink));
        ServiceApi {
            provisioning,
            runs,
            clock,
            entropy,
            audit,
            tally: Arc::default(),
            operations: Arc::default(),
            current_access: Arc::new(ArcSwap::new(Arc::clone(&access))),
            access,
        }
    }

    /// Records calls of operators here.
    pub fn with_audit(self, audit: Arc<dyn AuditSink>) -> Self {
        ServiceApi { audit, ..self }
    }

    /// Judges each request by what this has at its begin.
    #[must_use]
    pub fn with_access(self, current_access: Arc<ArcSwap<OperatorAccess>>) -> Self {
        ServiceApi { current_access, ..self }
    }

    fn with_current_access(self) -> Self {
        ServiceApi { access: self.current_access.load_full(), ..self }
    }

    /// Returns how many calls since the start were beyond the operations per minute of the instance.
    pub fn throttled_operations(&self, scope: &IdScope) -> u64 {
        self.tally.throttled_of(scope)
    }

    /// Returns how many calls since the start came from addresses that the instance does not admit.
    pub fn refused_addresses(&self, scope: &IdScope) -> u64 {
        self.tally.refused_addresses_of(scope)
    }
}

/// Creates the router. It answers every path: [`is_service_path`] tells which requests are for it.
pub fn router(api: ServiceApi) -> Router {
    // One handler for all other paths, because they match without regard to case and with a trailing slash.
    Router::new().route(openapi::PATH, get(openapi::read).fallback(handle)).fallback(handle).with_state(api)
}

/// Answers a request. A route that is audited runs in a task of its own: hyper drops the handler of a client that hangs up, and
/// what it committed until then would have no line in the audit trail.
async fn handle(State(api): State<ServiceApi>, request: Request<Body>) -> Response {
    let api = api.with_current_access();
    let target = route::parse(request.method(), request.uri().path());
    let is_audited = target.as_ref().is_ok_and(|target| target.route.is_audited());
    let response = respond(api, request, target);
    if !is_audited {
        return response.await;
    }
    match tokio::spawn(response).await {
        Ok(response) => response,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => reply::stopped(),
        },
    }
}

async fn respond(api: ServiceApi, request: Request<Body>, target: Result<Target, Failure>) -> Response {
    let mut record = CallRecord::new(&request);
    match answer(&api, request, target, &mut record).await {
        Ok(response) => {
            record.log_success(&api);
            response
        }
        Err(failure) => reply::failure(&failure, &api, &record),
    }
}

async fn answer(
    api: &ServiceApi,
    request: Request<Body>,
    target: Result<Target, Failure>,
    record: &mut CallRecord,
) -> Answer {
    let target = target?;
    let route = target.route;
    record.note_route(route);
    let (head, body) = request.into_parts();
    request::api_version(&head)?;
    let called_host = access::called_host(api, &head).await?;
    if let CalledHost::Instance(instance) = &called_host {
        record.note_instance(&instance.id_scope);
        if !route::is_management_path(head.uri.path()) {
            access::reject_address(api, instance, &head)?;
        }
    }
    let operator = access::authenticate(api, &called_host, &head).await?;
    record.note_operator(&operator);
    let proven = || {
        if let Some(OnGrant(note)) = head.extensions.get() {
            note();
        }
    };
    match route.handler {
        Handler::Instance(handler) => {
            let resource = management::key_in(&target);
            let instance = access::instance(api, &called_host, &operator, resource.as_ref()).await?;
            record.note_instance(&instance.id_scope);
            if resource.is_some() {
                access::reject_address_at_resource(api, (&instance, &operator), &head)?;
            }
            record.note_operator(&operator);
            let granted = access::grant(operator, instance, route)?;
            record.note_grant(route);
            proven();
            api.operations.admit(granted.subject(), route).inspect_err(|_| {
                api.tally.count_throttled(&granted.subject().id_scope);
            })?;
            handler(&Call::read(api, granted, target, (head, body)).await?).await
        }
        Handler::Management(handler) => {
            // The instance for the log is that of the path, and not that of the host.
            let named = match management::key_in(&target) {
                Some(key) => access::visible(api, &operator, &key).await?,
                None => None,
            };
            record.note_target(named.as_deref().map(|instance| &instance.id_scope));
            if let Some(instance) = &named {
                access::reject_address_at_resource(api, (instance, &operator), &head)?;
            }
            let granted = access::grant_anywhere(operator, called_host, route)?;
            record.note_grant(route);
            proven();
            handler(&Call::read(api, granted, target, (head, body)).await?).await
        }
    }
}
