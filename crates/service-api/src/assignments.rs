//! Unfinished assignments, cleanups, and the decisions that led to them. Not part of the hosted service's API.

use model::{HubDeviceRef, KeyStanding, Registration, RegistrationId};
use provisioning::{ports::Page, search::SearchPage};
use wire::service::{
    Collection, cleanup_json, explained_registration_json, listed_registration_json,
    parse_registration_search,
};

use crate::{reply, request::Call, route::Answer};

/// `GET /registrations`: lists the registrations of all enrollments that meet a search.
pub(crate) async fn list(call: &Call) -> Answer {
    let search = parse_registration_search(|name| call.parameter(name))?;
    let request = call.page(Collection::Registrations)?;
    let limit = request.limit;
    let instance = call.instance();
    let SearchPage { page, method } = call.verbs().list_registrations(instance, &search, request).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for registration in page.items {
        let key = call.verbs().key_standing(instance, &registration).await?;
        items.push((registration, key));
    }
    let page = Page { items, next: page.next, damaged: page.damaged };
    let json = |(registration, key): &(Registration, Option<KeyStanding>)| {
        listed_registration_json(registration, *key)
    };
    Ok(reply::found_by(method, reply::page(Collection::Registrations, &page, limit, json)))
}

/// `GET /registrationCount`: counts the registrations that meet a search.
pub(crate) async fn count(call: &Call) -> Answer {
    let search = parse_registration_search(|name| call.parameter(name))?;
    let after = call.page(Collection::Registrations)?.after;
    let count = call.verbs().count_registrations(call.instance(), &search, after).await?;
    Ok(reply::count(Collection::Registrations, &count))
}

/// `GET /registrations/{id}/explanation`: returns a registration with the decisions that led to it.
pub(crate) async fn explain(call: &Call) -> Answer {
    let id = call.id(|text| RegistrationId::parse(text))?;
    let registration = call.verbs().read_registration(call.instance(), &id).await?;
    let cleanups = call.verbs().cleanups_of(call.instance(), &registration).await?;
    let cleanups = cleanups.iter().map(|cleanup| cleanup_json(cleanup, call.instance())).collect();
    let key = call.verbs().key_standing(call.instance(), &registration).await?;
    let sentences = provisioning::register::describe(&registration, key);
    Ok(reply::ok(&explained_registration_json((&registration, key), cleanups, &sentences)))
}

/// `POST /registrations/{id}/cancel`: cancels an unfinished assignment.
pub(crate) async fn cancel(call: &Call) -> Answer {
    let id = call.id(|text| RegistrationId::parse(text))?;
    let if_match = call.if_match()?;
    let canceled =
        call.verbs().cancel_registration(call.instance(), call.actor(), &id, if_match.as_ref()).await?;
    call.wake(&id);
    Ok(reply::ok(&listed_registration_json(&canceled, None)))
}

/// `GET /cleanups`: lists the devices that are still to be removed from hubs.
pub(crate) async fn cleanups(call: &Call) -> Answer {
    let request = call.page(Collection::Cleanups)?;
    let limit = request.limit;
    let instance = call.instance();
    let page = call.verbs().list_cleanups(instance, request).await?;
    Ok(reply::page(Collection::Cleanups, &page, limit, |cleanup| cleanup_json(cleanup, instance)))
}

/// `POST /cleanups/confirm`: releases the cleanups that are held because the database was restored or copied.
pub(crate) async fn confirm(call: &Call) -> Answer {
    call.verbs().confirm_cleanups(call.instance(), call.actor()).await?;
    Ok(reply::no_content())
}

/// `DELETE /cleanups/{hub}%2F{device}`: abandons a cleanup, at a hub that is gone for good.
pub(crate) async fn forget(call: &Call) -> Answer {
    let hub_device = call.id(HubDeviceRef::parse)?;
    call.verbs().forget_cleanup(call.instance(), call.actor(), hub_device).await?;
    Ok(reply::no_content())
}
