//! The leases of this process: claimed and renewed while it lives, and released at its end.
//!
//! Work under a lease is dropped some seconds before the lease ends, so that no call of it outlives the lease. A process that is
//! paused between this check and a call cannot be stopped: what it then writes is refused by the fence, and what it asks a hub
//! may be repeated.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use model::LeaseToken;
use provisioning::ports::{LeaseName, Leases, RunnerId, StoreError};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// How long a lease lasts: another runner takes the work of a lost one over after this time.
const LEASE_TIME: Duration = Duration::from_secs(15);

/// Between two renewals: four of them may fail.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(3);

/// Between two looks of work that waits for its lease.
const CLAIM_POLL: Duration = Duration::from_millis(500);

/// How long before the end of a lease its work stops.
const MARGIN: Duration = Duration::from_secs(5);

/// What this process knows of one of its leases.
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
    kept: Vec<(LeaseName, SharedTenure)>,
    peers: Arc<Mutex<HashSet<LeaseToken>>>,
}

/// One lease of this process, which it may have or not.
#[derive(Debug, Clone)]
pub(crate) struct LeaseHandle {
    tenure: SharedTenure,
    /// The runners of other processes, as of the last renewal.
    peers: Arc<Mutex<HashSet<LeaseToken>>>,
}

impl LeaseKeeper {
    /// Creates a keeper that has no leases yet.
    pub(crate) fn new(leases: Arc<dyn Leases>, runner: RunnerId) -> LeaseKeeper {
        LeaseKeeper { leases, runner, kept: Vec::new(), peers: Arc::default() }
    }

    /// Adds the lease of this runner itself, which its assignment runs are made under.
    pub(crate) fn own_lease(&mut self) -> LeaseHandle {
        self.lease(LeaseName::Runner(self.runner.clone()))
    }

    /// Adds a lease that is to be claimed whenever no other runner has it.
    pub(crate) fn lease(&mut self, name: LeaseName) -> LeaseHandle {
        let tenure = SharedTenure::default();
        self.kept.push((name, tenure.clone()));
        LeaseHandle { tenure, peers: Arc::clone(&self.peers) }
    }

    /// Claims or renews every lease, in one transaction if the store groups commits; then ends those of lost runners.
    pub(crate) async fn renew(&self) {
        let renewals = self.kept.iter().map(|(name, tenure)| self.renew_one(name, tenure));
        futures_util::future::join_all(renewals).await;
        if let Err(error) = self.look_at_peers().await {
            tracing::warn!(%error, "the leases of other runners could not be read");
        }
    }

    /// Renews the leases until `shutdown`, and releases them then: another runner has them at once.
    pub(crate) async fn run(&self, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(sleep(RENEWAL_INTERVAL)).await.is_some() {
            self.renew().await;
        }
        for (name, tenure) in &self.kept {
            let Some(held) = tenure.replace(None) else { continue };
            if let Err(error) = self.leases.release(held.token).await {
                tracing::warn!(lease = %name, %error, "a lease could not be released: it ends by its time");
            }
        }
    }

    async fn renew_one(&self, name: &LeaseName, tenure: &SharedTenure) {
        // Its time counts from before the store is asked.
        let stop_at = Instant::now() + LEASE_TIME - MARGIN;
        let claim = self.leases.claim(name, &self.runner, LEASE_TIME);
        match timeout(LEASE_TIME - MARGIN, claim).await {
            Ok(Ok(claimed)) => {
                let next = claimed.map(|lease| Tenure { token: lease.token, stop_at });
                let last = tenure.replace(next);
                if let Some(last) = last.filter(|last| next.is_none_or(|next| next.token != last.token)) {
                    tracing::warn!(lease = %name, token = %last.token, "another runner took a lease over");
                }
            }
            Ok(Err(error)) => tracing::warn!(lease = %name, %error, "a lease could not be renewed"),
            Err(_) => tracing::warn!(lease = %name, "a lease could not be renewed in time"),
        }
    }

    /// Ends the leases of runners that were lost, so that what they still write is refused and their runs can be taken over.
    async fn look_at_peers(&self) -> Result<(), StoreError> {
        let mut peers = HashSet::new();
        for lease in self.leases.leases().await? {
            if !matches!(lease.name, LeaseName::Runner(_)) || lease.holder == self.runner {
                continue;
            }
            if lease.left > Duration::ZERO {
                peers.insert(lease.token);
            } else if let Some(ended) = self.leases.claim(&lease.name, &self.runner, LEASE_TIME).await? {
                tracing::warn!(lease = %lease.name, token = %lease.token, "a runner was lost: its runs are taken over");
                self.leases.release(ended.token).await?;
            }
        }
        *self.peers.lock().unwrap_or_else(PoisonError::into_inner) = peers;
        Ok(())
    }
}

impl LeaseHandle {
    /// Returns the token of the lease, if this process has it now.
    pub(crate) fn current(&self) -> Option<LeaseToken> {
        self.tenure.get().filter(|tenure| tenure.stop_at > Instant::now()).map(|tenure| tenure.token)
    }

    /// Whether this is the lease of another runner that was there at the last renewal.
    pub(crate) fn is_of_peer(&self, token: LeaseToken) -> bool {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).contains(&token)
    }

    /// Waits until this process has the lease, and returns its token.
    pub(crate) async fn held(&self) -> LeaseToken {
        loop {
            match self.current() {
                Some(token) => return token,
                None => sleep(CLAIM_POLL).await,
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

    /// Waits until the time of the lease is over. It is looked at only then: a renewal wakes nothing.
    async fn lost(&self, token: LeaseToken) {
        while let Some(held) = self.tenure.get().filter(|held| held.token == token)
            && held.stop_at > Instant::now()
        {
            sleep_until(held.stop_at).await;
        }
    }
}

/// What this process knows of one lease. Not a channel, whose waiters would wake in a random order.
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
