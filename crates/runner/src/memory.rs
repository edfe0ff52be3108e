//! Bounds the memory that runs take while they are executed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use model::IdScope;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that runs of all instances may take while they are executed. A usual run takes about 16 KiB, so that sixteen thousand
/// are executed at once; a run beyond that waits in the store.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// Of these, the bytes of one instance, so that one with large payloads cannot delay all others.
const MAX_INSTANCE_BYTES: usize = MAX_BYTES / 2;

/// Reserved for a run before it is read, since its size is not known before: twice the largest initial twin as a tree.
const MAX_RUN_BYTES: usize = 8 * 1024 * 1024;

/// Bytes of one permit.
const UNIT: usize = 1024;

/// The memory that runs may take.
pub(crate) struct RunMemory {
    total: Arc<Semaphore>,
    per_instance: Mutex<HashMap<IdScope, Arc<Semaphore>>>,
}

/// Memory reserved for one run, given back on drop.
pub(crate) struct Reserved {
    of_instance: OwnedSemaphorePermit,
    total: OwnedSemaphorePermit,
}

impl Default for RunMemory {
    fn default() -> Self {
        RunMemory { total: Arc::new(Semaphore::new(MAX_BYTES / UNIT)), per_instance: Mutex::default() }
    }
}

impl RunMemory {
    /// Reserves memory for a run of this size, if there is enough.
    pub(crate) fn try_reserve(&self, scope: &IdScope, bytes: usize) -> Option<Reserved> {
        let units = units(bytes);
        let of_instance = self.instance(scope).try_acquire_many_owned(units).ok()?;
        let total = Arc::clone(&self.total).try_acquire_many_owned(units).ok()?;
        Some(Reserved { of_instance, total })
    }

    /// Waits until there is memory for the largest run, and reserves it; in the order of the calls, within an instance and then
    /// among all.
    pub(crate) async fn reserve(&self, scope: &IdScope) -> Option<Reserved> {
        let units = units(MAX_RUN_BYTES);
        let of_instance = self.instance(scope).acquire_many_owned(units).await.ok()?;
        let total = Arc::clone(&self.total).acquire_many_owned(units).await.ok()?;
        Some(Reserved { of_instance, total })
    }

    fn instance(&self, scope: &IdScope) -> Arc<Semaphore> {
        let mut instances = self.per_instance.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Semaphore::new(MAX_INSTANCE_BYTES / UNIT));
        Arc::clone(instances.entry(scope.clone()).or_insert_with(new))
    }
}

impl Reserved {
    /// Keeps the memory for a run of this size, and gives the rest back.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let rest = self.total.num_permits().saturating_sub(units(bytes) as usize);
        drop((self.of_instance.split(rest), self.total.split(rest)));
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.min(MAX_RUN_BYTES).div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_instance_gets_half_and_what_is_given_back_goes_to_those_that_wait() {
        let [one, two] = ["0neA", "0neB"].map(|scope| IdScope::parse(scope).unwrap());
        let memory = RunMemory::default();
        let fit = MAX_INSTANCE_BYTES / MAX_RUN_BYTES;
        let mut held = Vec::new();
        for _ in 0..fit {
            held.push(memory.reserve(&one).await.unwrap());
        }
        assert!(memory.try_reserve(&one, 1).is_none());
        assert!(timeout(Duration::from_secs(1), memory.reserve(&one)).await.is_err());
        assert!(memory.try_reserve(&two, MAX_RUN_BYTES).is_some(), "the other half is another's");

        held[0].shrink_to(16 * 1024);
        assert!(memory.try_reserve(&one, MAX_RUN_BYTES - 16 * 1024).is_some());
        assert!(memory.try_reserve(&one, MAX_RUN_BYTES).is_none());
        held.clear();
        assert_eq!(memory.total.available_permits(), MAX_BYTES / UNIT, "everything is given back");
    }
}
