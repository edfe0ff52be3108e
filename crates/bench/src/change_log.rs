//! The cost of the change log per registration.
//!
//! The same registrations are committed to two stores, one of which writes its log a second time (by a trigger, into a
//! table of the same form). The difference is the cost of one log, or a little more. The stores take turns, so that other
//! work on the machine affects both.

use std::{net::IpAddr, path::Path, process, sync::Arc, time::Duration};

use durable::{Sealer, rusqlite::Connection};
use futures_util::{StreamExt, stream};
use model::{Actor, Attribution, Day, Job, LogOperation, OperationKind};
use provisioning::ports::{Change, Commit, Commits, Expect, InstanceWriter};
use store::EmbeddedStore;
use testkit::sample;

use crate::{cpu, load::Size, median};

/// Turns of each store. The medians count.
const TURNS: usize = 5;

/// The number of logs that each of the two stores writes.
const LOGS: [usize; 2] = [1, 2];

/// What the log costs one registration, which makes two entries.
#[derive(Debug, Clone, Copy)]
pub struct LogCost {
    /// CPU time of a registration's two commits at the store, with the log.
    pub commits: Duration,
    /// CPU time of the log.
    pub log: Duration,
    /// Bytes on disk of the log.
    pub bytes: u64,
}

/// Measures the cost.
pub async fn measure(size: Size) -> anyhow::Result<LogCost> {
    let (mut times, mut bytes) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..TURNS {
        for (at, logs) in LOGS.into_iter().enumerate() {
            let (time, disk) = register_all(logs, size).await?;
            times[at].push(time);
            bytes[at].push(disk);
        }
    }
    let ([once, twice], [small, large]) = (times.map(median), bytes.map(median));
    Ok(LogCost { commits: once, log: twice.saturating_sub(once), bytes: large.saturating_sub(small) })
}

/// Registers devices in a new store. Returns CPU time and bytes on disk per device.
async fn register_all(logs: usize, size: Size) -> anyhow::Result<(Duration, u64)> {
    // Not in the temporary directory, which may be in memory, where fsync is free.
    let dir = tempfile::tempdir_in(std::env::current_dir()?)?;
    let path = dir.path().join("store.db");
    let store = Arc::new(EmbeddedStore::open(&path, Sealer::from_key([7; 32]))?);
    store.put_instance(sample::instance("one"), sample::by()).await?;
    if logs == 2 {
        Connection::open(&path)?.execute_batch(LOG_TWICE)?;
    }
    let before = cpu::time(process::id())?;
    let calls = (0..size.devices).map(|number| tokio::spawn(register(Arc::clone(&store), number)));
    let mut done = stream::iter(calls).buffer_unordered(size.concurrency);
    while let Some(call) = done.next().await {
        call??;
    }
    drop(done);
    let time = cpu::time(process::id())?.saturating_sub(before);
    let store = Arc::into_inner(store).ok_or_else(|| anyhow::anyhow!("a registration is unfinished"))?;
    store.close().await;
    Ok((time / u32::try_from(size.devices)?, database_bytes(&path)? / size.devices as u64))
}

/// Returns the size of a database without free pages, which the write-ahead log would hide.
fn database_bytes(path: &Path) -> anyhow::Result<u64> {
    let connection = Connection::open(path)?;
    connection.execute_batch("VACUUM")?;
    let count = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
    Ok((count("PRAGMA page_count")? * count("PRAGMA page_size")?).cast_unsigned())
}

/// Commits what a registration commits: the device registered, and its hub has it.
async fn register(store: Arc<EmbeddedStore>, number: usize) -> anyhow::Result<()> {
    let id = format!("dev-{:016x}", (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut assigned = sample::registration_of(&id, "line");
    assigned.record.etag = sample::etag("91c3b5d7e0f2a468");
    let mut assigning = sample::while_assigning(assigned.clone());
    assigning.record.etag = sample::etag("6f1d0a9c7b3e5824");
    let after = Expect::Version(assigning.record.etag.clone());
    let counted = Some((OperationKind::Registration, Day::from_number(20_780)));
    let address = Some(IpAddr::from([192, 0, 2, 7]));
    let device = Actor::Device { registration_id: assigning.registration_id.clone(), address };
    let job = Actor::System(Job::Assignments);
    let steps = [
        (Expect::Absent, assigning, None, device, LogOperation::RegistrationRegister),
        (after, assigned, counted, job, LogOperation::RegistrationAssign),
    ];
    for (expect, registration, counted, actor, operation) in steps {
        let changes = vec![(expect, Change::PutRegistration(Box::new(registration)))];
        let by = Attribution { actor, operation, ..sample::by() };
        let commit = Commit { changes, operation: counted, ..Commit::by(by) };
        store.commit(&sample::scope("one"), commit).await?;
    }
    Ok(())
}

const LOG_TWICE: &str = "
    CREATE TABLE log_again (
        position INTEGER PRIMARY KEY, time INTEGER NOT NULL, instance INTEGER NOT NULL, kind INTEGER NOT NULL,
        operation INTEGER NOT NULL, key TEXT NOT NULL, version ANY, actor INTEGER NOT NULL, name TEXT, address BLOB
    ) STRICT;
    CREATE TRIGGER log_again AFTER INSERT ON log BEGIN
        INSERT INTO log_again VALUES (new.position, new.time, new.instance, new.kind, new.operation, new.key,
            new.version, new.actor, new.name, new.address);
    END";
