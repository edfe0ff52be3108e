//! The reconciler: finds cleanups that are due and runs that nothing executes, and has them done.
//!
//! Each linked hub has a task of its own, so that one that is down delays no cleanup at another. What is to be removed from a
//! hub that is not linked waits until it is linked again.
//!
//! A run that was not started is in the store. As a rule its device polls, and so starts it; for a device that does not, the
//! unfinished registrations are read again and again, a page at a time.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use model::{Cleanup, HubName, IdScope, Instance};
use provisioning::{Error, ports::PageRequest, register::CleanupOutcome};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::AssignmentRunner;

/// Between two looks at what is due.
const INTERVAL: Duration = Duration::from_secs(1);

/// Cleanups of one hub, and unfinished runs, that are read at once.
const BATCH: usize = 100;

/// One hub of one instance.
type InstanceHub = (IdScope, HubName);

/// What is left to read of all unfinished runs: instances, and after which of their registrations.
type Unread = VecDeque<(Arc<Instance>, Option<String>)>;

/// Finds work that is due and that nothing does.
pub struct Reconciler {
    runner: AssignmentRunner,
}

impl Reconciler {
    /// Creates a reconciler that resumes runs at this runner.
    pub fn new(runner: AssignmentRunner) -> Reconciler {
        Reconciler { runner }
    }

    /// Has due cleanups done, and resumes runs, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let (mut tasks, mut busy, mut unread) = (JoinSet::new(), HashMap::new(), Unread::new());
        while shutdown.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
            while let Some(ended) = tasks.try_join_next_with_id() {
                busy.remove(&ended.map_or_else(|panic| panic.id(), |(id, ())| id));
            }
            match self.due(busy.values().collect()).await {
                Ok(due) => {
                    for (hub, cleanups) in due {
                        let task = tasks.spawn(clean_up_at(self.runner.clone(), hub.clone(), cleanups));
                        busy.insert(task.id(), hub);
                    }
                }
                Err(error) => tracing::warn!(%error, "what is to be cleaned up could not be read"),
            }
            if let Err(error) = self.resume_some(&mut unread).await {
                tracing::warn!(%error, "what is being assigned could not be read");
            }
        }
    }

    /// Resumes those of the next page of unfinished runs that are not in progress.
    async fn resume_some(&self, unread: &mut Unread) -> Result<(), Error> {
        let provisioning = self.runner.provisioning();
        if unread.is_empty() {
            let instances = provisioning.instances().await?;
            unread.extend(instances.into_iter().map(|instance| (instance, None)));
        }
        let Some((instance, after)) = unread.pop_front() else { return Ok(()) };
        let page = PageRequest { after, limit: BATCH };
        let page = provisioning.unfinished_runs(&instance.id_scope, page).await?;
        self.runner.resume_page(&instance, page.items);
        if page.next.is_some() {
            unread.push_back((instance, page.next));
        }
        Ok(())
    }

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
                let due = provisioning.cleanups_due(&instance, &hub.name, BATCH).await?;
                if !due.is_empty() {
                    all.push((key, due));
                }
            }
        }
        Ok(all)
    }
}

/// Does cleanups until the first that has to be retried: the others would fare no better.
async fn clean_up_at(runner: AssignmentRunner, hub: InstanceHub, cleanups: Vec<Cleanup>) {
    for cleanup in &cleanups {
        // A run of the same device may be about to put it there.
        if runner.running_for(&hub.0, &cleanup.registration_id).is_some() {
            continue;
        }
        let outcome = runner.provisioning().clean_up(&hub.0, cleanup).await;
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
            "a device was not removed from a hub that it left: somebody else has changed it there"
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
                "a cleanup was looked at"
            )
        }
        Err(error) => {
            tracing::warn!(instance.id_scope = %scope, hub.name = %hub, %error, "cleaning up failed")
        }
    }
}
