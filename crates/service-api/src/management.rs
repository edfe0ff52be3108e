//! The management API: instances as resources, in the form of Azure's Resource Manager.

use std::sync::Arc;

use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode, header};
use model::{Instance, InstanceDraft, ResourceKey, Right};
use provisioning::{
    Error, RecordKind,
    resource::{DeletionProgress, NameProblem, Written, changes_policies},
};
use serde_json::{Value, json};
use wire::{
    sas::encode_component,
    service::{instance_json, listing_json, parse_instance, parse_name, parse_tags},
};

use crate::{
    access::{CalledHost, Operator},
    error::Failure,
    reply,
    request::Call,
    route::{
        Answer, Target,
        management::{KEYS, READ, WRITE},
    },
};

/// The header with the address of the state of an operation that goes on in the background.
const ASYNC_OPERATION: HeaderName = HeaderName::from_static("azure-asyncoperation");

/// Seconds between two questions for that state.
const RETRY_AFTER_SECS: u32 = 1;

/// Returns the resource that the path of a request names, if it does.
pub(crate) fn key_in(target: &Target) -> Option<ResourceKey> {
    let is_of_resource = target.route.path.contains("{provisioningServiceName}");
    is_of_resource.then(|| key_of(&target.parameters)).flatten()
}

/// Returns the resource ID of an instance.
pub(crate) fn resource_id(instance: &Instance) -> String {
    let (facts, name) = (&instance.resource, instance.resource_name());
    format!(
        "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Devices/provisioningServices/{name}",
        facts.subscription, facts.resource_group
    )
}

/// Returns the path of a resource in addresses.
fn resource_path(instance: &Instance) -> String {
    let segments = resource_id(instance);
    segments.split('/').map(encode_component).collect::<Vec<_>>().join("/")
}

/// Lists the operations on provisioning services, as roles of Azure name them.
pub(crate) async fn operations(_: &Call<CalledHost>) -> Answer {
    let operation = |(action, text): (&str, &str)| {
        let display =
            json!({"provider": "Microsoft Devices", "resource": "ProvisioningServices", "operation": text});
        json!({"name": format!("Microsoft.Devices/provisioningServices/{action}"), "display": display})
    };
    let known = [
        ("read", "Get provisioning services"),
        ("write", "Create or update a provisioning service"),
        ("delete", "Delete a provisioning service"),
        ("listKeys/action", "List the keys of a provisioning service"),
        ("certificates/read", "Get CA certificates"),
        ("certificates/write", "Create or update a CA certificate"),
        ("certificates/delete", "Delete a CA certificate"),
    ];
    Ok(reply::ok(&listing_json(known.into_iter().map(operation).collect())))
}

/// Lists the instances of a subscription, or of a resource group, that the caller may read.
pub(crate) async fn list(call: &Call<CalledHost>) -> Answer {
    let (subscription, group) = match call.parameters() {
        [subscription, group, ..] => (subscription.as_str(), Some(group.as_str())),
        [subscription] => (subscription.as_str(), None),
        [] => ("", None),
    };
    let is_listed = |it: &&Arc<Instance>| {
        it.resource.subscription.eq_ignore_ascii_case(subscription)
            && group.is_none_or(|group| it.resource.resource_group.eq_ignore_ascii_case(group))
            && call.operator().has_on(&it.id_scope, READ)
    };
    let instances = call.verbs().instances().await?;
    let json = instances.iter().filter(is_listed).map(|it| to_json(call, it)).collect::<Result<_, _>>()?;
    Ok(reply::ok(&listing_json(json)))
}

/// Returns an instance.
pub(crate) async fn read(call: &Call) -> Answer {
    Ok(reply::ok(&to_json(call, call.instance())?))
}

/// Creates an instance, or changes one.
pub(crate) async fn put(call: &Call<CalledHost>) -> Answer {
    let key = key(call)?;
    let draft = parse_instance(call.body())?;
    let stored = call.visible(&key).await?;
    let draft = permitted(call.operator(), stored.as_deref(), draft)?;
    let (rules, condition) = (call.management().host_rules(), call.resource_condition()?);
    let (instance, written) =
        call.verbs().put_resource((&key, &condition), call.actor(), &draft, &rules).await?;
    let mut response = reply::ok(&to_json(call, &instance)?);
    if written == Written::Created {
        *response.status_mut() = StatusCode::CREATED;
        let operation = format!("create-{}", instance.id_scope);
        point_to_operation(call, &mut response, &instance, &operation);
    }
    Ok(response)
}

/// Changes the tags of an instance.
pub(crate) async fn patch(call: &Call) -> Answer {
    let draft = parse_tags(call.body())?;
    let changed = call.verbs().update_resource(call.instance(), call.actor(), &draft).await?;
    Ok(reply::ok(&to_json(call, &changed)?))
}

/// Begins the deletion of an instance, or points to the one that is under way. A missing one is deleted already, unless it may be
/// one that cannot be read.
pub(crate) async fn delete(call: &Call<CalledHost>) -> Answer {
    let key = key(call)?;
    let Some(stored) = call.visible(&key).await? else {
        if let Some(deleted) = running_deletion(call, &key, WRITE).await? {
            return Ok(accepted_deletion(call, &deleted));
        }
        if call.operator().has_everywhere(WRITE) {
            call.verbs().reject_damaged_resources().await?;
        }
        return Ok(reply::no_content());
    };
    authorize(call.operator(), &stored)?;
    let deleted = call.verbs().delete_resource(&stored, call.actor()).await?;
    Ok(accepted_deletion(call, &deleted))
}

fn accepted_deletion(call: &Call<CalledHost>, deleted: &Instance) -> Response {
    let mut response = reply::accepted();
    let operation = format!("delete-{}", deleted.id_scope);
    point_to_operation(call, &mut response, deleted, &operation);
    response
}

/// Returns what a deletion would delete; of one that is under way, what it has not deleted yet.
pub(crate) async fn preview_deletion(call: &Call<CalledHost>) -> Answer {
    let key = key(call)?;
    let (instance, status) = match call.visible(&key).await? {
        Some(instance) => (instance, "NotStarted"),
        None => {
            let running = running_deletion(call, &key, READ).await?;
            (running.ok_or_else(|| Failure::NoResource(key.name.clone()))?, "InProgress")
        }
    };
    if !call.operator().has_on(&instance.id_scope, READ) {
        return Err(Failure::Forbidden(call.operator().name.clone()));
    }
    let progress = call.verbs().deletion_progress(&instance.id_scope).await?;
    let mut body = progress_json(&progress);
    body["idScope"] = instance.id_scope.as_str().into();
    body["status"] = status.into();
    Ok(reply::ok(&body))
}

/// Returns the instance of this name whose deletion is under way, if the caller has one of these rights on it.
async fn running_deletion(
    call: &Call<CalledHost>,
    key: &ResourceKey,
    rights: &[Right],
) -> Result<Option<Arc<Instance>>, Failure> {
    let is_running = |it: &Arc<Instance>| it.deletion.as_ref().is_some_and(|it| it.finished.is_none());
    let is_meant =
        |it: &Arc<Instance>| key.is_of(it) && is_running(it) && call.operator().has_on(&it.id_scope, rights);
    Ok(call.verbs().deleted_resources().await?.into_iter().find(is_meant))
}

/// Returns the state of a creation, which is done at once, or of a deletion.
pub(crate) async fn operation_result(call: &Call<CalledHost>) -> Answer {
    let key = key(call)?;
    let operation = call.raw_id();
    let instances = call.verbs().instances().await?;
    let deleted = call.verbs().deleted_resources().await?;
    let is_meant = |it: &&Arc<Instance>| {
        let verb = if it.deletion.is_some() { "delete" } else { "create" };
        key.is_of(it)
            && call.operator().has_on(&it.id_scope, READ)
            && operation.eq_ignore_ascii_case(&format!("{verb}-{}", it.id_scope))
    };
    let found = instances.iter().chain(&deleted).find(is_meant);
    let instance = found.ok_or(Error::NotFound(RecordKind::Operation))?;
    if instance.deletion.as_ref().is_some_and(|deletion| deletion.finished.is_none()) {
        let progress = call.verbs().deletion_progress(&instance.id_scope).await?;
        let body = json!({"status": "InProgress", "remaining": progress_json(&progress)});
        let mut response = reply::ok(&body);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECS));
        return Ok(response);
    }
    Ok(reply::ok(&json!({"status": "Succeeded"})))
}

/// Lists the pricing tiers.
pub(crate) async fn skus(_: &Call) -> Answer {
    Ok(reply::ok(&listing_json(vec![json!({"name": "S1"})])))
}

/// Returns whether a new instance can have a name.
pub(crate) async fn check_name(call: &Call<CalledHost>) -> Answer {
    if !call.operator().has_everywhere(WRITE) {
        return Err(Failure::NotEverywhere("asking for names"));
    }
    let name = parse_name(call.body())?;
    let problem = call.verbs().name_problem(&name, &call.management().host_rules()).await?;
    Ok(reply::ok(&match problem {
        None => json!({"nameAvailable": true}),
        Some(NameProblem::Invalid) => json!({
            "nameAvailable": false,
            "reason": "Invalid",
            "message": "a name has 3 to 50 letters, digits and hyphens, not digits alone, and no hyphen at either end",
        }),
        Some(NameProblem::Taken) => {
            json!({"nameAvailable": false, "reason": "AlreadyExists", "message": "another instance has the name"})
        }
    }))
}

fn key(call: &Call<CalledHost>) -> Result<ResourceKey, Failure> {
    key_of(call.parameters()).ok_or(Failure::NoRoute)
}

/// Returns the resource that the first parameters of a path name.
fn key_of(parameters: &[String]) -> Option<ResourceKey> {
    match parameters {
        [subscription, resource_group, name, ..] => Some(ResourceKey {
            subscription: subscription.clone(),
            resource_group: resource_group.clone(),
            name: name.clone(),
        }),
        _ => None,
    }
}

/// Fails unless the caller may change this instance.
fn authorize(operator: &Operator, instance: &Instance) -> Result<(), Failure> {
    match operator.has_on(&instance.id_scope, WRITE) {
        true => Ok(()),
        false => Err(Failure::Forbidden(operator.name.clone())),
    }
}

/// Returns what a draft may do to an instance, or as a new one. Without the right to keys it may send back the access policies
/// as they are, and only these.
fn permitted(
    operator: &Operator,
    stored: Option<&Instance>,
    draft: InstanceDraft,
) -> Result<InstanceDraft, Failure> {
    let may_set_keys = match stored {
        Some(stored) => {
            authorize(operator, stored)?;
            operator.has_on(&stored.id_scope, KEYS)
        }
        None if !operator.has_everywhere(WRITE) => {
            return Err(Failure::NotEverywhere("creating an instance"));
        }
        None => operator.has_everywhere(KEYS),
    };
    if draft.webhook_key.is_some() && !may_set_keys {
        return Err(Failure::Forbidden(operator.name.clone()));
    }
    let changes = |drafts: &Vec<_>| stored.is_none_or(|stored| changes_policies(stored, drafts));
    match draft.access_policies.as_ref() {
        Some(_) if may_set_keys => Ok(draft),
        Some(drafts) if changes(drafts) => Err(Failure::Forbidden(operator.name.clone())),
        _ => Ok(InstanceDraft { access_policies: None, ..draft }),
    }
}

fn to_json<S>(call: &Call<S>, instance: &Instance) -> Result<Value, Failure> {
    let etag = call.verbs().resource_etag(instance)?;
    Ok(instance_json(instance, &resource_id(instance), etag.as_str()))
}

fn progress_json(progress: &DeletionProgress) -> Value {
    let DeletionProgress { counts, groups, ca_certificates, revocation_lists, blocks } = progress;
    json!({
        "enrollments": counts.individuals,
        "enrollmentGroups": groups,
        "registrations": counts.registrations,
        "cleanups": counts.cleanups,
        "certificates": ca_certificates,
        "revocationLists": revocation_lists,
        "blockedCertificates": blocks,
    })
}

/// Names the operation where clients look for it.
fn point_to_operation(
    call: &Call<CalledHost>,
    response: &mut Response,
    instance: &Instance,
    operation: &str,
) {
    let version = call.parameter("api-version").unwrap_or_default();
    let path = format!(
        "{}/operationresults/{operation}?asyncinfo=true&api-version={version}",
        resource_path(instance)
    );
    let headers = response.headers_mut();
    if let Ok(address) = HeaderValue::from_str(&call.address_of(&path)) {
        headers.insert(ASYNC_OPERATION, address.clone());
        headers.insert(header::LOCATION, address);
    }
    headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECS));
}

#[cfg(test)]
mod tests {
    use model::{Actor, Identity, PolicyDraft, PolicyName, Rights, WebhookKeyDraft};
    use testkit::sample;

    use super::*;
    use crate::access::{GrantScope, RightsGrant};

    fn operator(rights: &[Right], on: GrantScope) -> Operator {
        let name = Identity::Policy(PolicyName::parse("p").unwrap());
        Operator {
            actor: Actor::Operator { identity: name.clone(), address: None },
            name,
            grants: vec![RightsGrant { on, rights: Rights::of(rights), role: None }],
        }
    }

    fn draft(policies: Option<Vec<PolicyDraft>>) -> InstanceDraft {
        InstanceDraft { failover: Some(true), access_policies: policies, ..InstanceDraft::default() }
    }

    /// Each right alone, and both, on the instance and on all, for what a body may ask for.
    #[test]
    fn access_policies_need_the_right_to_keys() {
        let stored = sample::instance("one");
        let same: Vec<PolicyDraft> = stored
            .access_policies
            .iter()
            .map(|policy| PolicyDraft {
                name: policy.name.clone(),
                primary_key: None,
                secondary_key: None,
                rights: Some(policy.rights),
            })
            .collect();
        let name = PolicyName::parse("new").unwrap();
        let new =
            PolicyDraft { name, primary_key: None, secondary_key: None, rights: Some(Rights::OF_POLICIES) };
        let other = [same.clone(), vec![new]].concat();
        let (write, keys) = (Right::InstanceWrite, Right::InstanceKeys);
        for on in [GrantScope::All, GrantScope::Instance(stored.id_scope.clone())] {
            for (rights, expected) in [
                (vec![], [false, false, false]),
                (vec![keys], [false, false, false]),
                (vec![write], [true, true, false]),
                (vec![write, keys], [true, true, true]),
            ] {
                let operator = operator(&rights, on.clone());
                let change = |policies| permitted(&operator, Some(&stored), draft(policies));
                let outcomes = [change(None), change(Some(same.clone())), change(Some(other.clone()))];
                assert_eq!(outcomes.each_ref().map(Result::is_ok), expected, "{rights:?}");
                let may_set_keys = rights.contains(&write) && rights.contains(&keys);
                let kept = outcomes[1].as_ref().is_ok_and(|draft| draft.access_policies.is_some());
                assert_eq!(kept, may_set_keys, "what is not permitted is not in the draft either");
                let create = |policies| permitted(&operator, None, draft(policies)).is_ok();
                let everywhere = on == GrantScope::All;
                assert_eq!(create(None), everywhere && rights.contains(&write), "{rights:?}");
                assert_eq!(create(Some(other.clone())), everywhere && may_set_keys, "{rights:?}");
                let webhook_key = Some(WebhookKeyDraft::Derived);
                let signing = InstanceDraft { webhook_key, ..InstanceDraft::default() };
                assert_eq!(permitted(&operator, Some(&stored), signing).is_ok(), may_set_keys, "{rights:?}");
            }
        }
    }
}
