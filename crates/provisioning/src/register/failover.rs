//! Hubs that turn out to be full when they are told of a device. With failover the device is decided anew.
//!
//! Nothing was created at the full hub, as far as is known: an earlier try may have got through and its answer been lost.
//! So the place there is to be cleaned up from the same commit on that sends the device elsewhere.

use std::{collections::HashMap, sync::Arc, time::Duration};

use model::{AllocationPolicy, Decision, DecisionOutcome, DeviceSpec, Failure, FailureReason, HubName};

use super::{AssignmentRun, Retry, RunOutcome, ask::NextRun, backoff, plan::place};
use crate::{
    Error, Provisioning,
    allocate::{self, Choice, Latencies, Unavailability},
};

impl Provisioning {
    /// Goes on with another hub. Without failover, and when no other would do, the device waits until there is room.
    pub(super) async fn go_elsewhere(
        &self,
        run: &AssignmentRun,
        spec: &DeviceSpec,
        reason: String,
    ) -> Result<RunOutcome, Error> {
        let Some((hub, decision)) = self.another_hub(run, spec).await? else {
            return Ok(self.again(run, reason.into()).await);
        };
        let now = self.clock.now();
        let (tries, pause) = match run.tries.count {
            // At once, but not again and again: hubs that are all full would send it round.
            0 => backoff::paused(&run.tries, now, Duration::ZERO, reason.clone()),
            _ => backoff::after(&run.tries, now, backoff::MAX_ASSIGNMENT_BACKOFF, reason.clone().into()),
        };
        let elsewhere = place(&spec.desired(), run.registration.assignment(), hub.clone());
        let failure = Failure { reason: FailureReason::HubFull, message: reason.clone() };
        let next = self.order_next(run, elsewhere, tries, |next| {
            if let Some(last) = next.decisions.latest_mut().filter(|last| last.ended.is_none()) {
                (last.outcome, last.ended) = (DecisionOutcome::Failed(failure), Some(now));
            }
            next.decisions.push(decision);
        });
        let run = match next.await? {
            NextRun::Runs(run) => *run,
            // It waits where it was sent.
            NextRun::Disputed(failure) => return Ok(self.again(run, failure.message.into()).await),
            NextRun::Overtaken => return self.overtaken_by(run).await,
        };
        let id = &run.registration.registration_id;
        tracing::info!(registration.id = %id, full = %spec.hub, hub.name = %hub, "the device goes to another hub");
        Ok(RunOutcome::Retry(Box::new(Retry { run, backoff: pause, reason, reported: true })))
    }

    /// The hub for a device that is new at a full one, and how it was chosen; `None` when it is to wait there. It lives
    /// there, or failover is off, or its webhook wants it there, or no other hub is well.
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
        let lives_there = current.is_some_and(|at| at.hub_device() == spec.hub_device());
        if lives_there || allocate::policy(&instance, settings).0 == AllocationPolicy::Custom {
            return Ok(None);
        }
        let mut situation = self.situation(&instance, settings, current.map(|at| &at.hub), None);
        // Where the device came from is forgotten, but not how far it was to the hubs.
        situation.latencies = before.decisions.latest().map(latencies).unwrap_or_default();
        situation.ailing.insert(spec.hub.clone(), Unavailability::Full);
        let allocation = allocate::choose(&instance, settings, &before.registration_id, &situation);
        let Choice::Hub(chosen) = &allocation.choice else { return Ok(None) };
        // Where all are down or full none is passed over.
        let is_well = !situation.ailing.contains_key(&chosen.hub);
        let is_home = situation.current.as_ref() == Some(&chosen.hub);
        if chosen.hub == spec.hub || !(is_well || is_home) {
            return Ok(None);
        }
        let returning = before.decisions.latest().and_then(|last| last.returning.clone());
        let decision = allocation.decision(before.enrollment.clone(), self.clock.now());
        Ok(Some((chosen.hub.clone(), Decision { returning, ..decision })))
    }
}

/// How far the hubs were from the device when it was decided.
fn latencies(decision: &Decision) -> Latencies {
    let Some(source) = &decision.latencies_from else { return Latencies::default() };
    let known = decision.candidates.iter().filter_map(|it| Some((it.hub.clone(), it.latency?)));
    Latencies::from(source.clone(), Arc::new(known.collect::<HashMap<_, _>>()))
}
