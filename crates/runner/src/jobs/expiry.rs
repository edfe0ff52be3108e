//! The expiry watch: warns once a day of certificates that expire, and of revocation lists that are missing or stale.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use model::{IdScope, Instance, LeaseToken};
use provisioning::{
    Error, Provisioning,
    trust::{ExpiringCertificates, Holder, TrustReport},
};
use tokio::time::sleep;

use super::LeasedTask;

/// Between two checks.
const INTERVAL: Duration = Duration::from_secs(86_400);

/// Until the next try of a check that failed.
const RETRY: Duration = Duration::from_secs(30);

/// The most warnings of one instance in a check; the last one says how many more there are.
const MAX_WARNINGS: usize = 20;

/// Checks the trust of all instances.
pub(crate) struct ExpiryJob {
    pub(crate) provisioning: Arc<Provisioning>,
    pub(crate) counts: ExpiringCounts,
}

/// The numbers of certificates that expire soon, as of the last check. Only the process that does the checks has them. Clones
/// share them.
#[derive(Debug, Clone, Default)]
pub struct ExpiringCounts(Arc<Mutex<HashMap<IdScope, ExpiringCount>>>);

/// How many certificates of an instance expire soon, by holder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExpiringCount {
    /// CA certificates.
    pub ca: usize,
    /// Signing certificates of enrollment groups.
    pub group: usize,
    /// Leaves of individual enrollments.
    pub individual: usize,
}

/// Clears the counts once this process does not check any more.
struct Clear<'a>(&'a ExpiringCounts);

#[async_trait]
impl LeasedTask for ExpiryJob {
    async fn run(&self, _fence: LeaseToken) {
        let _clear = Clear(&self.counts);
        loop {
            let checked = self.check().await;
            if let Err(error) = &checked {
                tracing::error!(%error, "the expiry of certificates could not be checked, will be tried again");
            }
            sleep(if checked.is_ok() { INTERVAL } else { RETRY }).await;
        }
    }
}

impl ExpiryJob {
    /// Checks all instances once. Fails with the first error, after it has checked the other instances.
    async fn check(&self) -> Result<(), Error> {
        let (mut counts, mut outcome) = (HashMap::new(), Ok(()));
        for instance in self.provisioning.instances().await? {
            match self.provisioning.trust_report(&instance).await {
                Ok(report) => {
                    warn(&instance, &report);
                    counts.insert(instance.id_scope.clone(), ExpiringCount::of(&report.expiring));
                }
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        *self.counts.lock() = counts;
        outcome
    }
}

impl ExpiringCounts {
    /// Returns the count of an instance; `None` before its first check, and where another process does the checks.
    pub fn of(&self, scope: &IdScope) -> Option<ExpiringCount> {
        self.lock().get(scope).copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IdScope, ExpiringCount>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ExpiringCount {
    fn of(expiring: &ExpiringCertificates) -> ExpiringCount {
        let mut count = ExpiringCount::default();
        for it in &expiring.certificates {
            *match it.holder {
                Holder::Ca(_) => &mut count.ca,
                Holder::Group(_) => &mut count.group,
                Holder::Individual(_) => &mut count.individual,
            } += 1;
        }
        count
    }
}

impl Drop for Clear<'_> {
    fn drop(&mut self) {
        self.0.lock().clear();
    }
}

fn warn(instance: &Instance, report: &TrustReport) {
    let (scope, certificates) = (&instance.id_scope, &report.expiring.certificates);
    for it in certificates.iter().take(MAX_WARNINGS) {
        let info = it.certificate.info();
        tracing::warn!(
            instance.id_scope = %scope,
            held_by = %it.holder,
            subject = info.subject_name,
            not_after = %info.not_after,
            "a certificate expires soon, or has expired"
        );
    }
    let count = certificates.len().saturating_sub(MAX_WARNINGS);
    if count > 0 {
        tracing::warn!(
            instance.id_scope = %scope,
            count,
            "more certificates expire soon: muster certificate list --expiring 30d"
        );
    }
    for name in &report.without_fresh_list {
        tracing::warn!(instance.id_scope = %scope, ca.name = %name, "a revocation list is missing or stale");
    }
}
