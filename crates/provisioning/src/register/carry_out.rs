//! The second half of a registration: the hub is told, and the outcome recorded.

use model::{Failure, OperationKind, Registration, Status};

use super::{Ended, Origin, Run};
use crate::{
    Error, Provisioning,
    ports::{Change, Commit, Expect, HubError, Outcome, PageRequest},
    record,
};

/// How many unfinished registrations are read at a time.
const RESUME_PAGE: usize = 500;

impl Provisioning {
    /// Carries a run out. May be repeated: every step leads to the same outcome however often it is taken. Not to be
    /// called for one device twice at the same time.
    pub async fn carry_out(&self, run: &Run) -> Ended {
        self.try_to_carry_out(run).await.unwrap_or_else(|error| Ended::Later(error.to_string().into()))
    }

    /// At most so many of the runs that were not finished when the service last ended.
    pub async fn unfinished(&self, at_most: usize) -> Result<Vec<Run>, Error> {
        let mut runs = Vec::new();
        for instance in self.store.instances().await? {
            let mut after = None;
            loop {
                let limit = RESUME_PAGE.min(at_most - runs.len());
                if limit == 0 {
                    return Ok(runs);
                }
                let page = self.store.assigning(&instance.id_scope, PageRequest { after, limit }).await?;
                runs.extend(page.items.iter().filter_map(|found| Run::found(&instance.id_scope, found)));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(runs)
    }

    async fn try_to_carry_out(&self, run: &Run) -> Result<Ended, Error> {
        // A run that ended since must not start its device's twin again.
        if run.origin == Origin::Found
            && let Some(ended) = self.overtaken(run).await?
        {
            return Ok(ended);
        }
        match self.tell_hub(run).await? {
            Ok(()) => self.record_assigned(run).await,
            Err(HubError::Refused(reason)) => self.record_failed(run, reason).await,
            Err(HubError::Unavailable(delay)) => Ok(Ended::Later(delay)),
        }
    }

    /// The instance is looked up each time: an unlinked hub is not waited for.
    async fn tell_hub(&self, run: &Run) -> Result<Result<(), HubError>, Error> {
        let instance = self.store.instance(&run.scope).await?;
        let hub = instance.as_ref().and_then(|instance| instance.linked_hub(&run.order.hub));
        Ok(match hub.and_then(|hub| self.hubs.connector(hub)) {
            Some(connector) => connector.ensure_device(&run.order).await,
            None => {
                Err(HubError::Refused(format!("{} is not linked to the service any more", run.order.hub)))
            }
        })
    }

    /// A confirmation changes no record and counts; an assignment ends in the record, and counts with it.
    async fn record_assigned(&self, run: &Run) -> Result<Ended, Error> {
        let kind = match &run.registration.status {
            Status::Assigning { from: None, .. } => OperationKind::Registration,
            _ => OperationKind::Reregistration,
        };
        if matches!(run.registration.status, Status::Assigned(_)) {
            let operation = Some((kind, self.clock.now().day()));
            self.store.commit(&run.scope, Commit { changes: Vec::new(), operation }).await?;
            return Ok(Ended::Registration(Box::new(run.registration.clone())));
        }
        self.end(run, Status::Assigned(run.order.assignment()), Some(kind)).await
    }

    /// 400209 is what clients know as "the hub refused".
    async fn record_failed(&self, run: &Run, reason: String) -> Result<Ended, Error> {
        let failure = Failure { code: 400_209, message: reason };
        let standing = run.registration.assignment().cloned();
        self.end(run, Status::Failed { failure, standing }, None).await
    }

    async fn end(&self, run: &Run, status: Status, kind: Option<OperationKind>) -> Result<Ended, Error> {
        let now = self.clock.now();
        let record = record::fresh(&*self.entropy, Some(&run.registration.record), now)?;
        let ended = Registration { status, record, ..run.registration.clone() };
        let expect = Expect::Version(run.registration.record.etag.clone());
        let commit = Commit {
            changes: vec![(expect, Change::PutRegistration(Box::new(ended.clone())))],
            operation: kind.map(|kind| (kind, now.day())),
        };
        if self.store.commit(&run.scope, commit).await? == [Outcome::Applied] {
            return Ok(Ended::Registration(Box::new(ended)));
        }
        let overtaken = self.overtaken(run).await?;
        overtaken
            .ok_or_else(|| Error::Broken("the record is and is not the one that the run began with".into()))
    }

    /// What became of the record that this run began with; `None` while it is as it was. Another request may have
    /// carried the same run out, or ordered something else, or the record was deleted.
    async fn overtaken(&self, run: &Run) -> Result<Option<Ended>, Error> {
        let found = self.store.registration(&run.scope, &run.registration.registration_id).await?;
        Ok(match found {
            Some(found) if found.record.etag == run.registration.record.etag => None,
            Some(found) => Some(Ended::Registration(Box::new(found))),
            None => Some(Ended::Deleted),
        })
    }
}
