//! Search tables: the terms of each record, all of which a search goes through.

use std::collections::{BTreeMap, BTreeSet};

use model::{SearchTerm, SearchedKind};
use provisioning::ports::{FoundTerm, SearchRecord, TermPosition, TermRange};
use store::engine::SearchRows;

/// The search tables by the number of their instance.
#[derive(Debug, Default)]
pub(crate) struct SearchTables(BTreeMap<i64, SearchRecords>);

#[derive(Debug, Default)]
struct SearchRecords {
    progress: String,
    records: BTreeMap<(SearchedKind, String), Vec<SearchTerm>>,
}

impl SearchTables {
    pub(crate) fn progress(&self, instance: i64) -> Option<String> {
        self.0.get(&instance).map(|table| table.progress.clone())
    }

    pub(crate) fn update(&mut self, instance: i64, rows: SearchRows) -> bool {
        if self.progress(instance) != rows.expected {
            return false;
        }
        let table = self.0.entry(instance).or_default();
        table.progress = rows.next;
        for SearchRecord { kind, id, terms } in rows.records {
            table.records.insert((kind, id), terms);
        }
        true
    }

    pub(crate) fn clear(&mut self, instance: i64) {
        self.0.remove(&instance);
    }

    pub(crate) fn terms(&self, instance: i64, range: &TermRange, limit: usize) -> Vec<FoundTerm> {
        let records = self.0.get(&instance).into_iter().flat_map(|table| &table.records);
        let mut found = Vec::new();
        for ((_, id), terms) in records.filter(|((kind, _), _)| *kind == range.kind) {
            let position = |term: &SearchTerm| TermPosition { term: term.clone(), id: id.clone() };
            let positions: BTreeSet<_> = terms.iter().map(position).collect();
            let within = positions.into_iter().filter(|position| range.contains(position));
            found.extend(within.map(|position| FoundTerm { position, terms: terms.clone() }));
        }
        found.sort_by(|one, other| one.position.cmp(&other.position));
        found.truncate(limit);
        found
    }
}
