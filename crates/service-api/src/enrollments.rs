//! Individual enrollments and enrollment groups.

use axum::response::Response;
use model::{EnrollmentSearch, IdPrefix, IndividualEnrollment, RegistrationId};
use provisioning::{
    Error,
    enroll::{ImportOutcome, KeysReplaced, MAX_BULK_ITEMS, MAX_IMPORT_ITEMS, Written},
    search::SearchMethod,
};
use wire::service::{
    BulkError, ImportBody, ImportCounts, Secrets, StateShown, UnreadableItem, UnreadableMember,
    bulk_result_json, import_result_json, individual_json, parse_enrollment_search, parse_key_selection,
};

use crate::{error::Failure, reply, request::Call, resource::Resource, route::Answer};

/// Returns an enrollment.
pub(crate) async fn read<R: Resource>(call: &Call) -> Answer {
    let enrollment: R = call.verbs().read_enrollment(call.instance(), &call.id(R::parse_id)?).await?;
    Ok(reply::ok(&enrollment.json(Secrets::Hidden)))
}

/// Returns an individual enrollment with the state of the device's registration.
pub(crate) async fn read_individual(call: &Call) -> Answer {
    let id = call.id(|text| RegistrationId::parse(text))?;
    let enrollment: IndividualEnrollment = call.verbs().read_enrollment(call.instance(), &id).await?;
    let found = match call.verbs().find_registration(call.instance(), &id).await {
        Err(Error::Damaged(record)) => Err(record),
        registration => Ok(registration?),
    };
    let state = found.as_ref().map_or(StateShown::No, |registration| StateShown::Yes(registration.as_ref()));
    let shown = individual_json(&enrollment, state, Secrets::Hidden);
    let damaged: Vec<_> = found.err().into_iter().collect();
    Ok(reply::warned(reply::ok(&shown), &damaged))
}

/// Creates or replaces an enrollment.
pub(crate) async fn put<R: Resource>(call: &Call) -> Answer {
    let id = call.id(R::parse_id)?;
    let draft = R::parse_draft(call.body())?;
    let drafted = R::drafted_id(&draft);
    if *drafted != id {
        return Err(Failure::Argument(format!("{} is {drafted}, but the path says {id}", R::ID_NAME)));
    }
    let (instance, by) = (call.instance(), call.actor());
    let written = call.verbs().put_enrollment::<R>(instance, by, draft, call.if_match()?).await?;
    let Written { enrollment, kept } = written;
    let mut warnings = call.verbs().enrollment_warnings(instance, &enrollment).await?;
    warnings.extend(kept.map(|kept| kept.to_string()));
    let shown = enrollment.json(Secrets::Shown);
    warnings.extend(UnreadableMember::of_enrollment(&shown).iter().map(UnreadableMember::to_string));
    Ok(reply::warned(reply::ok(&shown), &warnings))
}

/// Deletes an enrollment.
pub(crate) async fn delete<R: Resource>(call: &Call) -> Answer {
    let id = call.id(R::parse_id)?;
    call.verbs().delete_enrollment::<R>(call.instance(), call.actor(), id, call.if_match()?).await?;
    Ok(reply::no_content())
}

/// Returns an attestation mechanism with its secrets. A body is ignored.
pub(crate) async fn mechanism<R: Resource>(call: &Call) -> Answer {
    let enrollment: R = call.verbs().read_attestation(call.instance(), &call.id(R::parse_id)?).await?;
    Ok(reply::ok(&enrollment.mechanism_json()))
}

/// Replaces symmetric keys by new ones, and returns them. Not part of the hosted service's API, where clients generate keys.
pub(crate) async fn regenerate_keys<R: Resource>(call: &Call) -> Answer {
    let (id, selection) = (call.id(R::parse_id)?, parse_key_selection(call.body())?);
    let if_match = call.if_match()?;
    let enrollment: R =
        call.verbs().regenerate_keys(call.instance(), call.actor(), (&id, selection), if_match).await?;
    Ok(reply::warned(reply::ok(&enrollment.json(Secrets::Shown)), &[KeysReplaced]))
}

/// Lists enrollments. The query in the body is ignored: the hosted service returns all enrollments whatever the query is, and
/// its clients send an object as text, `{}`, `*` or nothing.
pub(crate) async fn query<R: Resource>(call: &Call) -> Answer {
    list::<R>(call, Secrets::Hidden).await
}

/// Creates, replaces or deletes several enrollments. The call succeeds even if no item does.
pub(crate) async fn bulk<R: Resource>(call: &Call) -> Answer {
    let items = R::parse_bulk(call.body())?;
    if !(1..=MAX_BULK_ITEMS).contains(&items.len()) {
        let count = items.len();
        return Err(Failure::Argument(format!(
            "a bulk operation takes 1 to {MAX_BULK_ITEMS} items, not {count}"
        )));
    }
    let Split { indexes, readable, mut errors } = split(items);
    let mut warnings = Vec::new();
    if !readable.is_empty() {
        let outcomes = call.verbs().change_enrollments::<R>(call.instance(), call.actor(), readable).await?;
        for (index, (id, outcome)) in indexes.into_iter().zip(outcomes) {
            match outcome {
                Ok(Some(written)) => warnings.extend(written_warning(call, (&id, written)).await?),
                Ok(None) => {}
                Err(error) => errors.push((index, item_error(id.to_string(), error.into()))),
            }
        }
    }
    errors.sort_by_key(|(index, _)| *index);
    let errors: Vec<BulkError> = errors.into_iter().map(|(_, error)| error).collect();
    Ok(reply::warned(reply::ok(&bulk_result_json(R::ID_NAME, &errors)), &warnings))
}

/// Imports enrollments: those that are as their JSON says stay, so that an import can be repeated. Not part of the hosted
/// service's API.
pub(crate) async fn import<R: Resource>(call: &Call) -> Answer {
    let ImportBody { items, rule } = R::parse_import(call.body())?;
    if !(1..=MAX_IMPORT_ITEMS).contains(&items.len()) {
        let count = items.len();
        return Err(Failure::Argument(format!("an import takes 1 to {MAX_IMPORT_ITEMS} items, not {count}")));
    }
    let Split { indexes, readable: drafts, mut errors } = split(items);
    let mut counts = ImportCounts::default();
    if !drafts.is_empty() {
        let (instance, by) = (call.instance(), call.actor());
        let outcomes = call.verbs().import_enrollments::<R>(instance, by, drafts, rule).await?;
        for (index, (id, outcome)) in indexes.into_iter().zip(outcomes) {
            match outcome {
                Ok(ImportOutcome::Created) => counts.created += 1,
                Ok(ImportOutcome::Replaced) => counts.replaced += 1,
                Ok(ImportOutcome::Unchanged) => counts.unchanged += 1,
                Err(error) => errors.push((index, item_error(id.to_string(), error.into()))),
            }
        }
    }
    errors.sort_by_key(|(index, _)| *index);
    Ok(reply::ok(&import_result_json(R::ID_NAME, counts, &errors)))
}

/// Lists enrollments with their keys and certificates, as an import takes them. Not part of the hosted service's API.
pub(crate) async fn export<R: Resource>(call: &Call) -> Answer {
    list::<R>(call, Secrets::Exported).await
}

/// Lists the enrollments that meet a search. Not part of the hosted service's API.
pub(crate) async fn search<R: Resource>(call: &Call) -> Answer {
    let search = parse_enrollment_search(|name| call.parameter(name))?;
    let (method, listed) = page::<R>(call, &search, Secrets::Hidden).await?;
    Ok(reply::found_by(method, listed))
}

/// Counts the enrollments that meet a search. Not part of the hosted service's API.
pub(crate) async fn count<R: Resource>(call: &Call) -> Answer {
    let search = parse_enrollment_search(|name| call.parameter(name))?;
    let after = call.page(R::COLLECTION)?.after;
    let count = call.verbs().count_enrollments::<R>(call.instance(), &search, after).await?;
    Ok(reply::count(R::COLLECTION, &count))
}

async fn list<R: Resource>(call: &Call, secrets: Secrets) -> Answer {
    let prefix = call.parsed("prefix", "the begin of an ID", IdPrefix::parse)?;
    let search = EnrollmentSearch { prefix, ..EnrollmentSearch::default() };
    page::<R>(call, &search, secrets).await.map(|(_, listed)| listed)
}

async fn page<R: Resource>(
    call: &Call,
    search: &EnrollmentSearch,
    secrets: Secrets,
) -> Result<(SearchMethod, Response), Failure> {
    let request = call.page(R::COLLECTION)?;
    let limit = request.limit;
    let found = call.verbs().list_enrollments::<R>(call.instance(), search, request).await?;
    let listed = reply::page(R::COLLECTION, &found.page, limit, |enrollment| enrollment.json(secrets));
    Ok((found.method, listed))
}

/// Returns the warnings about an enrollment that an item of a bulk operation wrote, as one entry with its ID, so that the
/// header names every item. The body has no room for them: clients check its schema.
async fn written_warning<R: Resource>(
    call: &Call,
    (id, Written { enrollment, kept }): (&R::Id, Written<R>),
) -> Result<Option<String>, Failure> {
    let faults = call.verbs().enrollment_warnings(call.instance(), &enrollment).await?;
    let warnings: Vec<String> = kept.iter().map(ToString::to_string).chain(faults).collect();
    Ok((!warnings.is_empty()).then(|| format!("{id}: {}", warnings.join(", "))))
}

/// The items of a body, by their indexes.
struct Split<T> {
    /// The indexes of the items that can be parsed.
    indexes: Vec<usize>,
    readable: Vec<T>,
    /// The errors of the others. They do not affect those that can be parsed.
    errors: Vec<(usize, BulkError)>,
}

fn split<T>(items: Vec<Result<T, UnreadableItem>>) -> Split<T> {
    let mut split = Split { indexes: Vec::new(), readable: Vec::new(), errors: Vec::new() };
    for (index, item) in items.into_iter().enumerate() {
        match item {
            Ok(item) => {
                split.indexes.push(index);
                split.readable.push(item);
            }
            Err(UnreadableItem { id, error }) => split.errors.push((index, item_error(id, error.into()))),
        }
    }
    split
}

/// Returns the error of an item, with the code that it would have as the error of a whole call.
fn item_error(id: String, failure: Failure) -> BulkError {
    let (code, message) = failure.code_and_message();
    BulkError { id, code, message }
}
