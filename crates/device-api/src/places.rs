//! How many runs wait for the same hub or webhook: bounded, so that one which is down does not take the places of all
//! others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use model::IdScope;

/// The instance of a run, and what it waits for. Another instance's link to the same hub is another way there, which may
/// be in order when this one is not.
pub(crate) type Awaited = (IdScope, Box<str>);

/// The places of all runs.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    taken: Mutex<HashMap<Awaited, usize>>,
}

/// A place among the runs that wait for the same, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    awaited: Awaited,
}

impl Places {
    /// So many for each hub and webhook.
    pub(crate) fn new(most: usize) -> Arc<Places> {
        Arc::new(Places { most, taken: Mutex::default() })
    }

    /// A place; `None` when there is none left.
    pub(crate) fn take(self: &Arc<Self>, awaited: Awaited) -> Option<Place> {
        let mut taken = self.lock();
        let count = taken.entry(awaited.clone()).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place { places: Arc::clone(self), awaited })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Awaited, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if let Some(count) = taken.get_mut(&self.awaited) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.awaited);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn awaited(scope: &str, hub: &str) -> Awaited {
        (IdScope::parse(scope).unwrap(), hub.into())
    }

    #[test]
    fn places_are_of_one_instance_and_one_hub_and_leave_nothing_behind() {
        let places = Places::new(2);
        let here = || places.take(awaited("0ne00000001", "a.hub"));
        let (first, second) = (here().unwrap(), here().unwrap());
        assert!(here().is_none());
        let other_hub = places.take(awaited("0ne00000001", "b.hub")).unwrap();
        let other_instance = places.take(awaited("0ne00000002", "a.hub")).unwrap();
        drop(first);
        let third = here().unwrap();
        drop((second, third, other_hub, other_instance));
        assert!(places.lock().is_empty());
    }
}
