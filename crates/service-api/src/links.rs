//! `/linkedHubs`: the hubs that devices may be assigned to; `/allocationPolicy`, how they are chosen where an
//! enrollment does not say; and `/webhookKey`, for webhooks that choose them. In the hosted service this is the resource manager's; the bodies are as there.

use axum::response::Response;
use model::{HubName, Instance};
use provisioning::{
    link::{Check, Link},
    ports::HubHealth,
};
use serde_json::{Value, json};
use wire::service::{LinkStatus, allocation_defaults_json, link_json, parse_allocation_defaults, parse_link};

use crate::{ServiceApi, access::Granted, error::Failure, reply, request::Call};

/// Lists the linked hubs: at most as many as can be linked, so without pages.
pub(crate) fn list(api: &ServiceApi, granted: &Granted) -> Result<Response, Failure> {
    let links = api.provisioning.linked_hubs(granted.instance())?;
    Ok(reply::ok(&links.iter().map(link).collect()))
}

/// Shows a linked hub.
pub(crate) fn read(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let name = call.id(|text| HubName::parse(text))?;
    Ok(reply::ok(&link(&api.provisioning.linked_hub(granted.instance(), &name)?)))
}

/// Links a hub, or changes a link. With `check=false` the hub is not asked first whether the key will do.
pub(crate) async fn put(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let name = call.id(|text| HubName::parse(text))?;
    let draft = parse_link(&name, call.body())?;
    let check = match call.parameter("check").as_deref() {
        None | Some("true") => Check::First,
        Some("false") => Check::Skip,
        Some(other) => return Err(Failure::Argument(format!("check must be true or false, not {other:?}"))),
    };
    let linked = api
        .provisioning
        .link_hub(granted.instance(), granted.actor(), (draft, check), call.if_match()?)
        .await?;
    Ok(reply::ok(&link(&linked)))
}

/// Unlinks a hub.
pub(crate) async fn delete(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let name = call.id(|text| HubName::parse(text))?;
    api.provisioning.unlink_hub(granted.instance(), granted.actor(), &name, call.if_match()?).await?;
    Ok(reply::deleted())
}

/// Asks a hub whether the link's key may do what is needed; a body is ignored.
pub(crate) async fn check(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let name = call.id(|text| HubName::parse(text))?;
    let lacking = api.provisioning.check_hub(granted.instance(), &name).await?;
    let lacking: Vec<String> = lacking.iter().map(ToString::to_string).collect();
    Ok(reply::ok(&json!({ "name": name, "lacking": lacking })))
}

/// Shows how hubs are chosen where an enrollment does not say.
pub(crate) fn read_default_policy(granted: &Granted) -> Response {
    reply::ok(&defaults_json(granted.instance()))
}

/// Sets it.
pub(crate) async fn put_default_policy(
    api: &ServiceApi,
    granted: &Granted,
    call: &Call,
) -> Result<Response, Failure> {
    let draft = parse_allocation_defaults(call.body())?;
    let changed =
        api.provisioning.set_allocation_defaults(granted.instance(), granted.actor(), draft).await?;
    Ok(reply::ok(&defaults_json(&changed)))
}

/// Tells the key by which a webhook verifies what it is asked in the name of the instance.
pub(crate) fn webhook_key(granted: &Granted) -> Result<Response, Failure> {
    let instance = granted.instance();
    let key = provisioning::allocate::webhook_key(instance)?;
    Ok(reply::ok(&json!({ "idScope": instance.id_scope, "key": key.to_base64() })))
}

fn defaults_json(instance: &Instance) -> Value {
    allocation_defaults_json(instance.allocation_policy, instance.failover)
}

fn link(link: &Link) -> Value {
    let etag = format!("\"{}\"", link.etag);
    let status = LinkStatus { etag: &etag, configured: link.configured, health: health(&link.health) };
    link_json(&link.hub, status)
}

fn health(health: &HubHealth) -> Value {
    let mut json = json!({ "circuit": health.circuit.to_string() });
    if let Some(since) = health.since {
        json["since"] = json!(since.to_string());
    }
    if let Some(retry_at) = health.retry_at {
        json["retryAt"] = json!(retry_at.to_string());
    }
    if let Some(full_at) = health.full_at {
        json["fullAt"] = json!(full_at.to_string());
    }
    if let Some((at, message)) = &health.last_error {
        json["lastError"] = json!({ "at": at.to_string(), "message": message });
    }
    json
}
