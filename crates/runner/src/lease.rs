//! The leases of this process: claimed and renewed while it lives, and released at its end.
//!
//! Work under a lease is dropped some seconds before the lease ends, so that no call of it outlives the lease. A process that is
//! paused between this check and a call cannot be stopped: what it then writes is refused by the fence, and what it asks a hub
//! may be repeated.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use model::LeaseToken;
use provisioning::ports::{LeaseName, Leases, RunnerId, StoreError};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// How often work that waits for its lease checks whether it has it, in each time of a lease.
const POLLS: u32 = 30;

/// The times of leases, which all follow from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTimes {
    takeover: Duration,
}

/// The state of a lease that this process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tenure {
    token: LeaseToken,
    /// When its work must have stopped, by the clock of this process.
    stop_at: Instant,
}

/// Claims and renews the leases of this process.
pub(crate) struct LeaseKeeper {
    leases: Arc<dyn Leases>,
    runner: RunnerId,
    times: LeaseTimes,
    kept: Vec<(LeaseName, SharedTenure)>,
    peers: Arc<Peers>,
    /// Whether the last renewal failed.
    is_failing: AtomicBool,
    /// Whether this process does no jobs any more.
    has_ended_jobs: AtomicBool,
}

/// The runners of other processes.
#[derive(Debug, Default)]
struct Peers {
    /// As of the last renewal.
    tokens: Mutex<HashSet<LeaseToken>>,
    /// Notified when one of them has gone: its runs can be taken over.
    gone: Notify,
}

/// One lease of this process, which it may have or not.
#[derive(Debug, Clone)]
pub(crate) struct LeaseHandle {
    tenure: SharedTenure,
    peers: Arc<Peers>,
    poll_interval: Duration,
}

impl LeaseTimes {
    /// Returns the times with which another runner takes the work of a lost one over within this time.
    pub fn taken_over_within(takeover: Duration) -> LeaseTimes {
        LeaseTimes { takeover }
    }

    /// How long a lease lasts.
    fn lease(self) -> Duration {
        self.takeover * 3 / 4
    }

    /// How long work may go on after a renewal: it stops a quarter of the takeover time before the lease ends.
    fn usable(self) -> Duration {
        self.takeover / 2
    }

    /// Between two renewals, which are also when runners that were lost are found: four renewals may fail.
    fn renewal(self) -> Duration {
        self.takeover * 3 / 20
    }
}

impl Default for LeaseTimes {
    /// Takes over within 20 seconds: leases last 15 seconds, are renewed every 3, and their work stops 5 before their end.
    fn default() -> LeaseTimes {
        LeaseTimes::taken_over_within(Duration::from_secs(20))
    }
}

impl LeaseKeeper {
    /// Creates a keeper that has no leases yet.
    pub(crate) fn new(leases: Arc<dyn Leases>, runner: RunnerId, times: LeaseTimes) -> LeaseKeeper {
        let (is_failing, has_ended_jobs) = (AtomicBool::new(false), AtomicBool::new(false));
        let (kept, peers) = (Vec::new(), Arc::default());
        LeaseKeeper { leases, runner, times, kept, peers, is_failing, has_ended_jobs }
    }

    /// Adds the lease of this runner itself, which its assignment runs are made under.
    pub(crate) fn own_lease(&mut self) -> LeaseHandle {
        self.lease(LeaseName::Runner(self.runner.clone()))
    }

    /// Adds a lease that is to be claimed whenever no other runner has it.
    pub(crate) fn lease(&mut self, name: LeaseName) -> LeaseHandle {
        let tenure = SharedTenure::default();
        self.kept.push((name, tenure.clone()));
        LeaseHandle { tenure, peers: Arc::clone(&self.peers), poll_interval: self.times.lease() / POLLS }
    }

    /// Claims or renews every lease, in one transaction if the store groups commits; then ends those of lost runners.
    pub(crate) async fn renew(&self) {
        let ended_jobs = self.has_ended_jobs.load(Ordering::Relaxed);
        let kept = self.kept.iter().filter(|(name, _)| !(ended_jobs && is_of_job(name)));
        let renewals = kept.map(|(name, tenure)| self.renew_one(name, tenure));
        let renewed: Result<(), String> =
            futures_util::future::join_all(renewals).await.into_iter().collect();
        let outcome = renewed.and(self.in_time(self.check_peers()).await);
        let was_failing = self.is_failing.swap(outcome.is_err(), Ordering::Relaxed);
        match outcome {
            Err(error) if !was_failing => {
                tracing::warn!(error, "the leases cannot be renewed, will be tried again")
            }
            Ok(()) if was_failing => tracing::info!("the leases are renewed again"),
            _ => {}
        }
    }

    /// Renews the leases until `shutdown`, and releases them then: another runner has them at once.
    pub(crate) async fn run(&self, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(sleep(self.times.renewal())).await.is_some() {
            self.renew().await;
        }
        self.release(|_| true).await;
    }

    /// Releases the leases of jobs, and claims none any more. The lease of the runner stays, for the runs in progress.
    pub(crate) async fn end_jobs(&self) {
        self.has_ended_jobs.store(true, Ordering::Relaxed);
        self.release(is_of_job).await;
    }

    async fn release(&self, is_released: impl Fn(&LeaseName) -> bool) {
        for (name, tenure) in self.kept.iter().filter(|(name, _)| is_released(name)) {
            let Some(held) = tenure.replace(None) else { continue };
            if let Err(error) = self.in_time(self.leases.release(held.token)).await {
                tracing::warn!(lease = %name, error, "a lease could not be released: it ends by its time");
            }
        }
    }

    async fn renew_one(&self, name: &LeaseName, tenure: &SharedTenure) -> Result<(), String> {
        // Its time counts from before the store is asked.
        let stop_at = Instant::now() + self.times.usable();
        let claimed = self.in_time(self.leases.claim(name, &self.runner, self.times.lease())).await?;
        let next = claimed.map(|lease| Tenure { token: lease.token, stop_at });
        let last = tenure.replace(next);
        if let Some(last) = last.filter(|last| next.is_none_or(|next| next.token != last.token)) {
            tracing::warn!(lease = %name, token = %last.token, "another runner took a lease over");
        }
        Ok(())
    }

    /// Waits for the store no longer than a lease can be used. Fails with the reason, for the log.
    async fn in_time<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, String> {
        match timeout(self.times.usable(), call).await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(_) => Err("the store did not reply in time".into()),
        }
    }

    /// Ends the leases of runners that were lost, so that what they still write is refused and their runs can be taken over.
    async fn check_peers(&self) -> Result<(), StoreError> {
        let mut found = HashSet::new();
        for lease in self.leases.leases().await? {
            if !matches!(lease.name, LeaseName::Runner(_)) || lease.holder == self.runner {
                continue;
            }
            if lease.left > Duration::ZERO {
                found.insert(lease.token);
            } else if let Some(ended) =
                self.leases.claim(&lease.name, &self.runner, self.times.lease()).await?
            {
                tracing::warn!(lease = %lease.name, token = %lease.token, "a runner was lost: its runs are taken over");
                self.leases.release(ended.token).await?;
            }
        }
        let last = std::mem::replace(&mut *self.peers.lock(), found.clone());
        if !last.is_subset(&found) {
            self.peers.gone.notify_one();
        }
        Ok(())
    }
}

fn is_of_job(name: &LeaseName) -> bool {
    matches!(name, LeaseName::Job(_))
}

impl Peers {
    fn lock(&self) -> MutexGuard<'_, HashSet<LeaseToken>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeaseHandle {
    /// Returns the token of the lease, if this process has it now.
    pub(crate) fn current(&self) -> Option<LeaseToken> {
        self.tenure.get().filter(|tenure| tenure.stop_at > Instant::now()).map(|tenure| tenure.token)
    }

    /// Whether this is the lease of another runner that was there at the last renewal.
    pub(crate) fn is_of_peer(&self, token: LeaseToken) -> bool {
        self.peers.lock().contains(&token)
    }

    /// Waits until another runner has gone, whose runs can be taken over.
    pub(crate) async fn peer_gone(&self) {
        self.peers.gone.notified().await;
    }

    /// Waits until this process has the lease, and returns its token.
    pub(crate) async fn held(&self) -> LeaseToken {
        loop {
            match self.current() {
                Some(token) => return token,
                None => sleep(self.poll_interval).await,
            }
        }
    }

    /// Does some work as long as this process has the lease. Drops the work and returns `None` once it has it no more.
    pub(crate) async fn while_held<T>(&self, token: LeaseToken, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.lost(token) => None,
            done = work => Some(done),
        }
    }

    /// Waits until the time of the lease is over. It is checked only then: a renewal wakes no task.
    async fn lost(&self, token: LeaseToken) {
        while let Some(held) = self.tenure.get().filter(|held| held.token == token)
            && held.stop_at > Instant::now()
        {
            sleep_until(held.stop_at).await;
        }
    }
}

/// The tenure of one lease, if this process has it. Not a channel, whose waiters would wake in a random order.
#[derive(Debug, Clone, Default)]
struct SharedTenure(Arc<Mutex<Option<Tenure>>>);

impl SharedTenure {
    fn get(&self) -> Option<Tenure> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what was known before.
    fn replace(&self, next: Option<Tenure>) -> Option<Tenure> {
        std::mem::replace(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), next)
    }
}
