//! Individual enrollments and enrollment groups.

use axum::response::Response;
use model::{IndividualEnrollment, RegistrationId};
use provisioning::{
    Error,
    enroll::{KeysReplaced, MAX_BULK_ITEMS, Written},
};
use wire::service::{
    BulkError, Secrets, StateShown, UnreadableItem, UnreadableMember, bulk_result_json, individual_json,
    parse_key_selection,
};

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
    let found = match api.provisioning.standing_registration(granted.instance(), &id).await {
        Err(Error::Damaged(record)) => Err(record),
        registration => Ok(registration?),
    };
    let state = found.as_ref().map_or(StateShown::No, |registration| StateShown::Yes(registration.as_ref()));
    let shown = individual_json(&enrollment, state, Secrets::Hidden);
    let damaged: Vec<_> = found.err().into_iter().collect();
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
    let (instance, by) = (granted.instance(), granted.actor());
    let written = api.provisioning.put_enrollment::<R>(instance, by, draft, call.if_match()?).await?;
    let Written { enrollment, kept } = written;
    let mut warnings = api.provisioning.enrollment_warnings(instance, &enrollment).await?;
    warnings.extend(kept.map(|kept| kept.to_string()));
    let shown = enrollment.json(Secrets::Shown);
    warnings.extend(UnreadableMember::of_enrollment(&shown).iter().map(UnreadableMember::to_string));
    Ok(reply::warned(reply::ok(&shown), &warnings))
}

/// Deletes an enrollment.
pub(crate) async fn delete<R: Resource>(
    api: &ServiceApi,
    granted: &Granted,
    call: &Call,
) -> Result<Response, Failure> {
    let id = call.id(R::parse_id)?;
    api.provisioning
        .delete_enrollment::<R>(granted.instance(), granted.actor(), id, call.if_match()?)
        .await?;
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

/// Replaces symmetric keys by new ones and shows them. Not part of the hosted service's API, in which a key is replaced by
/// one that the client makes.
pub(crate) async fn regenerate_keys<R: Resource>(
    api: &ServiceApi,
    granted: &Granted,
    call: &Call,
) -> Result<Response, Failure> {
    let (id, selection) = (call.id(R::parse_id)?, parse_key_selection(call.body())?);
    let if_match = call.if_match()?;
    let enrollment: R = api
        .provisioning
        .regenerate_keys(granted.instance(), granted.actor(), (&id, selection), if_match)
        .await?;
    Ok(reply::warned(reply::ok(&enrollment.json(Secrets::Shown)), &[KeysReplaced]))
}

/// Lists enrollments. The body is not read: the hosted service answers everything whatever the query says, and its
/// clients send an object as text, `{}`, `*` or nothing.
pub(crate) async fn query<R: Resource>(
    api: &ServiceApi,
    granted: &Granted,
    call: &Call,
) -> Result<Response, Failure> {
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
    if !(1..=MAX_BULK_ITEMS).contains(&items.len()) {
        let count = items.len();
        return Err(Failure::Argument(format!(
            "a bulk operation takes 1 to {MAX_BULK_ITEMS} items, not {count}"
        )));
    }
    let (mut places, mut readable, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for (place, item) in items.into_iter().enumerate() {
        match item {
            Ok(item) => {
                places.push(place);
                readable.push(item);
            }
            Err(unreadable) => errors.push((place, unreadable_item(unreadable))),
        }
    }
    let mut warnings = Vec::new();
    if !readable.is_empty() {
        let outcomes =
            api.provisioning.change_enrollments::<R>(granted.instance(), granted.actor(), readable).await?;
        for (place, (id, outcome)) in places.into_iter().zip(outcomes) {
            match outcome {
                Ok(Some(written)) => warnings.extend(written_warning(api, granted, (&id, written)).await?),
                Ok(None) => {}
                Err(error) => {
                    let (code, message) = described(&error);
                    errors.push((place, BulkError { id: id.to_string(), code, message }));
                }
            }
        }
    }
    errors.sort_by_key(|(place, _)| *place);
    let errors: Vec<BulkError> = errors.into_iter().map(|(_, error)| error).collect();
    Ok(reply::warned(reply::ok(&bulk_result_json(R::ID_NAME, &errors)), &warnings))
}

/// Returns the warnings about an enrollment that an item of a bulk operation wrote, with its ID, in one entry: the header then
/// names every item. They are in the header, because the body is of a schema that clients check.
async fn written_warning<R: Resource>(
    api: &ServiceApi,
    granted: &Granted,
    (id, Written { enrollment, kept }): (&R::Id, Written<R>),
) -> Result<Option<String>, Failure> {
    let faults = api.provisioning.enrollment_warnings(granted.instance(), &enrollment).await?;
    let warnings: Vec<String> = kept.iter().map(ToString::to_string).chain(faults).collect();
    Ok((!warnings.is_empty()).then(|| format!("{id}: {}", warnings.join(", "))))
}

/// An item that cannot be read fails alone, with the code of a body that cannot be.
fn unreadable_item(UnreadableItem { id, error }: UnreadableItem) -> BulkError {
    let (code, message) = Failure::from(error).code_and_message();
    BulkError { id, code, message }
}
