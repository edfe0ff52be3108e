//! The runner of a process: its leases, its assignment runs, and its jobs.

use std::sync::Arc;

use futures_util::future::join_all;
use model::Job;
use provisioning::{
    Error, Provisioning,
    ports::{LeaseName, Leases, RunnerId},
};
use tokio_util::sync::CancellationToken;

use crate::{
    AssignmentRunner, ExpiringCounts, JobPorts, RunLimits,
    jobs::{
        CleanupJob, DeletionJob, ExpiryJob, LeasedJob, LeasedTask, RetentionJob, RevocationListJob,
        SearchJob, flush_refusals,
    },
    lease::{LeaseKeeper, LeaseTimes},
    reconciler::Reconciler,
};

/// The limits of a runner.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunnerLimits {
    /// How many runs may be in progress.
    pub runs: RunLimits,
    /// How long leases last.
    pub leases: LeaseTimes,
}

/// Everything that a process does without a request.
pub struct Runner {
    provisioning: Arc<Provisioning>,
    keeper: LeaseKeeper,
    assignments: AssignmentRunner,
    jobs: Vec<LeasedJob>,
    expiring: ExpiringCounts,
}

impl Runner {
    /// Creates the runner with this ID, which executes runs and cleanups. It does nothing before [`Runner::start`].
    pub fn new(provisioning: Arc<Provisioning>, leases: Arc<dyn Leases>, id: RunnerId) -> Runner {
        Runner::with_limits(provisioning, leases, id, RunnerLimits::default())
    }

    /// Creates a runner with other limits.
    pub fn with_limits(
        provisioning: Arc<Provisioning>,
        leases: Arc<dyn Leases>,
        id: RunnerId,
        limits: RunnerLimits,
    ) -> Runner {
        let mut keeper = LeaseKeeper::new(leases, id, limits.leases);
        let assignments = AssignmentRunner::new(Arc::clone(&provisioning), keeper.own_lease(), limits.runs);
        let cleanups = CleanupJob { runner: assignments.clone() };
        let runner = Runner {
            provisioning,
            keeper,
            assignments,
            jobs: Vec::new(),
            expiring: ExpiringCounts::default(),
        };
        let deletions = DeletionJob { provisioning: Arc::clone(&runner.provisioning) };
        runner.with_job(Job::Cleanups, cleanups).with_job(Job::Deletions, deletions)
    }

    /// Adds the jobs that need more than the verbs: revocation lists, the expiry watch, trimming of the change log, and search.
    #[must_use]
    pub fn with_jobs(self, ports: JobPorts) -> Runner {
        let verbs = || Arc::clone(&self.provisioning);
        let lists = RevocationListJob { provisioning: verbs(), source: ports.lists };
        let expiry = ExpiryJob { provisioning: verbs(), counts: self.expiring.clone() };
        let retention = RetentionJob { provisioning: verbs(), retention: ports.retention };
        let search = SearchJob { provisioning: verbs() };
        self.with_job(Job::RevocationLists, lists)
            .with_job(Job::Expiry, expiry)
            .with_job(Job::ChangeLog, retention)
            .with_job(Job::Search, search)
    }

    fn with_job(mut self, job: Job, work: impl LeasedTask + 'static) -> Runner {
        let lease = self.keeper.lease(LeaseName::Job(job));
        self.jobs.push(LeasedJob { lease, work: Box::new(work) });
        self
    }

    /// Returns the executor of assignment runs.
    pub fn assignments(&self) -> &AssignmentRunner {
        &self.assignments
    }

    /// Returns the numbers of certificates that expire soon, which the expiry watch updates.
    pub fn expiring_certificates(&self) -> &ExpiringCounts {
        &self.expiring
    }

    /// Claims the leases and resumes the runs that no other runner executes; returns how many there are. Fails when the store cannot be
    /// read.
    pub async fn start(&self) -> Result<usize, Error> {
        self.keeper.renew().await;
        self.assignments.resume_all().await
    }

    /// Renews the leases until `ended`, which is to be canceled once no run is executed any more; then releases them, so that
    /// another runner takes the work over at once.
    pub async fn keep_leases(&self, ended: CancellationToken) {
        self.keeper.run(ended).await;
    }

    /// Does all jobs until `shutdown`; then another runner may do them at once.
    pub async fn work(&self, shutdown: CancellationToken) {
        let reconciler = Reconciler { runner: self.assignments.clone() };
        let jobs = join_all(self.jobs.iter().map(LeasedJob::run));
        tokio::join!(
            reconciler.run(shutdown.clone()),
            shutdown.run_until_cancelled(jobs),
            flush_refusals(&self.provisioning, shutdown.clone()),
        );
        self.keeper.end_jobs().await;
    }
}
