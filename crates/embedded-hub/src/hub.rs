//! The hub itself: its state, how it is opened, and what runs beside the requests.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::rand;
use durable::Sealer;
use model::{DeviceId, HubName, SymmetricKey, Timestamp};
use net::CancellationToken;
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    access::HubAuthorizer,
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

/// What the clones of a hub share.
pub(crate) struct Core {
    pub(crate) name: HubName,
    pub(crate) authorizer: HubAuthorizer,
    pub(crate) storage: Storage,
    pub(crate) connections: Connections,
    pub(crate) locks: Locks,
    pub(crate) clock: Arc<dyn HubClock>,
    pub(crate) telemetry: AtomicU64,
    last_creation: AtomicI64,
    turns: Vec<Mutex<()>>,
    hasher: RandomState,
}

/// How many devices a hub has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub devices: u64,
    /// Those that may not connect.
    pub disabled: u64,
    /// Those that are connected.
    pub connected: u64,
    /// Telemetry messages since the hub was opened.
    pub telemetry: u64,
}

impl Hub {
    /// Opens the hub's file, creating it when it is missing.
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
            turns: std::iter::repeat_with(Mutex::default).take(TURNS).collect(),
            hasher: RandomState::new(),
        };
        Ok(Hub { core: Arc::new(core) })
    }

    /// The hub's host name.
    pub fn name(&self) -> &HubName {
        &self.core.name
    }

    /// Whether this is the key of a policy that allows this.
    pub fn allows(&self, policy: &str, key: &SymmetricKey, right: Right) -> bool {
        self.core.authorizer.allows(policy, key, right)
    }

    /// How many devices it has.
    pub fn counts(&self) -> Result<Counts, HubFailure> {
        let (devices, disabled) =
            self.core.storage.read(|rows| Ok((rows.device_count()?, rows.disabled_count()?)))?;
        let connected = self.core.connections.count() as u64;
        Ok(Counts { devices, disabled, connected, telemetry: self.core.telemetry.load(Ordering::Relaxed) })
    }

    /// Does what has its time: drops devices whose tokens have run out, takes back messages that were not
    /// settled in time, and notes when devices were seen and how much telemetry they sent. Runs until `shutdown` and notes the rest then.
    ///
    /// What devices did in the last second is lost when the process is killed; nothing that anybody
    /// was told is among it.
    pub async fn tend(&self, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(TEND_EVERY)).await.is_some() {
            self.core.connections.close_expired(self.now());
            self.return_lapsed().await;
            self.note_activity().await;
        }
        self.note_activity().await;
    }

    /// Writes down what devices did since the last time.
    pub(crate) async fn note_activity(&self) {
        let mut activity = self.core.connections.take_activity();
        while !activity.is_empty() {
            let rest = activity.split_off(activity.len().min(NOTED_AT_ONCE));
            if let Err(failure) = self.note(std::mem::replace(&mut activity, rest)).await {
                tracing::warn!(%failure, "device activity was not written");
            }
        }
    }

    async fn note(&self, activity: Vec<Activity>) -> Result<(), HubFailure> {
        self.core.storage.write(move |rows| activity.iter().try_for_each(|one| rows.note(one))).await
    }

    /// Runs a change to its end even if whoever asked goes away: what it committed must also be told.
    pub(crate) async fn carry_out<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, HubFailure>> + Send + 'static,
    ) -> Result<T, HubFailure> {
        let outcome = tokio::spawn(change).await;
        outcome.unwrap_or_else(|error| Err(HubFailure::Broken(format!("a change did not end: {error}"))))
    }

    /// Waits for the turn to change a device, or to connect as it: what is committed and what its
    /// connection is told keep one order only if nobody comes between them.
    pub(crate) async fn turn(&self, id: &DeviceId) -> MutexGuard<'_, ()> {
        // Below `TURNS`, so it fits and is in bounds.
        let index = self.core.hasher.hash_one(id) as usize % TURNS;
        self.core.turns[index].lock().await
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.core.clock.now()
    }

    /// The time for a device that is created now: later than that of any creation before. It is what tells a device from an
    /// earlier one of the same name, so a clock that stands or is set back must not repeat it.
    pub(crate) fn creation_time(&self) -> Timestamp {
        let now = self.now().ticks();
        let later = |last: i64| Some(now.max(last.saturating_add(1)));
        let (Ok(last) | Err(last)) =
            self.core.last_creation.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
        Timestamp::from_ticks(now.max(last.saturating_add(1)))
    }
}

/// A new random device key.
#[expect(clippy::expect_used, reason = "without randomness no key can be made; 32 bytes are a key's length")]
pub(crate) fn new_key() -> SymmetricKey {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).expect("the operating system gives randomness");
    SymmetricKey::from_bytes(&bytes).expect("32 bytes are enough")
}

/// A new tracking ID: 32 hex digits. All zeros if there is no randomness: it only helps to find a log line.
pub(crate) fn tracking_id() -> String {
    let mut bytes = [0; 16];
    let _ = rand::fill(&mut bytes);
    crate::access::hex(&bytes)
}

/// How often expiries and activity are looked at: tokens count in seconds.
const TEND_EVERY: Duration = Duration::from_secs(1);
/// Devices noted in one write, so that others get in between.
const NOTED_AT_ONCE: usize = 256;
/// Devices share this many turns; a turn lasts as long as a commit.
const TURNS: usize = 1024;
