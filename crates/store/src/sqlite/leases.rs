//! The leases of a file, in the memory of the process that has it open: no other process can hold one, so that they cost no
//! write. Only once a write has failed, as on a full disk, a renewal has to prove that writes succeed: a process that cannot store
//! anything is not ready. A restart forgets the leases, as it should: their holders are gone.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use model::{LeaseToken, Timestamp};
use provisioning::ports::{Clock, Lease, LeaseName, Leases, RunnerId, StoreError};

use crate::{
    SystemClock,
    log_row::TICKS_PER_MICRO,
    sqlite::{EmbeddedStore, Sqlite},
};

/// Writes a page of a table that nothing reads. A value must change, for SQLite does not write an unchanged row.
const PROBE: &str = "INSERT INTO leases (name, holder, until) VALUES ('probe', '', 0) \
                     ON CONFLICT DO UPDATE SET until = until + 1";

/// The leases that all handles on a file share.
#[derive(Clone)]
pub(super) struct ProcessLeases {
    clock: Arc<dyn Clock>,
    current: Arc<Mutex<CurrentLeases>>,
}

#[derive(Default)]
struct CurrentLeases {
    leases: BTreeMap<LeaseToken, Tenure>,
    last: u64,
}

/// What is known of a lease besides its token.
#[derive(Clone)]
struct Tenure {
    name: LeaseName,
    holder: RunnerId,
    until: Timestamp,
    /// Whether every write that the last holder began has ended.
    is_settled: bool,
}

impl Default for ProcessLeases {
    fn default() -> Self {
        ProcessLeases { clock: Arc::new(SystemClock), current: Arc::default() }
    }
}

impl fmt::Debug for ProcessLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProcessLeases")
    }
}

impl ProcessLeases {
    /// Whether the token is current.
    pub(super) fn is_current(&self, token: LeaseToken) -> bool {
        self.lock().leases.contains_key(&token)
    }

    /// Claims or renews a lease; `None` while another holder has it.
    fn claim(&self, name: &LeaseName, holder: &RunnerId, time: Duration) -> Option<(LeaseToken, Tenure)> {
        let now = self.clock.now();
        let until = Timestamp::from_ticks(now.ticks().saturating_add(ticks(time)));
        let mut current = self.lock();
        let found = current.leases.iter_mut().find(|(_, tenure)| tenure.name == *name);
        if let Some((token, tenure)) = found {
            if tenure.holder == *holder {
                tenure.until = until;
                return Some((*token, tenure.clone()));
            }
            if tenure.until > now {
                return None;
            }
            let ended = *token;
            current.leases.remove(&ended);
        }
        let token = current.next_token(now);
        let tenure = Tenure { name: name.clone(), holder: holder.clone(), until, is_settled: false };
        current.leases.insert(token, tenure.clone());
        Some((token, tenure))
    }

    fn settle(&self, token: LeaseToken) {
        if let Some(tenure) = self.lock().leases.get_mut(&token) {
            tenure.is_settled = true;
        }
    }

    fn lock(&self) -> MutexGuard<'_, CurrentLeases> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CurrentLeases {
    /// Makes a token that is greater than all before, also than those of earlier processes: it counts microseconds since 1970,
    /// and a claim, which waits for a writer, takes longer than one.
    fn next_token(&mut self, now: Timestamp) -> LeaseToken {
        let micros = u64::try_from(now.ticks() / TICKS_PER_MICRO).unwrap_or(0);
        self.last = micros.max(self.last + 1);
        LeaseToken::new(self.last)
    }
}

impl EmbeddedStore {
    /// Measures leases by this clock instead of the machine's. To be called before there are leases or other handles.
    #[must_use]
    pub fn with_lease_clock(self, clock: Arc<dyn Clock>) -> EmbeddedStore {
        let leases = ProcessLeases { clock, ..ProcessLeases::default() };
        EmbeddedStore { engine: Sqlite { leases, ..self.engine }, ..self }
    }
}

#[async_trait]
impl Leases for Sqlite {
    async fn claim(
        &self,
        name: &LeaseName,
        holder: &RunnerId,
        time: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        let Some((token, tenure)) = self.leases.claim(name, holder, time) else { return Ok(None) };
        let is_failing = self.database.is_failing();
        if !tenure.is_settled || is_failing {
            // Writers take turns: this one comes after every write that the last holder's token was still good for.
            self.write(move |connection| match is_failing {
                true => connection.execute(PROBE, []).map(drop),
                false => Ok(()),
            })
            .await?;
            self.leases.settle(token);
        }
        Ok(Some(Lease { name: tenure.name, holder: tenure.holder, token, left: time }))
    }

    async fn release(&self, token: LeaseToken) -> Result<(), StoreError> {
        self.leases.lock().leases.remove(&token);
        Ok(())
    }

    async fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        let now = self.leases.clock.now().ticks();
        let lease = |(token, tenure): (&LeaseToken, &Tenure)| {
            let left = u64::try_from(tenure.until.ticks() - now).unwrap_or(0);
            let (name, holder) = (tenure.name.clone(), tenure.holder.clone());
            Lease { name, holder, token: *token, left: Duration::from_nanos(left.saturating_mul(100)) }
        };
        Ok(self.leases.lock().leases.iter().map(lease).collect())
    }
}

fn ticks(time: Duration) -> i64 {
    i64::try_from(time.as_nanos() / 100).unwrap_or(i64::MAX)
}
