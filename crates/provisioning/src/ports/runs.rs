//! The `AssignmentRuns` port: what the endpoints need of the assignment runner.

use std::time::Duration;

use async_trait::async_trait;
use model::{IdScope, Instance, LeaseToken, Registration, RegistrationId};

use crate::{Error, register::AssignmentRun};

/// Executes assignment runs.
#[async_trait]
pub trait AssignmentRuns: Send + Sync {
    /// Starts a run, or joins it if it is in progress, and waits for its end for at most this time. The run continues
    /// afterwards, and is persisted before this returns. Fails with an error of the store when that is not possible.
    async fn execute(
        &self,
        instance: &Instance,
        run: AssignmentRun,
        at_most: Duration,
    ) -> Result<RunStatus, Error>;

    /// Returns the status of the run that this registration waits for; `None` when it waits for none. A run that is not in
    /// progress is started, and one that is in memory is persisted.
    async fn join(
        &self,
        instance: &Instance,
        registration: &Registration,
    ) -> Result<Option<RunStatus>, Error>;

    /// Returns the lease that new runs are made under: [`RegisterRequest::runner`](crate::register::RegisterRequest::runner).
    /// `None` while this process cannot renew it: then it is not ready, and registers no devices.
    fn lease(&self) -> Option<LeaseToken>;

    /// Returns how many of the runs that the instance may begin at once are used up; `None` if it has no limit.
    fn used_rate(&self, instance: &Instance) -> Option<u32>;

    /// Ends the back-off of a run whose record an operator changed, so that it ends at once if it was canceled.
    fn wake(&self, scope: &IdScope, registration_id: &RegistrationId);
}

/// The status of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum RunStatus {
    /// It has ended, which is persisted. If superseded: the registration of the newer run.
    Ended(Box<Registration>),
    /// It continues, and was started this long ago.
    InProgress(Duration),
    /// It is persisted, and starts once its instance is below its rate again.
    RateLimited,
    /// Its registration was deleted.
    Deleted,
}
