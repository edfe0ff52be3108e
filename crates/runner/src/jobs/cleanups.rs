//! The cleanup job: removes what devices left at hubs, until each cleanup is done.
//!
//! Each linked hub has a task of its own, so that one that is down delays no cleanup at another. Cleanups at a hub that is not
//! linked wait until it is linked again.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use model::{Cleanup, HubName, IdScope, LeaseToken};
use provisioning::{Error, register::CleanupOutcome};
use tokio::{task::JoinSet, time::sleep};

use super::LeasedTask;
use crate::AssignmentRunner;

/// Between two searches for due cleanups.
const INTERVAL: Duration = Duration::from_secs(1);

/// Cleanups of one hub that are read at once.
const MAX_CLEANUPS: usize = 100;

/// One hub of one instance.
type InstanceHub = (IdScope, HubName);

/// Does cleanups.
pub(crate) struct CleanupJob {
    pub(crate) runner: AssignmentRunner,
}

#[async_trait]
impl LeasedTask for CleanupJob {
    async fn run(&self, fence: LeaseToken) {
        let (mut tasks, mut busy) = (JoinSet::new(), HashMap::new());
        loop {
            sleep(INTERVAL).await;
            while let Some(ended) = tasks.try_join_next_with_id() {
                busy.remove(&ended.map_or_else(|panic| panic.id(), |(id, ())| id));
            }
            match self.due(busy.values().collect()).await {
                Ok(due) => {
                    for (hub, cleanups) in due {
                        let runner = self.runner.clone();
                        let task = tasks.spawn(clean_up_at(runner, hub.clone(), cleanups, fence));
                        busy.insert(task.id(), hub);
                    }
                }
                Err(error) => tracing::warn!(%error, "the cleanups that are due could not be read"),
            }
        }
    }
}

impl CleanupJob {
    /// Returns the cleanups that are due at hubs without a task.
    async fn due(&self, busy: Vec<&InstanceHub>) -> Result<Vec<(InstanceHub, Vec<Cleanup>)>, Error> {
        let provisioning = self.runner.provisioning();
        let mut all = Vec::new();
        for instance in provisioning.instances().await? {
            for hub in &instance.linked_hubs {
                let key = (instance.id_scope.clone(), hub.name.clone());
                if busy.contains(&&key) {
                    continue;
                }
                let due = provisioning.cleanups_due(&instance, &hub.name, MAX_CLEANUPS).await?;
                if !due.is_empty() {
                    all.push((key, due));
                }
            }
        }
        Ok(all)
    }
}

/// Does cleanups until the first that has to be retried: the others would fare no better.
async fn clean_up_at(runner: AssignmentRunner, hub: InstanceHub, cleanups: Vec<Cleanup>, fence: LeaseToken) {
    for cleanup in &cleanups {
        // A run of the same device may be about to put it there: one in memory, or one in the store, maybe of another process.
        if runner.running_for(&hub.0, &cleanup.registration_id).is_some() {
            continue;
        }
        let outcome = match runner.provisioning().is_assigning(&hub.0, &cleanup.registration_id).await {
            Ok(true) => continue,
            Ok(false) => runner.provisioning().clean_up(&hub.0, cleanup, Some(fence)).await,
            Err(error) => Err(error),
        };
        log_outcome(&hub, cleanup, &outcome);
        if matches!(outcome, Ok(CleanupOutcome::Retry(..)) | Err(_)) {
            break;
        }
    }
}

fn log_outcome((scope, hub): &InstanceHub, cleanup: &Cleanup, outcome: &Result<CleanupOutcome, Error>) {
    let (device, registration) = (&cleanup.residue.hub_device.device_id, &cleanup.registration_id);
    match outcome {
        Ok(CleanupOutcome::Retry(pause, reason)) => tracing::warn!(
            instance.id_scope = %scope,
            hub.name = %hub,
            device.id = %device,
            registration.id = %registration,
            reason,
            pause_secs = pause.as_secs(),
            "a device is still to be removed from a hub that it left"
        ),
        Ok(CleanupOutcome::Foreign) => tracing::warn!(
            instance.id_scope = %scope,
            hub.name = %hub,
            device.id = %device,
            registration.id = %registration,
            "a device was not removed from a hub that it left: it was changed there by another writer"
        ),
        Ok(CleanupOutcome::Held { is_new: true }) => tracing::warn!(
            instance.id_scope = %scope,
            hub.name = %hub,
            device.id = %device,
            registration.id = %registration,
            "a device is not removed from a hub that it left until an operator confirms it, for it may be another one of the \
             same name: muster registration cleanups --confirm"
        ),
        Ok(
            CleanupOutcome::Held { is_new: false }
            | CleanupOutcome::Removed
            | CleanupOutcome::Absent
            | CleanupOutcome::Superseded,
        ) => {
            tracing::debug!(
                instance.id_scope = %scope,
                hub.name = %hub,
                device.id = %device,
                registration.id = %registration,
                ?outcome,
                "a cleanup was tried"
            )
        }
        Err(error) => {
            tracing::warn!(instance.id_scope = %scope, hub.name = %hub, %error, "cleaning up failed")
        }
    }
}
