//! Validates the allocation settings of an enrollment.

use model::{AllocationPolicy, EnrollmentSettings, HubName, Instance};

use crate::Error;

/// Returns the settings if they are consistent. The static policy without a hub is accepted, as SDKs create such enrollments; their
/// registrations fail.
pub(super) fn accepted(
    draft: EnrollmentSettings,
    stored: Option<&EnrollmentSettings>,
    instance: &Instance,
) -> Result<EnrollmentSettings, Error> {
    if draft.allocation_policy == Some(AllocationPolicy::Static) && draft.hubs.len() > 1 {
        return Err(Error::Invalid("the static allocation policy takes at most one hub in iotHubs".into()));
    }
    if draft.allocation_policy == Some(AllocationPolicy::Custom) && draft.custom_allocation.is_none() {
        return Err(Error::Invalid("the custom allocation policy needs customAllocationDefinition".into()));
    }
    if let Some(hub) = named_hubs(&draft).find(|hub| !may_name(hub, stored, instance)) {
        return Err(Error::Invalid(format!("{hub} is not a linked hub")));
    }
    Ok(draft)
}

fn named_hubs(settings: &EnrollmentSettings) -> impl Iterator<Item = &HubName> {
    settings.hubs.iter().chain(&settings.hub)
}

/// Whether an enrollment may name this hub. One that was unlinked since the enrollment named it must not block other changes.
fn may_name(hub: &HubName, stored: Option<&EnrollmentSettings>, instance: &Instance) -> bool {
    let named_before = || stored.is_some_and(|stored| named_hubs(stored).any(|named| named == hub));
    instance.linked_hub(hub).is_some() || named_before()
}

#[cfg(test)]
mod tests {
    use model::CustomAllocation;

    use super::*;
    use crate::enroll::samples;

    fn hubs(names: &[&str]) -> Vec<HubName> {
        names.iter().map(|name| HubName::parse(name).unwrap()).collect()
    }

    fn check(draft: EnrollmentSettings, stored: Option<EnrollmentSettings>, refusal: Option<&str>) {
        let instance = samples::instance("one");
        let outcome = accepted(draft.clone(), stored.as_ref(), &instance);
        match (outcome, refusal) {
            (Ok(settings), None) => assert_eq!(settings, draft),
            (Err(Error::Invalid(message)), Some(part)) => assert!(message.contains(part), "{message}"),
            (outcome, refusal) => panic!("{outcome:?}, expected {refusal:?}"),
        }
    }

    #[test]
    fn inconsistent_settings_are_refused() {
        let of = |policy: AllocationPolicy, names: &[&str]| EnrollmentSettings {
            allocation_policy: Some(policy),
            hubs: hubs(names),
            ..Default::default()
        };
        check(EnrollmentSettings::default(), None, None);
        check(of(AllocationPolicy::Hashed, &["hub-1.test", "HUB-2.test"]), None, None);
        check(of(AllocationPolicy::Static, &[]), None, None);
        check(of(AllocationPolicy::Static, &["hub-1.test"]), None, None);
        check(of(AllocationPolicy::Static, &["hub-1.test", "hub-2.test"]), None, Some("at most one hub"));
        check(of(AllocationPolicy::Custom, &[]), None, Some("customAllocationDefinition"));
        check(of(AllocationPolicy::Hashed, &["other.test"]), None, Some("other.test is not a linked hub"));
        let webhook =
            CustomAllocation { webhook_url: "https://web.hook".into(), api_version: "2019-03-31".into() };
        for policy in [AllocationPolicy::Custom, AllocationPolicy::GeoLatency] {
            check(
                EnrollmentSettings { custom_allocation: Some(webhook.clone()), ..of(policy, &[]) },
                None,
                None,
            );
        }
    }

    #[test]
    fn a_hub_that_was_unlinked_may_stay_named() {
        let stored = EnrollmentSettings { hubs: hubs(&["gone.test"]), ..Default::default() };
        check(stored.clone(), Some(stored.clone()), None);
        check(stored, Some(EnrollmentSettings::default()), Some("gone.test"));
        let legacy = EnrollmentSettings { hub: hubs(&["gone.test"]).pop(), ..Default::default() };
        check(legacy, None, Some("gone.test"));
    }
}
