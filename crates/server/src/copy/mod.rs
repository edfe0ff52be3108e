//! Copies the records of a database file into an empty PostgreSQL database.
//!
//! Both are read in the order of their keys, and what differs is written, so that a repeated copy continues an interrupted one,
//! and takes over what the service wrote to the file meanwhile. Afterwards both are read once more and compared. Until they were
//! the same, no node opens the database.

mod differences;
mod record;
mod summary;

use std::{path::Path, sync::Arc};

use anyhow::{Context, bail};
use futures_util::{StreamExt, stream};
use model::{Attribution, IdScope, Instance, Job, LeaseToken, LogOperation, Registration, Status};
use provisioning::ports::{
    Cleanups, Clock, Commit, Commits, Enrollments, Expect, InstanceWriter, Instances, Page, PageRequest,
    Registrations, StoreError,
};
use store::{EmbeddedStore, PostgresStore};

use self::{
    differences::{Differences, Listing, differences},
    record::Record,
    summary::{Metering, metering, summary},
};
use crate::{pages::each_page, ports::SystemClock, store_location::SharedDatabase};

pub use self::summary::Copied;

/// Records that are written at a time: what waits while one transaction is under way is the next one.
const CONCURRENT: usize = 128;

/// A copy that was not begun yet.
pub struct Copy {
    from: EmbeddedStore,
    to: PostgresStore,
}

impl Copy {
    /// Opens the file for reading and the database for writing. Both have the key of the database, which is empty or has an
    /// unfinished copy.
    pub async fn open(file: &Path, database: &SharedDatabase) -> anyhow::Result<Copy> {
        let (sealer, file) = (database.key()?, std::path::absolute(file)?);
        let name = file.display().to_string();
        let from = EmbeddedStore::look(&file, sealer.clone()).with_context(|| name.clone())?;
        let to = PostgresStore::begin_copy((*database.settings).clone(), sealer, &name).await?;
        Ok(Copy { from, to })
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

    /// Copies all records, calls `step` after each that was read, and compares both sides. Nodes may open the database once this
    /// has succeeded.
    pub async fn run(&self, mut step: impl FnMut()) -> anyhow::Result<Vec<Copied>> {
        for instance in self.from.snapshot().await?.instances() {
            self.put_instance(&instance).await?;
            let scope = &instance.id_scope;
            self.put_configuration(scope, &mut step).await?;
            self.put_listings(scope, &mut step).await?;
        }
        // Their ID scopes are not used again there either. What a deletion had not reached yet is left behind.
        for deleted in self.from.snapshot().await?.deleted() {
            self.to.put_instance((*deleted).clone(), by_copy()).await?;
        }
        let metering = metering(&self.from).await?;
        for (scope, rows) in &metering {
            self.to.import_usage(scope, rows).await?;
        }
        let copied = self.compare(&metering).await?;
        self.to.finish_copy().await?;
        Ok(copied)
    }

    async fn put_instance(&self, instance: &Instance) -> anyhow::Result<()> {
        let held = self.to.instance(&instance.id_scope).await?;
        if held.is_none_or(|held| *held != *instance) {
            self.to.put_instance(instance.clone(), by_copy()).await?;
        }
        Ok(())
    }

    /// Copies the groups, CA certificates, revocation lists and blocks of an instance.
    async fn put_configuration(&self, scope: &IdScope, step: &mut impl FnMut()) -> anyhow::Result<()> {
        let from = self.from.configuration(scope).await?;
        let to = self.to.configuration(scope).await?;
        let groups = (from.groups().all(), to.groups().all());
        self.put(scope, differences(cloned(groups.0), cloned(groups.1)), step).await?;
        let (from, to) = (from.trust(), to.trust());
        let changes = differences(cloned(from.certificates()), cloned(to.certificates()));
        self.put(scope, changes, step).await?;
        self.put(scope, differences(cloned(from.lists()), cloned(to.lists())), step).await?;
        self.put(scope, differences(cloned(from.blocks()), cloned(to.blocks())), step).await
    }

    async fn put_listings(&self, scope: &IdScope, step: &mut impl FnMut()) -> anyhow::Result<()> {
        let (from, to) = (&self.from, &self.to);
        let individuals = async |page| from.individuals(scope, page).await;
        self.put_pages(scope, individuals, async |page| to.individuals(scope, page).await, step).await?;
        let registrations = async |page| {
            let page = from.registrations(scope, page).await?;
            // Before the runs are there, so that no lease of the copy has the token of one of theirs.
            if let Some(token) = page.items.iter().filter_map(runner).max() {
                to.begin_leases_after(token).await?;
            }
            Ok(page)
        };
        self.put_pages(scope, registrations, async |page| to.registrations(scope, page).await, step).await?;
        let cleanups = async |page| from.cleanups(scope, page).await;
        self.put_pages(scope, cleanups, async |page| to.cleanups(scope, page).await, step).await
    }

    /// Makes a listing of the database equal to that of the file.
    async fn put_pages<T: Record>(
        &self,
        scope: &IdScope,
        from: impl AsyncFn(PageRequest) -> Result<Page<T>, StoreError>,
        to: impl AsyncFn(PageRequest) -> Result<Page<T>, StoreError>,
        step: &mut impl FnMut(),
    ) -> anyhow::Result<()> {
        let mut held = Listing::new(to);
        each_page(from, async |records| {
            let Some(last) = records.last().map(Record::key) else { return Ok(()) };
            let changes = differences(records, held.up_to(&last).await?);
            self.put(scope, changes, step).await
        })
        .await?;
        self.put(scope, differences(Vec::new(), held.rest().await?), step).await
    }

    /// Makes changes, and calls `step` for each record of the file.
    async fn put(
        &self,
        scope: &IdScope,
        changes: Differences,
        step: &mut impl FnMut(),
    ) -> anyhow::Result<()> {
        let commits = changes.changes.into_iter().map(|change| {
            let commit = Commit { changes: vec![(Expect::Anything, change)], ..Commit::by(by_copy()) };
            self.to.commit(scope, commit)
        });
        let mut writing = stream::iter(commits).buffer_unordered(CONCURRENT);
        while let Some(written) = writing.next().await {
            written?;
        }
        (0..changes.records).for_each(|_| step());
        Ok(())
    }

    async fn compare(&self, operations: &Metering) -> anyhow::Result<Vec<Copied>> {
        let source = summary(&self.from, operations).await?;
        let copy = summary(&self.to, &metering(&self.to).await?).await?;
        for (source, copy) in source.iter().zip(&copy) {
            if source != copy {
                bail!(
                    "the copy has {} {}, and the file {}, or not the same: the service wrote meanwhile; stop it, and copy once \
                     more, which takes over what differs",
                    copy.count,
                    copy.kind,
                    source.count
                );
            }
        }
        Ok(source)
    }
}

fn cloned<'a, T: Clone + 'a>(records: impl Iterator<Item = &'a Arc<T>>) -> Vec<T> {
    records.map(|record| T::clone(record)).collect()
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
