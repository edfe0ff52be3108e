//! What is under way, what is to be cleaned up, and why: for operators. Not part of the hosted service's API.

use axum::response::Response;
use model::{
    Cleanup, DeviceId, HubDeviceRef, HubName, Instance, KeyStanding, Registration, RegistrationId, StatusKind,
};
use provisioning::ports::Page;
use serde_json::Value;
use wire::service::{Collection, cleanup_json, explained_registration_json, listed_registration_json};

use crate::{ServiceApi, access::Granted, error::Failure, reply, request::Call};

/// `GET /registrations`: all registrations, however they came; with `status=assigning` those of one status.
pub(crate) async fn list(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let names = || StatusKind::ALL.map(StatusKind::name).join(", ");
    let known = |text: String| {
        let refused = || Failure::Argument(format!("status must be one of {}", names()));
        StatusKind::from_name(&text).ok_or_else(refused)
    };
    let status = call.parameter("status").map(known).transpose()?;
    let request = call.page(Collection::Registrations)?;
    let limit = request.limit;
    let instance = granted.instance();
    let page = api.provisioning.list_registrations(instance, status, request).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for registration in page.items {
        let key = api.provisioning.key_standing(instance, &registration).await?;
        items.push((registration, key));
    }
    let page = Page { items, next: page.next, damaged: page.damaged };
    let shown = |(registration, key): &(Registration, Option<KeyStanding>)| {
        listed_registration_json(registration, *key)
    };
    Ok(reply::page(Collection::Registrations, &page, limit, shown))
}

/// `GET /registrations/{id}/explanation`: why a device is where it is.
pub(crate) async fn explain(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let id = call.id(|text| RegistrationId::parse(text))?;
    let registration = api.provisioning.read_registration(granted.instance(), &id).await?;
    let cleanups = api.provisioning.cleanups_of(granted.instance(), &registration).await?;
    let cleanups = cleanups.iter().map(|cleanup| shown(cleanup, granted.instance())).collect();
    let key = api.provisioning.key_standing(granted.instance(), &registration).await?;
    let sentences = provisioning::register::describe(&registration, key);
    Ok(reply::ok(&explained_registration_json((&registration, key), cleanups, &sentences)))
}

/// `POST /registrations/{id}/cancel`: calls an assignment off.
pub(crate) async fn cancel(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let id = call.id(|text| RegistrationId::parse(text))?;
    let if_match = call.if_match()?;
    let cancelled = api
        .provisioning
        .cancel_registration(granted.instance(), granted.actor(), &id, if_match.as_ref())
        .await?;
    api.runs.wake(&granted.instance().id_scope, &id);
    Ok(reply::ok(&listed_registration_json(&cancelled, None)))
}

/// `GET /cleanups`: what devices left at hubs and is still to be removed.
pub(crate) async fn cleanups(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let request = call.page(Collection::Cleanups)?;
    let limit = request.limit;
    let instance = granted.instance();
    let page = api.provisioning.list_cleanups(instance, request).await?;
    Ok(reply::page(Collection::Cleanups, &page, limit, |cleanup| shown(cleanup, instance)))
}

/// `POST /cleanups/confirm`: lets cleanups go on that were held because the database was restored or copied.
pub(crate) async fn confirm(api: &ServiceApi, granted: &Granted) -> Result<Response, Failure> {
    api.provisioning.confirm_cleanups(granted.instance(), granted.actor()).await?;
    Ok(reply::deleted())
}

/// `DELETE /cleanups/{hub}%2F{device}`: gives a clean-up up, of a hub that will not come back.
pub(crate) async fn forget(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let place = call.id(|text| {
        let (hub, device_id) = text.split_once('/').unwrap_or((text, ""));
        Ok(HubDeviceRef { hub: HubName::parse(hub)?, device_id: DeviceId::parse(device_id)? })
    })?;
    api.provisioning.forget_cleanup(granted.instance(), granted.actor(), place).await?;
    Ok(reply::deleted())
}

fn shown(cleanup: &Cleanup, instance: &Instance) -> Value {
    let is_linked = instance.linked_hub(&cleanup.residue.hub_device.hub).is_some();
    cleanup_json(cleanup, is_linked, instance.cleanups_held.as_ref())
}
