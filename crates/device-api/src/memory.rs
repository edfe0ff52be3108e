//! How much memory runs may take while they are carried out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use model::IdScope;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that runs may take while they are carried out, of all instances. A usual run takes about 16 KiB, so that sixteen
/// thousand are carried out at once; what is beyond it waits on disk.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// Of these, the bytes of one instance: one that sends large payloads must not keep all others waiting.
const MAX_INSTANCE_BYTES: usize = MAX_BYTES / 2;

/// Set aside for a run before it is read, since its size is not known before: twice the largest initial twin as a tree.
const MAX_RUN_BYTES: usize = 8 * 1024 * 1024;

/// Permits are for this many bytes.
const UNIT: usize = 1024;

/// What is left of the memory for runs.
pub(crate) struct RunMemory {
    in_all: Arc<Semaphore>,
    of_instance: Mutex<HashMap<IdScope, Arc<Semaphore>>>,
}

/// Memory set aside for one run, given back when this is dropped.
pub(crate) struct Reserved {
    of_instance: OwnedSemaphorePermit,
    in_all: OwnedSemaphorePermit,
}

impl Default for RunMemory {
    fn default() -> Self {
        RunMemory { in_all: Arc::new(Semaphore::new(MAX_BYTES / UNIT)), of_instance: Mutex::default() }
    }
}

impl RunMemory {
    /// Sets memory aside for a run of this size, if there is as much.
    pub(crate) fn try_reserve(&self, scope: &IdScope, bytes: usize) -> Option<Reserved> {
        let units = units(bytes);
        let of_instance = self.instance(scope).try_acquire_many_owned(units).ok()?;
        let in_all = Arc::clone(&self.in_all).try_acquire_many_owned(units).ok()?;
        Some(Reserved { of_instance, in_all })
    }

    /// Waits until there is memory for the largest run, and sets it aside. First come, first served, within an instance and
    /// then among all.
    pub(crate) async fn reserve(&self, scope: &IdScope) -> Option<Reserved> {
        let units = units(MAX_RUN_BYTES);
        let of_instance = self.instance(scope).acquire_many_owned(units).await.ok()?;
        let in_all = Arc::clone(&self.in_all).acquire_many_owned(units).await.ok()?;
        Some(Reserved { of_instance, in_all })
    }

    fn instance(&self, scope: &IdScope) -> Arc<Semaphore> {
        let mut instances = self.of_instance.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Semaphore::new(MAX_INSTANCE_BYTES / UNIT));
        Arc::clone(instances.entry(scope.clone()).or_insert_with(new))
    }
}

impl Reserved {
    /// Keeps memory for a run of this size, and gives the rest back.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let rest = self.in_all.num_permits().saturating_sub(units(bytes) as usize);
        drop((self.of_instance.split(rest), self.in_all.split(rest)));
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
        assert_eq!(memory.in_all.available_permits(), MAX_BYTES / UNIT, "everything is given back");
    }
}
