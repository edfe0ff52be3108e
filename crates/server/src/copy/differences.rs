//! What must be written so that one list of records equals another one.

use std::collections::{BTreeMap, VecDeque};

use provisioning::ports::{Change, Page, PageRequest, StoreError};

use super::record::Record;
use crate::pages::PAGE;

/// The changes that make one list of records equal to another one.
#[derive(Debug, PartialEq)]
pub(super) struct Differences {
    pub(super) changes: Vec<Change>,
    /// The number of records that were compared, less those that are deleted.
    pub(super) records: usize,
}

/// Returns the changes after which `held` equals `wanted`.
pub(super) fn differences<T: Record>(wanted: Vec<T>, held: Vec<T>) -> Differences {
    let records = wanted.len();
    let mut held: BTreeMap<String, T> = held.into_iter().map(|record| (record.key(), record)).collect();
    let mut differing = Vec::new();
    for record in wanted {
        if held.remove(&record.key()).is_none_or(|held| held != record) {
            differing.push(record);
        }
    }
    let deletions = held.into_values().map(Record::delete);
    Differences { changes: deletions.chain(differing.into_iter().map(Record::put)).collect(), records }
}

/// A listing that is read in the order of its keys.
pub(super) struct Listing<T, F> {
    read: F,
    /// Where the next page begins; `None` after the last one.
    next: Option<PageRequest>,
    records: VecDeque<T>,
}

impl<T: Record, F: AsyncFn(PageRequest) -> Result<Page<T>, StoreError>> Listing<T, F> {
    pub(super) fn new(read: F) -> Self {
        let next = Some(PageRequest { after: None, limit: PAGE });
        Listing { read, next, records: VecDeque::new() }
    }

    /// Returns the next records, up to this key.
    pub(super) async fn up_to(&mut self, key: &str) -> Result<Vec<T>, StoreError> {
        self.while_in(|record| record.key().as_str() <= key).await
    }

    /// Returns all records that are left.
    pub(super) async fn rest(&mut self) -> Result<Vec<T>, StoreError> {
        self.while_in(|_| true).await
    }

    async fn while_in(&mut self, is_in: impl Fn(&T) -> bool) -> Result<Vec<T>, StoreError> {
        let mut taken = Vec::new();
        loop {
            while let Some(record) = self.records.pop_front_if(|record| is_in(record)) {
                taken.push(record);
            }
            let Some(next) = self.next.take_if(|_| self.records.is_empty()) else { return Ok(taken) };
            let page = (self.read)(next).await?;
            self.records.extend(page.items);
            self.next = page.next.map(|after| PageRequest { after: Some(after), limit: PAGE });
        }
    }
}

#[cfg(test)]
mod tests {
    use model::IndividualEnrollment;
    use proptest::prelude::*;
    use testkit::sample;

    use super::*;

    /// A record for each number, in a version.
    fn records(versions: &BTreeMap<u16, bool>) -> Vec<IndividualEnrollment> {
        let record = |(number, version): (&u16, &bool)| {
            let record = sample::record(if *version { "new" } else { "old" });
            IndividualEnrollment { record, ..sample::individual(&format!("Dev-{number:05}")) }
        };
        versions.iter().map(record).collect()
    }

    fn apply(held: Vec<IndividualEnrollment>, changes: Vec<Change>) -> Vec<IndividualEnrollment> {
        let mut held: BTreeMap<String, _> = held.into_iter().map(|record| (record.key(), record)).collect();
        for change in changes {
            match change {
                Change::PutIndividual(record) => drop(held.insert(record.key(), *record)),
                Change::DeleteIndividual(id) => drop(held.remove(id.key().as_ref()).unwrap()),
                change => panic!("{change:?}"),
            }
        }
        held.into_values().collect()
    }

    fn page(
        records: &[IndividualEnrollment],
        wanted: &PageRequest,
        size: usize,
    ) -> Page<IndividualEnrollment> {
        let after = wanted.after.as_deref().unwrap_or_default();
        let items: Vec<_> =
            records.iter().filter(|it| it.key().as_str() > after).take(size).cloned().collect();
        let next = (items.len() == size).then(|| items.last().map(Record::key)).flatten();
        Page { items, next, ..Page::default() }
    }

    proptest! {
        /// Whatever was there, and wherever the pages of either side end.
        #[test]
        fn a_listing_becomes_equal_to_the_other_one(
            wanted in prop::collection::btree_map(0_u16..40, any::<bool>(), 0..40),
            held in prop::collection::btree_map(0_u16..40, any::<bool>(), 0..40),
            sizes in (1_usize..9, 1_usize..9),
        ) {
            let (wanted, held) = (records(&wanted), records(&held));
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let changes = runtime.block_on(async {
                let mut listing = Listing::new(async |request| Ok(page(&held, &request, sizes.1)));
                let mut changes = Vec::new();
                for records in wanted.chunks(sizes.0) {
                    let last = records.last().unwrap().key();
                    changes.extend(differences(records.to_vec(), listing.up_to(&last).await.unwrap()).changes);
                }
                changes.extend(differences(Vec::new(), listing.rest().await.unwrap()).changes);
                changes
            });
            prop_assert!(changes.len() <= wanted.len() + held.len());
            prop_assert_eq!(apply(held, changes), wanted.clone());
            prop_assert_eq!(differences(wanted.clone(), wanted).changes, []);
        }
    }
}
