//! The throttle of polls.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use model::{IdScope, Quota, RateLimiter, RegistrationId};
use provisioning::ports::DeviceRecords;
use tokio::time::Instant;

/// The devices whose polls are tracked: 10 MB. Those beyond are not limited.
const MAX_TRACKED_DEVICES: usize = 65_536;

/// Limits the polls of each device, where its instance has a limit. Each process counts its own.
pub(crate) struct PollLimiter(Mutex<RateLimiter<(IdScope, RegistrationId)>>);

impl Default for PollLimiter {
    fn default() -> Self {
        PollLimiter(Mutex::new(RateLimiter::new(MAX_TRACKED_DEVICES)))
    }
}

impl PollLimiter {
    /// Counts a poll. Fails if it is one too many, with the time after which the next one is not.
    pub(crate) fn admit(&self, device: &DeviceRecords) -> Result<(), Duration> {
        let Some(limit) = device.instance.rate_limit(Quota::PollsPer10Seconds) else { return Ok(()) };
        let key = (device.instance.id_scope.clone(), device.registration_id.clone());
        let mut limiter = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        limiter.admit(&key, limit, Instant::now().into_std())
    }
}
