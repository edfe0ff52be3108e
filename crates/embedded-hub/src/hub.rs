//! The hub: its state, how it is opened, and its maintenance.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::rand;
use durable::Sealer;
use model::{DeviceId, HubName, SymmetricKey, Timestamp};
use net::CancellationToken;
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    auth::HubAuthorizer,
    config::{HubClock, HubConfig, Right},
    connections::Connections,
    failure::HubFailure,
    messages::Locks,
    storage::{Activity, Storage, StorageError},
};

/// A hub. Clones share it.
#[derive(Clone)]
pub struct Hub {
    pub(crate) core: Arc<Core>,
}

/// The state that the clones of a hub share.
pub(crate) struct Core {
    pub(crate) name: HubName,
    pub(crate) authorizer: HubAuthorizer,
    pub(crate) storage: Storage,
    pub(crate) connections: Connections,
    pub(crate) locks: Locks,
    pub(crate) clock: Arc<dyn HubClock>,
    pub(crate) telemetry: AtomicU64,
    last_creation: AtomicI64,
    device_locks: Vec<Mutex<()>>,
    hasher: RandomState,
}

/// How many devices a hub has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// All devices.
    pub devices: u64,
    /// Devices that may not connect.
    pub disabled: u64,
    /// Devices that are connected.
    pub connected: u64,
    /// Telemetry messages since the hub was opened.
    pub telemetry: u64,
}

impl Hub {
    /// Opens the hub's file; creates it if it is missing.
    pub fn open(config: HubConfig, sealer: Sealer, clock: impl HubClock) -> Result<Hub, StorageError> {
        let storage = Storage::open(&config.path, sealer)?;
        let own_name = config.host_name.as_str().to_owned();
        let authorizer = HubAuthorizer {
            host_names: std::iter::once(own_name).chain(config.aliases).collect(),
            policies: config.policies,
        };
        let core = Core {
            name: config.host_name,
            authorizer,
            storage,
            connections: Connections::default(),
            locks: Locks::default(),
            clock: Arc::new(clock),
            telemetry: AtomicU64::new(0),
            last_creation: AtomicI64::new(i64::MIN),
            device_locks: std::iter::repeat_with(Mutex::default).take(DEVICE_LOCKS).collect(),
            hasher: RandomState::new(),
        };
        Ok(Hub { core: Arc::new(core) })
    }

    /// Returns the hub's host name.
    pub fn name(&self) -> &HubName {
        &self.core.name
    }

    /// Returns whether `key` is one of a policy that allows `right`.
    pub fn allows(&self, policy: &str, key: &SymmetricKey, right: Right) -> bool {
        self.core.authorizer.allows(policy, key, right)
    }

    /// Counts devices and telemetry.
    pub fn counts(&self) -> Result<Counts, HubFailure> {
        let (devices, disabled) =
            self.core.storage.read(|rows| Ok((rows.device_count()?, rows.disabled_count()?)))?;
        let connected = self.core.connections.count() as u64;
        Ok(Counts { devices, disabled, connected, telemetry: self.core.telemetry.load(Ordering::Relaxed) })
    }

    /// Disconnects devices whose tokens have expired, requeues messages that were not settled in time, and records the activity of
    /// devices. Runs until `shutdown`, and records the remaining activity then.
    ///
    /// If the process is killed, the activity of the last second is lost; nothing that was acknowledged is part of it.
    pub async fn run_maintenance(&self, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(MAINTENANCE_INTERVAL)).await.is_some() {
            self.core.connections.close_expired(self.now());
            self.return_expired_leases().await;
            self.record_activity().await;
        }
        self.record_activity().await;
    }

    /// Records the activity of devices since the last call.
    pub(crate) async fn record_activity(&self) {
        let mut activity = self.core.connections.take_activity();
        while !activity.is_empty() {
            let rest = activity.split_off(activity.len().min(ACTIVITIES_PER_WRITE));
            if let Err(failure) = self.write_activity(std::mem::replace(&mut activity, rest)).await {
                tracing::warn!(%failure, "device activity was not written");
            }
        }
    }

    async fn write_activity(&self, activity: Vec<Activity>) -> Result<(), HubFailure> {
        self.core
            .storage
            .write(move |rows| activity.iter().try_for_each(|one| rows.record_activity(one)))
            .await
    }

    /// Runs a change to completion even if its caller is canceled: a committed change must also reach the device.
    pub(crate) async fn run_to_completion<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, HubFailure>> + Send + 'static,
    ) -> Result<T, HubFailure> {
        let outcome = tokio::spawn(change).await;
        outcome.unwrap_or_else(|error| Err(HubFailure::Broken(format!("a change did not end: {error}"))))
    }

    /// Locks a device, for a change of it or a connection: commits and the messages to its connection have the same order only if
    /// they are made under one lock.
    pub(crate) async fn lock_device(&self, id: &DeviceId) -> MutexGuard<'_, ()> {
        // Below `DEVICE_LOCKS`, so it fits and is in bounds.
        let index = self.core.hasher.hash_one(id) as usize % DEVICE_LOCKS;
        self.core.device_locks[index].lock().await
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.core.clock.now()
    }

    /// Returns the creation time for a new device: later than any before. It distinguishes a device from an earlier one of the same
    /// name, so a clock that stands still or is set back must not repeat it.
    pub(crate) fn creation_time(&self) -> Timestamp {
        let now = self.now().ticks();
        let later = |last: i64| Some(now.max(last.saturating_add(1)));
        let (Ok(last) | Err(last)) =
            self.core.last_creation.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
        Timestamp::from_ticks(now.max(last.saturating_add(1)))
    }
}

/// Makes a random device key.
#[expect(clippy::expect_used, reason = "without randomness no key can be made; 32 bytes are a key's length")]
pub(crate) fn new_key() -> SymmetricKey {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).expect("the operating system gives randomness");
    SymmetricKey::from_bytes(&bytes).expect("32 bytes are enough")
}

/// Makes a tracking ID: 32 hex digits. All zeros without randomness: it only helps to find a log line.
pub(crate) fn tracking_id() -> String {
    let mut bytes = [0; 16];
    let _ = rand::fill(&mut bytes);
    crate::auth::hex(&bytes)
}

/// The interval of [`Hub::run_maintenance`]: tokens expire on full seconds.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);
/// Devices in one write of activity, so that other writes are not delayed.
const ACTIVITIES_PER_WRITE: usize = 256;
/// The number of locks that devices share; a lock is held for the time of a commit.
const DEVICE_LOCKS: usize = 1024;
