//! `/linkedHubs`, the hubs that devices may be assigned to; `/allocationPolicy`, the defaults for enrollments that do not set a
//! policy; and `/webhookKey`, for webhooks that choose hubs. Azure has these in its Resource Manager API, with the same bodies.

use model::{DefaultsDraft, HubName, Instance};
use provisioning::{
    link::{Check, Link},
    ports::{Circuit, HubHealth},
};
use serde_json::{Value, json};
use wire::service::{LinkStatus, allocation_defaults_json, link_json, parse_allocation_defaults, parse_link};

use crate::{reply, request::Call, route::Answer};

/// Lists the linked hubs, without pages: their number is limited.
pub(crate) fn list(call: &Call) -> Answer {
    let links = call.verbs().linked_hubs(call.instance())?;
    Ok(reply::ok(&links.iter().map(to_json).collect()))
}

/// Returns a linked hub.
pub(crate) fn read(call: &Call) -> Answer {
    let name = call.id(|text| HubName::parse(text))?;
    Ok(reply::ok(&to_json(&call.verbs().linked_hub(call.instance(), &name)?)))
}

/// Links a hub, or changes a link. Unless the parameter `check` is false, the hub is asked first which rights the key has.
pub(crate) async fn put(call: &Call) -> Answer {
    let name = call.id(|text| HubName::parse(text))?;
    let draft = parse_link(&name, call.body())?;
    let check = call.parsed("check", "true or false", |text| match text {
        "true" => Some(Check::First),
        "false" => Some(Check::Skip),
        _ => None,
    })?;
    let check = check.unwrap_or(Check::First);
    let linked =
        call.verbs().link_hub(call.instance(), call.actor(), (draft, check), call.if_match()?).await?;
    Ok(reply::ok(&to_json(&linked)))
}

/// Unlinks a hub.
pub(crate) async fn delete(call: &Call) -> Answer {
    let name = call.id(|text| HubName::parse(text))?;
    call.verbs().unlink_hub(call.instance(), call.actor(), &name, call.if_match()?).await?;
    Ok(reply::no_content())
}

/// Asks a linked hub for the rights that the link's key lacks. A body is ignored.
pub(crate) async fn check(call: &Call) -> Answer {
    let name = call.id(|text| HubName::parse(text))?;
    let lacking = call.verbs().check_hub(call.instance(), &name).await?;
    let lacking: Vec<String> = lacking.iter().map(ToString::to_string).collect();
    Ok(reply::ok(&json!({ "name": name, "lacking": lacking })))
}

/// Returns the defaults for enrollments that do not set a policy.
pub(crate) fn read_default_policy(call: &Call) -> Answer {
    Ok(reply::ok(&defaults_json(call.instance())))
}

/// Changes the defaults for enrollments that do not set a policy.
pub(crate) async fn put_default_policy(call: &Call) -> Answer {
    let draft = parse_allocation_defaults(call.body())?;
    let changed = call.verbs().set_allocation_defaults(call.instance(), call.actor(), draft).await?;
    Ok(reply::ok(&defaults_json(&changed)))
}

/// Returns the key by which webhooks verify the requests of the instance.
pub(crate) fn webhook_key(call: &Call) -> Answer {
    let instance = call.instance();
    let key = provisioning::allocate::webhook_key(instance)?;
    Ok(reply::ok(&json!({ "idScope": instance.id_scope, "key": key.to_base64() })))
}

fn defaults_json(instance: &Instance) -> Value {
    let (allocation_policy, failover) = (Some(instance.allocation_policy), Some(instance.failover));
    allocation_defaults_json(DefaultsDraft { allocation_policy, failover })
}

fn to_json(link: &Link) -> Value {
    let etag = format!("\"{}\"", link.etag);
    let status = LinkStatus { etag: &etag, configured: link.configured, health: health_json(&link.health) };
    link_json(&link.hub, status)
}

fn health_json(health: &HubHealth) -> Value {
    let mut json = json!({ "circuit": health.circuit.name() });
    if let Some(since) = health.since {
        json["since"] = json!(since.to_string());
    }
    if let Circuit::Open { retry_at } = health.circuit {
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
