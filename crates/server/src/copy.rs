//! Copies the records of a database file into an empty PostgreSQL database.
//!
//! Records are written only where there are none, so that an interrupted copy continues when it is repeated. Afterwards both are
//! read and compared. The source is opened for reading: the service may run on it, but what it writes meanwhile is missing in
//! the copy, which the comparison finds.

use std::path::Path;

use anyhow::{Context, bail};
use aws_lc_rs::digest::{self, SHA256};
use durable::Sealer;
use futures_util::{StreamExt, stream};
use model::{Attribution, Day, IdScope, Job, LeaseToken, LogEntry, LogOperation, Registration, Status};
use provisioning::ports::{
    Change, ChangeLog, Cleanups, Clock, Commit, Commits, Enrollments, Expect, InstanceWriter, Instances,
    LogQuery, Page, PageRequest, Registrations, Store, StoreError, Usage,
};
use serde::Serialize;
use store::{EmbeddedStore, PostgresStore};

use crate::{pages::each_page, ports::SystemClock, store_location::SharedDatabase};

/// Entries of the change log that are read at a time.
const LOG_PAGE: usize = 500;

/// Records that are written at a time: what waits while one transaction is under way is the next one.
const CONCURRENT: usize = 128;

/// The last day that is copied of the metering: the year 9999.
const LAST_DAY: i32 = 2_932_896;

/// What was copied of one kind of records, and found to be the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// What they are.
    pub kind: &'static str,
    /// Their number.
    pub count: u64,
    /// The SHA-256 of the records in their order.
    pub sha256: String,
}

/// A copy that was not begun yet.
pub struct Copy {
    from: EmbeddedStore,
    to: PostgresStore,
}

impl Copy {
    /// Opens the file for reading and the database for writing. Both have the key of the database.
    pub async fn open(file: &Path, database: &SharedDatabase) -> anyhow::Result<Copy> {
        let sealer: Sealer = database.key()?;
        let from = EmbeddedStore::look(file, sealer.clone()).with_context(|| file.display().to_string())?;
        Ok(Copy { from, to: database.connect(&sealer).await? })
    }

    /// Returns the number of records to copy. Fails if one cannot be read: it has to be restored or dropped first.
    pub async fn count(&self) -> anyhow::Result<usize> {
        let from = self.from.clone();
        let inspection =
            tokio::task::spawn_blocking(move || from.inspect(crate::maintenance::AT_MOST)).await??;
        if let Some(problem) = inspection.file.problems.first() {
            bail!("{problem}; run `muster store check --repair`");
        }
        if let Some((record, reason)) = inspection.damaged.first() {
            bail!("{record} cannot be read: {reason}; run `muster store check`");
        }
        let is_copied = |table: &str| table != "attempts" && table != "instances";
        let counts = inspection.counts.iter().filter(|(table, _)| is_copied(table));
        Ok(usize::try_from(counts.map(|(_, count)| count).sum::<u64>())?)
    }

    /// Copies all records, calls `step` after each, and compares both sides.
    pub async fn run(&self, mut step: impl FnMut()) -> anyhow::Result<Vec<Copied>> {
        self.reject_database_in_use().await?;
        for instance in self.from.snapshot().await?.instances() {
            let scope = &instance.id_scope;
            self.to.create_instance((*instance).clone(), by_copy()).await?;
            let configuration = self.from.configuration(scope).await?;
            let trust = configuration.trust();
            let groups = configuration.groups().all().map(|it| Change::PutGroup(Box::new((**it).clone())));
            let cas = trust.certificates().map(|it| Change::PutCertificate(Box::new((**it).clone())));
            let lists = trust.lists().map(|it| Change::PutRevocationList(Box::new((**it).clone())));
            let blocks = trust.blocks().map(|it| Change::PutBlock(Box::new((**it).clone())));
            let changes: Vec<Change> = groups.chain(cas).chain(lists).chain(blocks).collect();
            self.put(scope, changes, &mut step).await?;
            self.put_listings(scope, &mut step).await?;
            let usage = self.from.usage(scope, Day::from_number(0), Day::from_number(LAST_DAY)).await?;
            self.to.import_usage(scope, &usage).await?;
        }
        self.compare().await
    }

    /// Fails if the database is not empty, and does not have what an earlier copy of the same file wrote: records that were
    /// deleted there since would be created again.
    async fn reject_database_in_use(&self) -> anyhow::Result<()> {
        for instance in self.from.snapshot().await?.instances() {
            let scope = &instance.id_scope;
            let Some(held) = self.to.instance(scope).await? else { continue };
            if *held != *instance {
                bail!(
                    "the database has the instance {scope} already, with other settings: copy to an empty one"
                );
            }
            if self.was_served(scope).await? {
                bail!("nodes served the instance {scope} from the database already: copy to an empty one");
            }
        }
        Ok(())
    }

    /// Returns whether anything but a copy changed an instance in the database.
    async fn was_served(&self, scope: &IdScope) -> anyhow::Result<bool> {
        let mut query = LogQuery { limit: LOG_PAGE, ..LogQuery::default() };
        loop {
            let page = self.to.read_log(scope, query.clone()).await?;
            let by_others = |entry: &LogEntry| entry.attribution.operation != LogOperation::RecordRestore;
            if page.entries.iter().any(by_others) {
                return Ok(true);
            }
            if !page.more {
                return Ok(false);
            }
            query.after = page.next;
        }
    }

    async fn put_listings(&self, scope: &IdScope, step: &mut impl FnMut()) -> anyhow::Result<()> {
        let from = &self.from;
        let read = async |page| from.individuals(scope, page).await;
        self.put_pages(scope, read, |it| Change::PutIndividual(Box::new(it)), step).await?;
        let read = async |page| {
            let page = from.registrations(scope, page).await?;
            // Before the runs are there, so that no lease of the copy has the token of one of theirs.
            if let Some(token) = page.items.iter().filter_map(runner).max() {
                self.to.begin_leases_after(token).await?;
            }
            Ok(page)
        };
        self.put_pages(scope, read, |it| Change::PutRegistration(Box::new(it)), step).await?;
        let read = async |page| from.cleanups(scope, page).await;
        self.put_pages(scope, read, |it| Change::PutCleanup(Box::new(it)), step).await
    }

    async fn put_pages<T>(
        &self,
        scope: &IdScope,
        read: impl AsyncFn(PageRequest) -> Result<Page<T>, StoreError>,
        put: impl Fn(T) -> Change,
        step: &mut impl FnMut(),
    ) -> anyhow::Result<()> {
        each_page(read, async |items| self.put(scope, items.into_iter().map(&put).collect(), step).await)
            .await
    }

    /// Writes records that are not there yet.
    async fn put(&self, scope: &IdScope, puts: Vec<Change>, step: &mut impl FnMut()) -> anyhow::Result<()> {
        let commits = puts.into_iter().map(|put| {
            let commit = Commit { changes: vec![(Expect::Absent, put)], ..Commit::by(by_copy()) };
            self.to.commit(scope, commit)
        });
        let mut writing = stream::iter(commits).buffer_unordered(CONCURRENT);
        while let Some(written) = writing.next().await {
            written?;
            step();
        }
        Ok(())
    }

    async fn compare(&self) -> anyhow::Result<Vec<Copied>> {
        let (source, copy) = (summary(&self.from).await?, summary(&self.to).await?);
        for (source, copy) in source.iter().zip(&copy) {
            if source != copy {
                bail!(
                    "the copy has {} {}, and the file {}, or not the same: if the service wrote meanwhile, stop it, empty the \
                     database, and copy again",
                    copy.count,
                    copy.kind,
                    source.count
                );
            }
        }
        Ok(source)
    }
}

/// Returns the lease that a run of the source was under.
fn runner(registration: &Registration) -> Option<LeaseToken> {
    match &registration.status {
        Status::Assigning { runner, .. } => *runner,
        _ => None,
    }
}

fn by_copy() -> Attribution {
    Attribution::by_job(Job::Maintenance, LogOperation::RecordRestore, SystemClock.now())
}

/// Returns the count and digest of each kind of records, over all instances.
async fn summary(store: &impl Store) -> anyhow::Result<Vec<Copied>> {
    let names = ["instances", "configuration", "enrollments", "registrations", "cleanups", "operations"];
    let mut summaries = names.map(Summary::new);
    let [instances, configuration, individuals, registrations, cleanups, operations] = &mut summaries;
    let snapshot = store.snapshot().await?;
    let mut served = snapshot.instances();
    served.sort_by_key(|instance| instance.id_scope.key().into_owned());
    for instance in served {
        let scope = &instance.id_scope;
        instances.add(&*instance)?;
        let known = snapshot.configuration(scope)?;
        let trust = known.trust();
        configuration.add_unordered(known.groups().all())?;
        configuration.add_unordered(trust.certificates())?;
        configuration.add_unordered(trust.lists())?;
        configuration.add_unordered(trust.blocks())?;
        individuals.add_pages(async |page| store.individuals(scope, page).await).await?;
        registrations.add_pages(async |page| store.registrations(scope, page).await).await?;
        cleanups.add_pages(async |page| store.cleanups(scope, page).await).await?;
        for row in store.usage(scope, Day::from_number(0), Day::from_number(LAST_DAY)).await? {
            operations.add(&(row.day.number(), row.kind, row.count))?;
        }
    }
    Ok(summaries.into_iter().map(Summary::finish).collect())
}

/// The count and digest of records that are read one after the other.
struct Summary {
    kind: &'static str,
    count: u64,
    digest: digest::Context,
}

impl Summary {
    fn new(kind: &'static str) -> Summary {
        Summary { kind, count: 0, digest: digest::Context::new(&SHA256) }
    }

    fn add(&mut self, record: &impl Serialize) -> anyhow::Result<()> {
        self.add_bytes(&serde_json::to_vec(record)?);
        Ok(())
    }

    fn add_bytes(&mut self, record: &[u8]) {
        self.count += 1;
        self.digest.update(&(record.len() as u64).to_be_bytes());
        self.digest.update(record);
    }

    /// Adds records that stores return in different orders.
    fn add_unordered<T: Serialize>(&mut self, records: impl Iterator<Item = T>) -> anyhow::Result<()> {
        let mut records: Vec<_> =
            records.map(|record| serde_json::to_vec(&record)).collect::<Result<_, _>>()?;
        records.sort();
        records.iter().for_each(|record| self.add_bytes(record));
        Ok(())
    }

    async fn add_pages<T: Serialize>(
        &mut self,
        read: impl AsyncFn(PageRequest) -> Result<Page<T>, StoreError>,
    ) -> anyhow::Result<()> {
        each_page(read, async |items| items.iter().try_for_each(|record| self.add(record))).await
    }

    fn finish(self) -> Copied {
        let sha256 = self.digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Copied { kind: self.kind, count: self.count, sha256 }
    }
}
