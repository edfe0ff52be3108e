//! Access policies of an instance. Every reply here has keys, and every call belongs into the audit log.

use model::PolicyName;
use provisioning::{Error, RecordKind};
use wire::service::{Keys, listing_json, parse_key_selection, parse_policy, policy_json};

use crate::{error::Failure, reply, request::Call, route::Answer};

/// Returns the access policies.
pub(crate) async fn list(call: &Call) -> Answer {
    let policies = call.instance().access_policies.iter();
    Ok(reply::ok(&listing_json(policies.map(|policy| policy_json(policy, Keys::Shown)).collect())))
}

/// Returns an access policy.
pub(crate) async fn read(call: &Call) -> Answer {
    let policy = call.instance().access_policy(name(call)?.as_str());
    let policy = policy.ok_or(Error::NotFound(RecordKind::AccessPolicy))?;
    Ok(reply::ok(&policy_json(policy, Keys::Shown)))
}

/// Creates an access policy, or changes one.
pub(crate) async fn put(call: &Call) -> Answer {
    let draft = parse_policy(name(call)?, call.body())?;
    let policy = call.verbs().put_policy(call.instance(), call.actor(), &draft).await?;
    Ok(reply::ok(&policy_json(&policy, Keys::Shown)))
}

/// Deletes an access policy.
pub(crate) async fn delete(call: &Call) -> Answer {
    call.verbs().delete_policy(call.instance(), call.actor(), &name(call)?).await?;
    Ok(reply::no_content())
}

/// Replaces keys of an access policy by new ones.
pub(crate) async fn regenerate(call: &Call) -> Answer {
    let (name, keys) = (name(call)?, parse_key_selection(call.body())?);
    let policy = call.verbs().regenerate_policy_keys(call.instance(), call.actor(), (&name, keys)).await?;
    Ok(reply::ok(&policy_json(&policy, Keys::Shown)))
}

fn name(call: &Call) -> Result<PolicyName, Failure> {
    call.id(|text| PolicyName::parse(text))
}
