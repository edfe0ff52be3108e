//! Counts and digests of all records of a store.

use std::sync::Arc;

use aws_lc_rs::digest::{self, SHA256};
use model::{Day, IdScope, Instance, UsageRow};
use provisioning::{
    configuration::Snapshot,
    ports::{Page, PageRequest, Store, StoreError},
};
use serde::Serialize;

use crate::pages::each_page;

/// The days that are copied of the metering: until the year 9999.
const ALL_DAYS: (Day, Day) = (Day::from_number(0), Day::from_number(2_932_896));

/// The operations that were counted, by instance.
pub(super) type Metering = Vec<(IdScope, Vec<UsageRow>)>;

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

/// Returns the operations that a store counted.
pub(super) async fn metering(store: &impl Store) -> anyhow::Result<Metering> {
    let mut metering = Vec::new();
    for instance in instances(&*store.snapshot().await?) {
        let rows = store.usage(&instance.id_scope, ALL_DAYS.0, ALL_DAYS.1).await?;
        metering.push((instance.id_scope.clone(), rows));
    }
    Ok(metering)
}

/// Returns the instances in the order of their ID scopes.
fn instances(snapshot: &Snapshot) -> Vec<Arc<Instance>> {
    let mut instances = snapshot.instances();
    instances.sort_by_key(|instance| instance.id_scope.key().into_owned());
    instances
}

/// Returns the count and digest of each kind of records, over all instances, with these operations. A service counts operations
/// that only read, too, so that those of a store may change at any time.
pub(super) async fn summary(store: &impl Store, metering: &Metering) -> anyhow::Result<Vec<Copied>> {
    let names = ["instances", "configuration", "enrollments", "registrations", "cleanups", "operations"];
    let mut summaries = names.map(Summary::new);
    let [served, configuration, individuals, registrations, cleanups, operations] = &mut summaries;
    let snapshot = store.snapshot().await?;
    for instance in instances(&snapshot) {
        let scope = &instance.id_scope;
        served.add(&*instance)?;
        let known = snapshot.configuration(scope)?;
        let trust = known.trust();
        configuration.add_unordered(known.groups().all())?;
        configuration.add_unordered(trust.certificates())?;
        configuration.add_unordered(trust.lists())?;
        configuration.add_unordered(trust.blocks())?;
        individuals.add_pages(async |page| store.individuals(scope, page).await).await?;
        registrations.add_pages(async |page| store.registrations(scope, page).await).await?;
        cleanups.add_pages(async |page| store.cleanups(scope, page).await).await?;
    }
    for row in metering.iter().flat_map(|(_, rows)| rows) {
        operations.add(&(row.day.number(), row.kind, row.count))?;
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
