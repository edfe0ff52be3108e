//! The first half of a registration: who is it, and what does it get?

use std::sync::Arc;

use model::{Instance, Order, Registration, RegistrationId, Status};

use super::{
    Begun, Origin, RegisterRequest, Run,
    challenge::is_fresh,
    operation_id,
    plan::{Plan, came_through, plan},
};
use crate::{
    Error, Provisioning,
    attest::{Attested, Proof, tpm::Place},
    ports::{Change, Commit, Expect, Outcome},
    record,
};

/// How often a request starts over because another one for the same device was faster.
const MAX_RACES: usize = 8;

impl Provisioning {
    /// Proves who the device is and plans what it gets. A registration that is already being carried out is joined.
    pub async fn begin(&self, instance: &Arc<Instance>, request: &RegisterRequest) -> Result<Begun, Error> {
        for _ in 0..MAX_RACES {
            let previous = self.store.registration(&instance.id_scope, &request.registration_id).await?;
            let id = &request.registration_id;
            let attested = match self.identify_or_note(instance, request, previous.as_ref()).await? {
                Proof::Attested(attested) => attested,
                Proof::Challenge(tpm) => {
                    return Ok(Begun::Challenged(self.challenge(instance, id, tpm, previous.as_ref())?));
                }
            };
            is_fresh(&attested, previous.as_ref())?;
            if !self.learn(instance, &attested).await? {
                continue;
            }
            if let Some(begun) = self.follow(instance, request, &attested, previous).await? {
                let place = Place { scope: &instance.id_scope, registration_id: id };
                self.note_proof(place, &attested, begun.operation_id());
                return Ok(begun);
            }
        }
        Err(Error::Busy)
    }

    /// Follows the plan as far as the first call to a hub; `None` when the record changed meanwhile.
    async fn follow(
        &self,
        instance: &Arc<Instance>,
        request: &RegisterRequest,
        attested: &Attested,
        previous: Option<Registration>,
    ) -> Result<Option<Begun>, Error> {
        let name = previous.as_ref().map_or(&request.registration_id, |previous| &previous.registration_id);
        let standing = || previous.as_ref().and_then(Registration::assignment).cloned();
        let current = previous.as_ref().and_then(Registration::assignment).map(|assignment| &assignment.hub);
        let situation = self.situation(instance, attested.settings(), current, request.address);
        let status = match plan(instance, attested, name, previous.as_ref(), &situation) {
            Plan::Join => {
                let run = previous.and_then(|previous| Run::found(&instance.id_scope, &previous));
                return Ok(run.map(|run| Begun::Running(Box::new(run))));
            }
            Plan::Confirm(order) => {
                return Ok(previous.map(|previous| running(instance, previous, order)));
            }
            Plan::Assign(order) => Status::Assigning { order: Box::new(order), from: standing() },
            Plan::Fail(failure) => Status::Failed { failure, standing: standing() },
            Plan::Disable => match previous.as_ref().and_then(|previous| told_disabled(previous, attested)) {
                Some(told) => return Ok(Some(Begun::Settled(Box::new(told)))),
                None => Status::Disabled { standing: standing() },
            },
        };
        let next = self.next_record(instance, name, attested, (previous.as_ref(), status))?;
        let replaced = self.replace(instance, previous.as_ref(), &next).await?;
        Ok(replaced.then(|| match &next.status {
            Status::Assigning { order, .. } => {
                let order = Order::clone(order);
                running(instance, next, order)
            }
            Status::Assigned(_) | Status::Failed { .. } | Status::Disabled { .. } => {
                Begun::Settled(Box::new(next))
            }
        }))
    }

    fn next_record(
        &self,
        instance: &Instance,
        name: &RegistrationId,
        attested: &Attested,
        (previous, status): (Option<&Registration>, Status),
    ) -> Result<Registration, Error> {
        let before = previous.map(|registration| &registration.record);
        let record = record::fresh(&*self.entropy, before, self.clock.now())?;
        Ok(Registration {
            registration_id: name.clone(),
            enrollment: attested.enrollment(),
            attested_by: attested.by(),
            status,
            operation_id: operation_id::issue(instance, name, &record.etag)?,
            payload: None,
            tpm: attested.handover(),
            record,
        })
    }

    /// Puts the record in place of the previous one; false when another is there.
    async fn replace(
        &self,
        instance: &Instance,
        previous: Option<&Registration>,
        next: &Registration,
    ) -> Result<bool, Error> {
        let expect = match previous {
            Some(registration) => Expect::Version(registration.record.etag.clone()),
            None => Expect::Absent,
        };
        let changes = vec![(expect, Change::PutRegistration(Box::new(next.clone())))];
        let outcomes = self.store.commit(&instance.id_scope, Commit { changes, operation: None }).await?;
        Ok(outcomes == [Outcome::Applied])
    }
}

fn running(instance: &Instance, registration: Registration, order: Order) -> Begun {
    let scope = instance.id_scope.clone();
    Begun::Running(Box::new(Run { scope, registration, order, origin: Origin::Begun }))
}

/// What a device is told whose enrollment is disabled, when nothing need be written for it: the record says so already,
/// or a run is under way. That one ends all the same, because its hub may have been told already; the record says
/// disabled when the device asks again.
fn told_disabled(previous: &Registration, attested: &Attested) -> Option<Registration> {
    match &previous.status {
        Status::Disabled { .. } => came_through(previous, attested).then(|| previous.clone()),
        Status::Assigning { from, .. } => {
            Some(Registration { status: Status::Disabled { standing: from.clone() }, ..previous.clone() })
        }
        Status::Assigned(_) | Status::Failed { .. } => None,
    }
}
