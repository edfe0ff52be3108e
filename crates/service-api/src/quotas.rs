//! `GET /quotas`, which is not part of the hosted service's API, and the throttle of operations.

use std::sync::{Mutex, PoisonError};

use model::{IdScope, Instance, Quota, RateLimiter};
use tokio::time::Instant;
use wire::service::{UsedQuota, quota_report_json};

use crate::{
    error::Failure,
    reply,
    request::Call,
    route::{Answer, Route},
};

/// Limits the calls of each instance to its operations per minute. Each process counts its own.
pub(crate) struct OperationLimiter(Mutex<RateLimiter<IdScope>>);

impl Default for OperationLimiter {
    fn default() -> Self {
        // One key for each instance, of which there are few.
        OperationLimiter(Mutex::new(RateLimiter::new(usize::MAX)))
    }
}

impl OperationLimiter {
    /// Counts a call. Fails if it is one too many; then it is not counted.
    pub(crate) fn admit(&self, instance: &Instance, route: &Route) -> Result<(), Failure> {
        let limit = instance.rate_limit(Quota::OperationsPerMinute).filter(|_| route.is_operation());
        let Some(limit) = limit else { return Ok(()) };
        let mut limiter = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted = limiter.admit(&instance.id_scope, limit, Instant::now().into_std());
        admitted.map_err(|wait| Failure::Throttled { wait, limit: limit.count })
    }

    /// Returns how many of the calls that the limit permits at once are used up; `None` without a limit.
    pub(crate) fn used(&self, instance: &Instance) -> Option<u32> {
        let limit = instance.rate_limit(Quota::OperationsPerMinute)?;
        let limiter = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(limiter.used(&instance.id_scope, limit, Instant::now().into_std()))
    }
}

/// Returns the limits of the instance, and how much of each is used.
pub(crate) async fn read(call: &Call) -> Answer {
    let records = call.verbs().quota_use(call.instance()).await?;
    let used = |quota: Quota| match quota {
        Quota::OperationsPerMinute => call.operations_used().map(u64::from),
        Quota::RegistrationsPerMinute => call.registrations_used().map(u64::from),
        _ => records.iter().find(|row| row.quota == quota).map(|row| row.used),
    };
    let rows = Quota::ALL.map(|quota| UsedQuota { quota, used: used(quota) });
    Ok(reply::ok(&quota_report_json(call.instance(), &rows)))
}
