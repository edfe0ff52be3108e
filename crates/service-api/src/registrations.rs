//! Registrations: made by devices, read and deleted by operators.

use axum::response::Response;
use model::{EnrollmentGroupId, RegistrationId};
use wire::{
    device::registration_state,
    service::{Collection, attempts_json},
};

use crate::{ServiceApi, access::Granted, error::Failure, reply, request::Call};

/// Shows a registration.
pub(crate) async fn read(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let id = call.id(|text| RegistrationId::parse(text))?;
    let registration = api.provisioning.read_registration(granted.instance(), &id).await?;
    Ok(reply::ok(&registration_state(&registration)))
}

/// Deletes a registration.
pub(crate) async fn delete(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let id = call.id(|text| RegistrationId::parse(text))?;
    let (instance, if_match) = (granted.instance(), call.if_match()?);
    api.provisioning.delete_registration(instance, granted.actor(), id.clone(), if_match).await?;
    api.runs.wake(&instance.id_scope, &id);
    Ok(reply::deleted())
}

/// Lists the registrations that came through a group. A query that some clients send along is not read.
pub(crate) async fn query(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let group = call.id(|text| EnrollmentGroupId::parse(text))?;
    let request = call.page(Collection::Registrations)?;
    let limit = request.limit;
    let page = api.provisioning.query_registrations(granted.instance(), &group, request).await?;
    Ok(reply::page(Collection::Registrations, &page, limit, registration_state))
}

/// Shows the last registrations under a name that were refused, and why; also of a name that was never let in. Not part of
/// the hosted service's API.
pub(crate) async fn attempts(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let id = call.id(|text| RegistrationId::parse(text))?;
    let attempts = api.provisioning.attempts(granted.instance(), &id).await?;
    Ok(reply::warned(reply::ok(&attempts_json(&attempts.items)), &attempts.damaged))
}
