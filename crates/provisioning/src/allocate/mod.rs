//! Choosing the hub that a device belongs to: pure functions over the linked hubs.

mod candidates;
mod hashed;

use model::{AllocationPolicy, EnrollmentSettings, Failure, HubName, Instance, LinkedHub, RegistrationId};

use candidates::candidates;

/// A hub, or why none could be chosen.
pub type Choice<'a> = Result<&'a LinkedHub, Unallocatable>;

/// Why no hub was chosen. The device is told, as its registration's failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unallocatable {
    /// No hub is linked, or none that takes new devices.
    #[error("no hub is linked to the service that takes new devices")]
    NoHub,
    /// The enrollment's hubs are not among the linked ones that take new devices.
    #[error("none of the enrollment's hubs is linked to the service and takes new devices: {0}")]
    NoneLinked(String),
    /// The static policy needs one hub.
    #[error("the static allocation policy needs an enrollment that names exactly one hub")]
    NotOneHub,
    /// The policy is not carried out by this version.
    #[error("the custom allocation policy is not supported by this version")]
    Custom,
}

impl Unallocatable {
    /// 400208 `CustomAllocationIotHubNotSpecified` is what clients know as "no hub"; 400207 as "custom allocation
    /// failed".
    pub fn failure(&self) -> Failure {
        let code = match self {
            Unallocatable::Custom => 400_207,
            Unallocatable::NoHub | Unallocatable::NoneLinked(_) | Unallocatable::NotOneHub => 400_208,
        };
        Failure { code, message: self.to_string() }
    }
}

/// Chooses a hub by the enrollment's policy, or by the instance's where the enrollment has none.
pub fn choose<'a>(
    instance: &'a Instance,
    settings: &EnrollmentSettings,
    registration_id: &RegistrationId,
) -> Choice<'a> {
    let hubs = candidates(instance, settings)?;
    match settings.allocation_policy.unwrap_or(instance.allocation_policy) {
        AllocationPolicy::Hashed => Ok(hashed::choose(&hubs, registration_id)),
        // No latencies are known yet, so all hubs are equally near: equal ones share devices by the weighted hash.
        AllocationPolicy::GeoLatency => Ok(hashed::choose(&hubs, registration_id)),
        AllocationPolicy::Static => one_hub(settings).map(|()| hubs.first()),
        AllocationPolicy::Custom => Err(Unallocatable::Custom),
    }
}

/// Whether a device may stay at this hub: it is linked still.
pub fn may_stay(instance: &Instance, hub: &HubName) -> bool {
    instance.linked_hub(hub).is_some()
}

/// The static policy takes an enrollment that names one hub.
fn one_hub(settings: &EnrollmentSettings) -> Result<(), Unallocatable> {
    let named =
        if settings.hubs.is_empty() { usize::from(settings.hub.is_some()) } else { settings.hubs.len() };
    if named == 1 { Ok(()) } else { Err(Unallocatable::NotOneHub) }
}

#[cfg(test)]
mod tests;
