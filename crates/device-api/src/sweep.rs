//! What goes on beside everything else: clean-ups, until they are done, and runs that nobody is at.
//!
//! Each linked hub has its own turn, so that one that is down keeps none of the others from being cleaned up. What is to
//! be removed from a hub that is not linked waits until it is linked again.
//!
//! A run that found no place at the desk is on disk. Its device asks again, as a rule, and so gets it going; for one that
//! does not, the assignments on disk are looked through again and again, a few at a time.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use model::{Cleanup, HubName, IdScope, Instance};
use net::CancellationToken;
use provisioning::{Error, ports::PageRequest, register::CleanupOutcome};
use tokio::task::JoinSet;

use crate::Desk;

/// How often it is looked whether something is due.
const EVERY: Duration = Duration::from_secs(1);

/// Clean-ups of one hub in one turn, and assignments looked at in one: bounds what is read at once.
const AT_ONCE: usize = 100;

/// One hub of one instance.
type Turn = (IdScope, HubName);

/// What is left of a look through all assignments that are not finished: instances, and after which of theirs.
type Round = VecDeque<(Arc<Instance>, Option<String>)>;

impl Desk {
    /// Removes what devices left at hubs where they do not live, and takes up runs that nobody is at. Runs until
    /// `shutdown`.
    pub async fn sweep(self: Arc<Self>, shutdown: CancellationToken) {
        let (mut turns, mut taken, mut round) = (JoinSet::new(), HashMap::new(), Round::new());
        while shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            while let Some(ended) = turns.try_join_next_with_id() {
                taken.remove(&ended.map_or_else(|panic| panic.id(), |(id, ())| id));
            }
            match self.due(taken.values().collect()).await {
                Ok(due) => {
                    for (turn, cleanups) in due {
                        let task = turns.spawn(Arc::clone(&self).sweep_hub(turn.clone(), cleanups));
                        taken.insert(task.id(), turn);
                    }
                }
                Err(error) => tracing::warn!(%error, "what is to be cleaned up could not be read"),
            }
            if let Err(error) = self.take_up_some(&mut round).await {
                tracing::warn!(%error, "what is being assigned could not be read");
            }
        }
    }

    /// Takes up those of the next few assignments on disk that nobody is at.
    async fn take_up_some(self: &Arc<Self>, round: &mut Round) -> Result<(), Error> {
        if round.is_empty() {
            let instances = self.provisioning().instances().await?;
            round.extend(instances.into_iter().map(|instance| (instance, None)));
        }
        let Some((instance, after)) = round.pop_front() else { return Ok(()) };
        let page = PageRequest { after, limit: AT_ONCE };
        let page = self.provisioning().unfinished_runs(&instance.id_scope, page).await?;
        self.take_up_all(&instance, page.items);
        if page.next.is_some() {
            round.push_back((instance, page.next));
        }
        Ok(())
    }

    /// What is due at hubs that nobody is at.
    async fn due(&self, taken: Vec<&Turn>) -> Result<Vec<(Turn, Vec<Cleanup>)>, Error> {
        let mut all = Vec::new();
        for instance in self.provisioning().instances().await? {
            for hub in &instance.linked_hubs {
                let turn = (instance.id_scope.clone(), hub.name.clone());
                if taken.contains(&&turn) {
                    continue;
                }
                let due = self.provisioning().cleanups_due(&instance, &hub.name, AT_ONCE).await?;
                if !due.is_empty() {
                    all.push((turn, due));
                }
            }
        }
        Ok(all)
    }

    /// Until the first that cannot be done now: the others would fare no better.
    async fn sweep_hub(self: Arc<Self>, turn: Turn, cleanups: Vec<Cleanup>) {
        for cleanup in &cleanups {
            // A run of the same device may be about to put it there.
            if self.since(&turn.0, &cleanup.registration_id).is_some() {
                continue;
            }
            let cleaned = self.provisioning().clean_up(&turn.0, cleanup).await;
            note(&turn, cleanup, &cleaned);
            if matches!(cleaned, Ok(CleanupOutcome::Retry(..)) | Err(_)) {
                break;
            }
        }
    }
}

fn note((scope, hub): &Turn, cleanup: &Cleanup, cleaned: &Result<CleanupOutcome, Error>) {
    let (device, registration) = (&cleanup.residue.hub_device.device_id, &cleanup.registration_id);
    match cleaned {
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
                ?cleaned,
                "a cleanup was looked at"
            )
        }
        Err(error) => {
            tracing::warn!(instance.id_scope = %scope, hub.name = %hub, %error, "cleaning up failed")
        }
    }
}
