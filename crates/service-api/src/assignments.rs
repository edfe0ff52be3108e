//! What is under way, what is to be cleaned up, and why: for operators. Not part of the hosted service's API.

use axum::response::Response;
use model::{Cleanup, DeviceId, HubName, Instance, Place, RegistrationId, StatusKind};
use serde_json::Value;
use wire::service::{Collection, cleanup_json, explained_registration_json, listed_registration_json};

use crate::{ServiceApi, access::Granted, error::Failure, reply, request::Call};

/// `GET /registrations?status=assigning`: registrations of one status, however they came.
pub(crate) async fn list(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let names = || StatusKind::ALL.map(StatusKind::name).join(", ");
    let text = call.parameter("status").unwrap_or_default();
    let status = StatusKind::from_name(&text);
    let status = status.ok_or_else(|| Failure::Argument(format!("status must be one of {}", names())))?;
    let request = call.page(Collection::Registrations)?;
    let limit = request.limit;
    let page = api.provisioning.list_registrations(granted.instance(), status, request).await?;
    Ok(reply::page(Collection::Registrations, &page, limit, listed_registration_json))
}

/// `GET /registrations/{id}/explanation`: why a device is where it is.
pub(crate) async fn explain(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let id = call.id(|text| RegistrationId::parse(text))?;
    let registration = api.provisioning.read_registration(granted.instance(), &id).await?;
    let cleanups = api.provisioning.cleanups_of(granted.instance(), &registration).await?;
    let cleanups = cleanups.iter().map(|cleanup| shown(cleanup, granted.instance())).collect();
    let sentences = provisioning::register::in_words(&registration);
    Ok(reply::ok(&explained_registration_json(&registration, cleanups, &sentences)))
}

/// `POST /registrations/{id}/cancel`: calls an assignment off.
pub(crate) async fn cancel(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let id = call.id(|text| RegistrationId::parse(text))?;
    let if_match = call.if_match()?;
    let cancelled = api.provisioning.cancel_registration(granted.instance(), &id, if_match.as_ref()).await?;
    Ok(reply::ok(&listed_registration_json(&cancelled)))
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
    api.provisioning.confirm_cleanups(granted.instance()).await?;
    Ok(reply::deleted())
}

/// `DELETE /cleanups/{hub}%2F{device}`: gives a clean-up up, of a hub that will not come back.
pub(crate) async fn forget(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let place = call.id(|text| {
        let (hub, device_id) = text.split_once('/').unwrap_or((text, ""));
        Ok(Place { hub: HubName::parse(hub)?, device_id: DeviceId::parse(device_id)? })
    })?;
    api.provisioning.forget_cleanup(granted.instance(), place).await?;
    Ok(reply::deleted())
}

fn shown(cleanup: &Cleanup, instance: &Instance) -> Value {
    let is_linked = instance.linked_hub(&cleanup.trace.place.hub).is_some();
    cleanup_json(cleanup, is_linked, instance.cleanups_held.as_ref())
}
