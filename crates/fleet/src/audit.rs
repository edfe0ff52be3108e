//! Checks after a run, with an operator's access: each assigned device is in the registry of its hub, with the right
//! credentials and tags, and in no other registry.

use std::collections::BTreeMap;

use certpath::Sha256Thumbprint;
use model::{HubName, SymmetricKey};
use serde_json::Value;

use crate::{
    device::Credentials,
    operator::{HubRegistry, OperatorError},
    run::{Assignment, Failure, Member, Outcome, Stage},
};

/// Looks up every assigned device in the registry of its hub, and records a failure if its identity or twin is wrong.
/// Calls `on_checked` for each device. Returns a sentence for each hub whose number of devices differs from the number
/// assigned to it; therefore the hubs must have been empty before the run.
pub async fn audit(
    outcomes: &mut [Outcome],
    registries: &mut BTreeMap<HubName, HubRegistry>,
    mut on_checked: impl FnMut(),
) -> Result<Vec<String>, OperatorError> {
    let mut assigned: BTreeMap<HubName, u64> = BTreeMap::new();
    for outcome in outcomes.iter_mut() {
        if let Some(assignment) = &outcome.assignment {
            *assigned.entry(assignment.hub.clone()).or_default() += 1;
            let checked = check_registry(&outcome.member, assignment, registries).await;
            let failure = checked.err().map(|reason| Failure { stage: Stage::Registry, reason });
            // The first failure is usually the cause of later ones.
            outcome.failure = outcome.failure.take().or(failure);
        }
        on_checked();
    }
    let mut problems = Vec::new();
    for (hub, registry) in registries {
        let (found, expected) = (registry.device_count().await?, assigned.get(hub).copied().unwrap_or(0));
        if found != expected {
            problems.push(format!("{hub} holds {found} devices, but {expected} were assigned to it"));
        }
    }
    Ok(problems)
}

async fn check_registry(
    member: &Member,
    assignment: &Assignment,
    registries: &mut BTreeMap<HubName, HubRegistry>,
) -> Result<(), String> {
    let registry = registries.get_mut(&assignment.hub).ok_or("the device was assigned to an unknown hub")?;
    let missing = "the hub does not know the device";
    let identity = registry.device(&assignment.device_id).await.map_err(|error| error.to_string())?;
    if let Some(problem) = problem_with_credentials(&identity.ok_or(missing)?, &member.device.credentials) {
        return Err(problem.to_owned());
    }
    let Some(expected) = &member.twin else { return Ok(()) };
    let twin =
        registry.twin(&assignment.device_id).await.map_err(|error| error.to_string())?.ok_or(missing)?;
    match twin.get("tags").and_then(Value::as_object) {
        Some(tags) if *tags == expected.tags => Ok(()),
        _ => Err("the tags are not the expected ones".to_owned()),
    }
}

/// Returns what is wrong if the device is not enabled at the hub with the credentials that it registered with.
fn problem_with_credentials(identity: &Value, credentials: &Credentials) -> Option<&'static str> {
    let text = |path: &str| identity.pointer(path).and_then(Value::as_str).unwrap_or_default();
    if text("/status") != "enabled" {
        return Some("the device is not enabled at the hub");
    }
    let fits = match credentials {
        Credentials::Certificate(identity) => {
            let leaf = identity.chain().first().map(|leaf| Sha256Thumbprint::of(leaf).to_string());
            text("/authentication/type") == "selfSigned"
                && leaf.is_some_and(|leaf| {
                    leaf.eq_ignore_ascii_case(text("/authentication/x509Thumbprint/primaryThumbprint"))
                })
        }
        Credentials::Key(key) => {
            text("/authentication/type") == "sas"
                && SymmetricKey::parse(text("/authentication/symmetricKey/primaryKey")).as_ref() == Ok(key)
        }
        // Only the TPM has the key; whether the hub has the same one shows when the device connects.
        Credentials::Tpm(_) => text("/authentication/type") == "sas",
    };
    (!fits).then_some("the hub has other credentials for the device")
}

#[cfg(test)]
mod tests {
    use model::RegistrationId;
    use serde_json::json;

    use super::*;
    use crate::authority::self_signed;

    #[track_caller]
    fn check(identity: &Value, credentials: &Credentials, expected: Option<&str>) {
        let found = problem_with_credentials(identity, credentials);
        assert_eq!(found, expected, "{identity}");
    }

    #[test]
    fn symmetric_keys_are_compared() {
        let key = SymmetricKey::from_bytes(&[1; 32]).unwrap();
        let device = |status, kind, key: &SymmetricKey| {
            let key = key.to_base64();
            json!({"status": status, "authentication": {"type": kind, "symmetricKey": {"primaryKey": key}}})
        };
        let other = SymmetricKey::from_bytes(&[2; 32]).unwrap();
        let credentials = Credentials::Key(key.clone());
        check(&device("enabled", "sas", &key), &credentials, None);
        let refused = Some("the hub has other credentials for the device");
        check(&device("enabled", "sas", &other), &credentials, refused);
        check(&device("enabled", "selfSigned", &key), &credentials, refused);
        check(&device("disabled", "sas", &key), &credentials, Some("the device is not enabled at the hub"));
    }

    #[test]
    fn thumbprints_are_compared_without_regard_to_case() {
        let (identity, _) = self_signed(&RegistrationId::parse("device-1").unwrap()).unwrap();
        let thumbprint = Sha256Thumbprint::of(&identity.chain()[0]).to_string();
        let device = |thumbprint: &str| {
            json!({"status": "enabled", "authentication":
                {"type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": thumbprint}}})
        };
        let credentials = Credentials::Certificate(identity);
        check(&device(&thumbprint), &credentials, None);
        check(&device(&thumbprint.to_lowercase()), &credentials, None);
        let refused = Some("the hub has other credentials for the device");
        check(&device(&"0".repeat(64)), &credentials, refused);
        check(&device(""), &credentials, refused);
    }
}
