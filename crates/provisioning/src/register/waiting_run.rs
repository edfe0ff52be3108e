//! Runs that wait. Their work is on disk and is read when they are due, so that a run that waits costs no more memory than
//! its names, whatever its device or its webhook has sent.

use std::{io, time::Duration};

use model::{
    Enrollment, IdScope, InitialTwin, OperationId, PendingStep, Registration, RegistrationId, Status,
    StatusKind, TwinCollection,
};
use serde_json::Value;

use super::{AssignmentRun, RunOutcome, backoff};
use crate::{
    Error, Provisioning,
    ports::{Page, PageRequest},
};

/// A run that waits to be carried out, without its work.
#[derive(Debug, Clone)]
pub struct WaitingRun {
    /// The instance's.
    pub scope: IdScope,
    /// The device.
    pub registration_id: RegistrationId,
    /// Which of the device's runs it is.
    pub operation_id: OperationId,
    /// What it waits for: the hub that must be told, or the host of the webhook that must be asked.
    pub waits_for: Box<str>,
    /// How long it is to wait, from when it was found.
    pub pause: Duration,
}

/// What a run that waited has come to.
#[derive(Debug, Clone)]
pub enum Resumed {
    /// It is to be carried out.
    Started(Box<AssignmentRun>),
    /// It has ended meanwhile.
    Finished(RunOutcome),
}

impl AssignmentRun {
    /// The same run without its work. Only of a run that is on disk: see [`AssignmentRun::is_in_memory`].
    pub fn waiting(&self) -> WaitingRun {
        WaitingRun {
            scope: self.scope.clone(),
            registration_id: self.registration.registration_id.clone(),
            operation_id: self.registration.operation_id.clone(),
            waits_for: self.waits_for().into(),
            pause: Duration::ZERO,
        }
    }

    /// Returns about how many bytes it takes while it is carried out. Estimated from above: what is written of it, twice
    /// over, with what hubs and webhooks are sent; and its twins as trees.
    pub fn memory(&self) -> usize {
        let mut written = Counted(0);
        // Counting cannot fail.
        let _ = serde_json::to_writer(&mut written, &self.registration);
        let nodes: usize = self.twins().into_iter().map(nodes).sum();
        BASE_BYTES + 4 * written.0 + nodes * BYTES_OF_A_NODE
    }

    fn twins(&self) -> Vec<&InitialTwin> {
        match &self.work {
            PendingStep::Ensure(order) => vec![order.twin.start()],
            PendingStep::Allocate(ask) => {
                let settings = match &ask.request.enrollment {
                    Enrollment::Individual(individual) => &individual.settings,
                    Enrollment::Group(group) => &group.settings,
                };
                settings.initial_twin.iter().chain([&ask.wish.initial_twin]).collect()
            }
        }
    }
}

/// What a run takes that is nearly empty, the calls of its hub included.
const BASE_BYTES: usize = 8 * 1024;

/// What a value takes as a node of a tree: the value itself, its name, and its place in a table.
const BYTES_OF_A_NODE: usize = 120;

fn nodes(twin: &InitialTwin) -> usize {
    let of = |part: &Option<TwinCollection>| {
        part.as_ref().map_or(0, |part| part.as_map().values().map(nodes_of).sum::<usize>())
    };
    of(&twin.tags) + of(&twin.desired)
}

fn nodes_of(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(nodes_of).sum(),
        Value::Object(members) => members.values().map(nodes_of).sum(),
        _ => 0,
    }
}

struct Counted(usize);

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Provisioning {
    /// The run that a registration waits for, without its work; `None` when it waits for none.
    pub fn waiting_run(&self, scope: &IdScope, registration: &Registration) -> Option<WaitingRun> {
        let Status::Assigning { work, tries, .. } = &registration.status else { return None };
        Some(WaitingRun {
            scope: scope.clone(),
            registration_id: registration.registration_id.clone(),
            operation_id: registration.operation_id.clone(),
            waits_for: super::waits_for(work).into(),
            pause: backoff::left(tries, self.clock.now()),
        })
    }

    /// A page of an instance's runs that are not finished, whether or not anything is at work on them.
    pub async fn unfinished(&self, scope: &IdScope, page: PageRequest) -> Result<Page<WaitingRun>, Error> {
        let Page { items, next, damaged } =
            self.store.registrations_in(scope, StatusKind::Assigning, page).await?;
        let waiting = items.iter().filter_map(|found| self.waiting_run(scope, found));
        Ok(Page { items: waiting.collect(), next, damaged })
    }

    /// Reads a run that has waited. It is the same run as long as its operation is the same.
    pub async fn resume(&self, waiting: &WaitingRun) -> Result<Resumed, Error> {
        let found = self.store.registration(&waiting.scope, &waiting.registration_id).await?;
        let Some(found) = found else { return Ok(Resumed::Finished(RunOutcome::Deleted)) };
        let is_same = found.operation_id == waiting.operation_id;
        Ok(match AssignmentRun::found(&waiting.scope, &found).filter(|_| is_same) {
            Some(run) => Resumed::Started(Box::new(run)),
            None => Resumed::Finished(RunOutcome::Registration(Box::new(found))),
        })
    }
}
