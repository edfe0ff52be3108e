//! Registrations, which devices create, and operators read and delete.

use model::{EnrollmentGroupId, RefusalReason, RegistrationId};
use provisioning::{ports::PageRequest, register::AttemptSearch};
use wire::{
    device::registration_state,
    service::{Collection, attempts_json},
};

use crate::{reply, request::Call, route::Answer};

/// Returns a registration.
pub(crate) async fn read(call: &Call) -> Answer {
    let id = call.id(|text| RegistrationId::parse(text))?;
    let registration = call.verbs().read_registration(call.instance(), &id).await?;
    Ok(reply::ok(&registration_state(&registration)))
}

/// Deletes a registration.
pub(crate) async fn delete(call: &Call) -> Answer {
    let id = call.id(|text| RegistrationId::parse(text))?;
    call.verbs().delete_registration(call.instance(), call.actor(), id.clone(), call.if_match()?).await?;
    call.wake(&id);
    Ok(reply::no_content())
}

/// Lists the registrations of an enrollment group. The query that some clients send is ignored.
pub(crate) async fn query(call: &Call) -> Answer {
    let group = call.id(|text| EnrollmentGroupId::parse(text))?;
    let request = call.page(Collection::Registrations)?;
    let limit = request.limit;
    let page = call.verbs().query_registrations(call.instance(), &group, request).await?;
    Ok(reply::page(Collection::Registrations, &page, limit, registration_state))
}

/// Returns the last refused attempts to register under a registration ID, which need not have been admitted ever. Not part of
/// the hosted service's API.
pub(crate) async fn attempts(call: &Call) -> Answer {
    let id = call.id(|text| RegistrationId::parse(text))?;
    let attempts = call.verbs().attempts(call.instance(), &id).await?;
    Ok(reply::warned(reply::ok(&attempts_json(&attempts.items, None)), &attempts.damaged))
}

/// `GET /attempts`: returns refused attempts of all devices that meet a search, latest first. A page may have few, or none, although
/// more follow.
pub(crate) async fn search_attempts(call: &Call) -> Answer {
    let id = |text: &str| RegistrationId::parse(text).ok();
    let limit = call.limit()?;
    let is_position = |text: &&str| text.parse::<i64>().is_ok_and(|number| number >= 0);
    let after = call.after(|text| Some(text).filter(is_position).map(str::to_owned))?;
    let reasons = RefusalReason::ALL.iter().map(|reason| reason.name());
    let search = AttemptSearch {
        registration_id: call.parsed("key", "a registration ID", id)?,
        since: call.instant("since")?,
        until: call.instant("until")?,
        reason: call.one_of("reason", reasons, RefusalReason::from_name)?,
        page: PageRequest { after, limit },
    };
    let page = call.verbs().search_attempts(call.instance(), search).await?;
    Ok(reply::warned(reply::ok(&attempts_json(&page.items, page.next.as_deref())), &page.damaged))
}
