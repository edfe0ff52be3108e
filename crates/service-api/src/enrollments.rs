//! Individual enrollments and enrollment groups: twelve of the routes.

use axum::response::Response;
use model::{IndividualEnrollment, RegistrationId};
use provisioning::Error;
use wire::service::{BulkError, Secrets, SelectAll, bulk_result_json, individual_json};

use crate::{
    ServiceApi,
    access::Granted,
    error::{Failure, described},
    reply,
    request::Call,
    resource::Resource,
};

/// Shows an enrollment.
pub(crate) async fn read<R: Resource>(
    api: &ServiceApi,
    granted: &Granted,
    call: &Call,
) -> Result<Response, Failure> {
    let enrollment: R = api.provisioning.read_enrollment(granted.instance(), &call.id(R::parse_id)?).await?;
    Ok(reply::ok(&enrollment.json(Secrets::Hidden)))
}

/// Shows an individual enrollment with the device's registration.
pub(crate) async fn read_individual(
    api: &ServiceApi,
    granted: &Granted,
    call: &Call,
) -> Result<Response, Failure> {
    let id = call.id(|text| RegistrationId::parse(text))?;
    let enrollment: IndividualEnrollment = api.provisioning.read_enrollment(granted.instance(), &id).await?;
    let (registration, damaged) = match api.provisioning.standing_registration(granted.instance(), &id).await
    {
        Err(Error::Damaged(record)) => (None, vec![record]),
        registration => (registration?, Vec::new()),
    };
    let shown = individual_json(&enrollment, registration.as_ref(), Secrets::Hidden);
    Ok(reply::warned(reply::ok(&shown), &damaged))
}

/// Creates or replaces an enrollment.
pub(crate) async fn put<R: Resource>(
    api: &ServiceApi,
    granted: &Granted,
    call: &Call,
) -> Result<Response, Failure> {
    let id = call.id(R::parse_id)?;
    let draft = R::parse_draft(call.body())?;
    let drafted = R::drafted_id(&draft);
    if *drafted != id {
        return Err(Failure::Argument(format!("{} is {drafted}, but the path says {id}", R::ID_NAME)));
    }
    let enrollment: R = api.provisioning.put_enrollment(granted.instance(), draft, call.if_match()?).await?;
    Ok(reply::ok(&enrollment.json(Secrets::Shown)))
}

/// Deletes an enrollment.
pub(crate) async fn delete<R: Resource>(
    api: &ServiceApi,
    granted: &Granted,
    call: &Call,
) -> Result<Response, Failure> {
    let id = call.id(R::parse_id)?;
    api.provisioning.delete_enrollment::<R>(granted.instance(), id, call.if_match()?).await?;
    Ok(reply::deleted())
}

/// Shows an attestation mechanism with its secrets. A body is ignored.
pub(crate) async fn mechanism<R: Resource>(
    api: &ServiceApi,
    granted: &Granted,
    call: &Call,
) -> Result<Response, Failure> {
    let enrollment: R = api.provisioning.read_attestation(granted.instance(), &call.id(R::parse_id)?).await?;
    Ok(reply::ok(&enrollment.mechanism_json()))
}

/// Lists enrollments.
pub(crate) async fn query<R: Resource>(
    api: &ServiceApi,
    granted: &Granted,
    call: &Call,
) -> Result<Response, Failure> {
    SelectAll::parse_body(call.body())?;
    let request = call.page(R::COLLECTION)?;
    let limit = request.limit;
    let page = api.provisioning.query_enrollments::<R>(granted.instance(), request).await?;
    Ok(reply::page(R::COLLECTION, &page, limit, |enrollment| enrollment.json(Secrets::Hidden)))
}

/// Changes several enrollments. It succeeds as a call even when no item does.
pub(crate) async fn bulk<R: Resource>(
    api: &ServiceApi,
    granted: &Granted,
    call: &Call,
) -> Result<Response, Failure> {
    let items = R::parse_bulk(call.body())?;
    let outcomes = api.provisioning.change_enrollments::<R>(granted.instance(), items).await?;
    let errors: Vec<BulkError> = outcomes
        .into_iter()
        .filter_map(|(id, outcome)| {
            let (code, message) = described(&outcome.err()?);
            Some(BulkError { id: id.to_string(), code, message })
        })
        .collect();
    Ok(reply::ok(&bulk_result_json(R::ID_NAME, &errors)))
}
