//! The service operations endpoint: what operators and their tools call to keep enrollments and to see registrations.
//!
//! A request goes through four steps, one module each: [`route`] says what is asked for, [`access`] proves that the
//! caller may, `enrollments`, `registrations`, `certificates`, `revocation`, `links`, `explain` and `usage` translate between JSON
//! and the verbs of `provisioning`, and `error` turns whatever went wrong into the documented body.

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
mod registrations;
mod reply;
mod request;
mod resource;
mod revocation;
mod route;
mod usage;

use std::sync::Arc;

use axum::{Router, body::Body, extract::State, response::Response};
use http::Request;
use model::{EnrollmentGroup, IndividualEnrollment};
use provisioning::{
    Provisioning,
    ports::{Clock, Entropy},
};

use crate::{access::Granted, audit::CallRecord, error::Failure, request::Call, route::Endpoint};

pub use audit::AUDIT;
pub use request::{MAX_BODY_BYTES, MAX_LIST_BODY_BYTES};
pub use route::{is_service_path, routes};

/// An extension of requests: called as soon as the caller is granted its route, before the body is read.
#[derive(Clone)]
pub struct OnGrant(pub Arc<dyn Fn() + Send + Sync>);

/// What the endpoint is made of.
#[derive(Clone)]
pub struct ServiceApi {
    provisioning: Arc<Provisioning>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl ServiceApi {
    /// The endpoint over these verbs. The clock judges tokens and dates errors, the entropy names errors.
    pub fn new(provisioning: Arc<Provisioning>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        ServiceApi { provisioning, clock, entropy }
    }
}

/// All routes of the endpoint. It answers every path itself: use [`is_service_path`] to tell which requests are its.
pub fn router(api: ServiceApi) -> Router {
    // One handler, because paths match without regard to case and with a trailing slash: see `route`.
    Router::new().fallback(handle).with_state(api)
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
    let target = route::parse(&head.method, head.uri.path())?;
    request::api_version(&head)?;
    let instance = access::instance(api, &head).await?;
    record.note_instance(&instance.id_scope);
    let granted = access::grant(instance, &head, target.route, api.clock.now())?;
    record.note_grant(&granted, target.route.endpoint);
    if let Some(OnGrant(note)) = head.extensions.get() {
        note();
    }
    let body = request::read_body(&head, body, target.route.endpoint).await?;
    dispatch(api, &granted, target.route.endpoint, &Call::new(target.id, head, body)).await
}

async fn dispatch(
    api: &ServiceApi,
    granted: &Granted,
    endpoint: Endpoint,
    call: &Call,
) -> Result<Response, Failure> {
    match endpoint {
        Endpoint::IndividualRead => enrollments::read_individual(api, granted, call).await,
        Endpoint::IndividualPut => enrollments::put::<IndividualEnrollment>(api, granted, call).await,
        Endpoint::IndividualDelete => enrollments::delete::<IndividualEnrollment>(api, granted, call).await,
        Endpoint::IndividualMechanism => {
            enrollments::mechanism::<IndividualEnrollment>(api, granted, call).await
        }
        Endpoint::IndividualKeys => {
            enrollments::regenerate_keys::<IndividualEnrollment>(api, granted, call).await
        }
        Endpoint::IndividualQuery => enrollments::query::<IndividualEnrollment>(api, granted, call).await,
        Endpoint::IndividualBulk => enrollments::bulk::<IndividualEnrollment>(api, granted, call).await,
        Endpoint::GroupRead => enrollments::read::<EnrollmentGroup>(api, granted, call).await,
        Endpoint::GroupPut => enrollments::put::<EnrollmentGroup>(api, granted, call).await,
        Endpoint::GroupDelete => enrollments::delete::<EnrollmentGroup>(api, granted, call).await,
        Endpoint::GroupMechanism => enrollments::mechanism::<EnrollmentGroup>(api, granted, call).await,
        Endpoint::GroupKeys => enrollments::regenerate_keys::<EnrollmentGroup>(api, granted, call).await,
        Endpoint::GroupQuery => enrollments::query::<EnrollmentGroup>(api, granted, call).await,
        Endpoint::GroupBulk => enrollments::bulk::<EnrollmentGroup>(api, granted, call).await,
        Endpoint::RegistrationRead => registrations::read(api, granted, call).await,
        Endpoint::RegistrationDelete => registrations::delete(api, granted, call).await,
        Endpoint::RegistrationQuery => registrations::query(api, granted, call).await,
        Endpoint::RegistrationAttempts => registrations::attempts(api, granted, call).await,
        Endpoint::Explain => explain::explain(api, granted, call).await,
        Endpoint::RegistrationList => assignments::list(api, granted, call).await,
        Endpoint::RegistrationExplain => assignments::explain(api, granted, call).await,
        Endpoint::RegistrationCancel => assignments::cancel(api, granted, call).await,
        Endpoint::CleanupList => assignments::cleanups(api, granted, call).await,
        Endpoint::CleanupConfirm => assignments::confirm(api, granted).await,
        Endpoint::CleanupForget => assignments::forget(api, granted, call).await,
        Endpoint::LogRead => change_log::read(api, granted, call).await,
        Endpoint::Usage => usage::read(api, granted, call).await,
        Endpoint::LatencyRead => latency::read(api, granted, call),
        Endpoint::CertificateList => certificates::list(api, granted).await,
        Endpoint::CertificateRead => certificates::read(api, granted, call).await,
        Endpoint::CertificatePut => certificates::put(api, granted, call).await,
        Endpoint::CertificateDelete => certificates::delete(api, granted, call).await,
        Endpoint::CertificateCode => certificates::code(api, granted, call).await,
        Endpoint::CertificateVerify => certificates::verify(api, granted, call).await,
        Endpoint::RevocationRead => revocation::read(api, granted, call).await,
        Endpoint::RevocationPut => revocation::put(api, granted, call).await,
        Endpoint::RevocationDelete => revocation::delete(api, granted, call).await,
        Endpoint::BlockList => revocation::blocks(api, granted).await,
        Endpoint::BlockPut => revocation::block(api, granted, call).await,
        Endpoint::BlockDelete => revocation::unblock(api, granted, call).await,
        Endpoint::Expiring => revocation::expiring(api, granted, call).await,
        Endpoint::LinkedHubList => links::list(api, granted),
        Endpoint::LinkedHubRead => links::read(api, granted, call),
        Endpoint::LinkedHubPut => links::put(api, granted, call).await,
        Endpoint::LinkedHubDelete => links::delete(api, granted, call).await,
        Endpoint::LinkedHubCheck => links::check(api, granted, call).await,
        Endpoint::DefaultPolicyRead => Ok(links::read_default_policy(granted)),
        Endpoint::DefaultPolicyPut => links::put_default_policy(api, granted, call).await,
        Endpoint::WebhookKey => links::webhook_key(granted),
    }
}
