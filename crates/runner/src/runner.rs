//! The runner of a process: its leases, its assignment runs, and its jobs.

use std::sync::Arc;

use model::Job;
use provisioning::{
    Error, Provisioning,
    ports::{LeaseName, Leases, RunnerId},
};
use tokio_util::sync::CancellationToken;

use crate::{
    AssignmentRunner, RunLimits,
    cleanups::CleanupJob,
    lease::{LeaseHandle, LeaseKeeper},
    reconciler::Reconciler,
};

/// Everything that a process does without a request.
pub struct Runner {
    keeper: LeaseKeeper,
    assignments: AssignmentRunner,
    cleanups: LeaseHandle,
}

impl Runner {
    /// Creates the runner with this name. It does nothing before [`Runner::start`].
    pub fn new(provisioning: Arc<Provisioning>, leases: Arc<dyn Leases>, id: RunnerId) -> Runner {
        Runner::with_limits(provisioning, leases, id, RunLimits::default())
    }

    /// Creates a runner with other limits of its runs.
    pub fn with_limits(
        provisioning: Arc<Provisioning>,
        leases: Arc<dyn Leases>,
        id: RunnerId,
        limits: RunLimits,
    ) -> Runner {
        let mut keeper = LeaseKeeper::new(leases, id);
        let assignments = AssignmentRunner::new(provisioning, keeper.own_lease(), limits);
        let cleanups = keeper.lease(LeaseName::Job(Job::Cleanups));
        Runner { keeper, assignments, cleanups }
    }

    /// Returns what executes assignment runs.
    pub fn assignments(&self) -> &AssignmentRunner {
        &self.assignments
    }

    /// Claims the leases and resumes the runs that nothing executes; returns how many there are. Fails when the store cannot be
    /// read. Without a lease, new runs are persisted and wait for it.
    pub async fn start(&self) -> Result<usize, Error> {
        self.keeper.renew().await;
        self.assignments.resume_all().await
    }

    /// Renews the leases until `ended`, which is to be canceled once no run is executed any more; then releases them, so that
    /// another runner takes the work over at once.
    pub async fn keep_leases(&self, ended: CancellationToken) {
        self.keeper.run(ended).await;
    }

    /// Does all jobs until `shutdown`.
    pub async fn work(&self, shutdown: CancellationToken) {
        let reconciler = Reconciler { runner: self.assignments.clone() };
        let cleanups = shutdown.run_until_cancelled(self.clean_up());
        tokio::join!(reconciler.run(shutdown.clone()), cleanups);
    }

    async fn clean_up(&self) {
        let job = CleanupJob { runner: self.assignments.clone() };
        loop {
            let token = self.cleanups.held().await;
            self.cleanups.while_held(token, job.run(token)).await;
        }
    }
}
