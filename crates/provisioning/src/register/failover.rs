//! Chooses another hub for a device whose hub turns out to be full, if failover is on.
//!
//! An earlier try may have created the device at the full hub, and its answer been lost. So the commit that sends the device
//! to another hub also adds a cleanup at the full one.

use std::{collections::HashMap, sync::Arc, time::Duration};

use model::{AllocationPolicy, Decision, DecisionOutcome, DeviceSpec, Failure, FailureReason, HubName};

use super::{AssignmentRun, Retry, RunOutcome, ask::RedirectOutcome, backoff, plan::device_spec};
use crate::{
    Error, Provisioning,
    allocate::{self, Choice, Latencies, Unavailability},
};

impl Provisioning {
    /// Continues a run at another hub. Without failover, or if no other hub is suitable, the run waits until the full one
    /// accepts devices again.
    pub(super) async fn fail_over(
        &self,
        run: &AssignmentRun,
        spec: &DeviceSpec,
        reason: String,
    ) -> Result<RunOutcome, Error> {
        let Some((hub, decision)) = self.another_hub(run, spec).await? else {
            return Ok(self.retry(run, reason.into()).await);
        };
        let now = self.clock.now();
        let (tries, backoff) = match run.tries.count() {
            // The first failover is immediate. Later ones back off, for all hubs may be full.
            0 => backoff::paused(&run.tries, now, Duration::ZERO, reason.clone()),
            _ => backoff::after(&run.tries, now, backoff::MAX_ASSIGNMENT_BACKOFF, reason.clone().into()),
        };
        let elsewhere = device_spec(&spec.desired(), run.registration.assignment(), hub.clone());
        let failure = Failure { reason: FailureReason::HubFull, message: reason.clone() };
        let next = self.redirect(run, elsewhere, tries, |next| {
            if let Some(outcome @ DecisionOutcome::Pending) =
                next.decisions.latest_mut().map(|last| &mut last.outcome)
            {
                *outcome = DecisionOutcome::failed(now, failure);
            }
            next.decisions.push(decision);
        });
        let run = match next.await? {
            RedirectOutcome::Redirected(run) => *run,
            // The run keeps its hub and waits.
            RedirectOutcome::Taken(failure) => return Ok(self.retry(run, failure.message.into()).await),
            RedirectOutcome::Superseded => return self.superseded(run).await,
        };
        let id = &run.registration.registration_id;
        tracing::info!(registration.id = %id, full = %spec.hub, hub.name = %hub, "the hub is full: the device is assigned to another one");
        Ok(RunOutcome::Retry(Box::new(Retry { run, backoff, reason, reported: true })))
    }

    /// Chooses a hub for a device that is new at a full one; `None` if it must wait there, because that is its current hub,
    /// failover is off, a webhook chose the hub, or no other hub is available.
    async fn another_hub(
        &self,
        run: &AssignmentRun,
        spec: &DeviceSpec,
    ) -> Result<Option<(HubName, Decision)>, Error> {
        let (before, current) = (&run.registration, run.registration.assignment());
        let instance = self.store.instance(&run.scope).await?.filter(|instance| instance.failover);
        let enrollment = self.enrollment_of(&run.scope, &run.registration).await?;
        let (Some(instance), Some(enrollment)) = (instance, enrollment) else { return Ok(None) };
        let settings = enrollment.settings();
        let is_current = current.is_some_and(|at| at.hub_device() == spec.hub_device());
        if is_current || allocate::policy(&instance, settings).0 == AllocationPolicy::Custom {
            return Ok(None);
        }
        let mut situation = self.situation(&instance, settings, current.map(|at| &at.hub), None);
        // The device's address is not stored, but its latencies to the hubs are.
        situation.latencies = before.decisions.latest().map(latencies).unwrap_or_default();
        situation.unavailable.insert(spec.hub.clone(), Unavailability::Full);
        let allocation = allocate::choose(&instance, settings, &before.registration_id, &situation);
        let Choice::Hub(chosen) = &allocation.choice else { return Ok(None) };
        // If all hubs are unavailable, allocation passes none over.
        let is_available = !situation.unavailable.contains_key(&chosen.hub);
        let is_current_hub = situation.current.as_ref() == Some(&chosen.hub);
        if chosen.hub == spec.hub || !(is_available || is_current_hub) {
            return Ok(None);
        }
        let returning = before.decisions.latest().and_then(|last| last.returning.clone());
        let decision = allocation.decision(before.enrollment.clone(), self.clock.now());
        Ok(Some((chosen.hub.clone(), Decision { returning, ..decision })))
    }
}

/// Returns the latencies from the device to the hubs that a decision was based on.
fn latencies(decision: &Decision) -> Latencies {
    let Some(source) = &decision.latencies_from else { return Latencies::default() };
    let known =
        decision.candidates.iter().filter_map(|it| Some((it.hub.clone(), it.link.as_ref()?.latency?)));
    Latencies::from(source.clone(), Arc::new(known.collect::<HashMap<_, _>>()))
}
