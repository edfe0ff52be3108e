//! Which linked hubs an allocation may choose from.

use model::{EnrollmentSettings, HubName, Instance, LinkedHub};

use super::Unallocatable;

/// At least one hub.
pub(super) struct Candidates<'a> {
    first: &'a LinkedHub,
    others: Vec<&'a LinkedHub>,
}

impl<'a> Candidates<'a> {
    /// The first, in the order in which they are linked.
    pub(super) fn first(&self) -> &'a LinkedHub {
        self.first
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &'a LinkedHub> {
        std::iter::once(self.first).chain(self.others.iter().copied())
    }
}

/// The linked hubs that the enrollment wants (all, when it names none) and that take new devices.
pub(super) fn candidates<'a>(
    instance: &'a Instance,
    settings: &EnrollmentSettings,
) -> Result<Candidates<'a>, Unallocatable> {
    let wanted: &[HubName] = if settings.hubs.is_empty() { settings.hub.as_slice() } else { &settings.hubs };
    let fits = |hub: &&LinkedHub| hub.takes_new_devices && (wanted.is_empty() || wanted.contains(&hub.name));
    let mut hubs = instance.linked_hubs.iter().filter(fits);
    match hubs.next() {
        Some(first) => Ok(Candidates { first, others: hubs.collect() }),
        None if wanted.is_empty() => Err(Unallocatable::NoHub),
        None => {
            let names: Vec<_> = wanted.iter().map(HubName::as_str).collect();
            Err(Unallocatable::NoneLinked(names.join(", ")))
        }
    }
}
