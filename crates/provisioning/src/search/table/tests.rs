//! Pages of searches with small budgets, compared with what examining all records finds.

use std::collections::BTreeSet;

use async_trait::async_trait;
use model::{IdPrefix, SearchProgress};
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;
use crate::ports::{SearchRecord, SearchState, SearchUpdate};

/// The rows of a table, as records with their terms.
#[derive(Debug, Clone)]
struct Rows(Vec<SearchRecord>);

impl Rows {
    fn within(&self, range: &TermRange, at_most: usize) -> Vec<FoundTerm> {
        let mut found = Vec::new();
        for SearchRecord { id, terms, .. } in &self.0 {
            let position = |term: &SearchTerm| TermPosition { term: term.clone(), id: id.clone() };
            let positions = terms.iter().map(position).filter(|it| range.contains(it));
            found.extend(positions.map(|position| FoundTerm { position, terms: terms.clone() }));
        }
        found.sort_by(|one, other| one.position.cmp(&other.position));
        found.truncate(at_most);
        found
    }
}

#[async_trait]
impl SearchTable for Rows {
    async fn search_state(&self, _: &IdScope) -> Result<SearchState, StoreError> {
        Ok(SearchState::Absent)
    }

    async fn update_search(
        &self,
        _: &IdScope,
        _: Option<&SearchProgress>,
        _: SearchUpdate,
    ) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn clear_search(&self, _: &IdScope) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn count_terms(&self, _: &IdScope, range: &TermRange, at_most: usize) -> Result<usize, StoreError> {
        Ok(self.within(range, at_most).len())
    }

    async fn terms(
        &self,
        _: &IdScope,
        range: &TermRange,
        at_most: usize,
    ) -> Result<Vec<FoundTerm>, StoreError> {
        Ok(self.within(range, at_most))
    }
}

fn term(name: &str, value: u8) -> SearchTerm {
    SearchTerm::from_text(format!("{name}={value}"))
}

fn rows() -> impl Strategy<Value = Rows> {
    let record = ("[ab]{1,3}", 0..4u8, 0..3u8, 0..9u8);
    vec(record, 0..12).prop_map(|records| {
        let mut known = BTreeSet::new();
        let unique = records.into_iter().filter(|(id, ..)| known.insert(id.clone()));
        let record = |(id, failure, hub, time)| SearchRecord {
            kind: SearchedKind::Registration,
            id,
            terms: vec![term("failure", failure), term("hub", hub), term("time", time)],
        };
        Rows(unique.map(record).collect())
    })
}

fn search() -> impl Strategy<Value = Search> {
    let any_of = |name: &'static str, max: u8| {
        let terms = vec(0..max, 1..4).prop_map(move |all| all.iter().map(|it| term(name, *it)).collect());
        terms.prop_map(Condition::any_of)
    };
    let period = (0..9u8, 0..9u8).prop_map(|(one, other)| {
        Condition::within(term("time", one.min(other))..=term("time", one.max(other)))
    });
    let prefix = option::of(select(vec!["a", "b", "ab", "ba"]));
    let conditions = (option::of(any_of("failure", 4)), option::of(any_of("hub", 3)), option::of(period));
    (prefix, conditions).prop_filter_map("no condition", |(prefix, (failure, hub, period))| {
        let conditions: Vec<_> = [failure, hub, period].into_iter().flatten().collect();
        let prefix = prefix.and_then(IdPrefix::parse);
        (!conditions.is_empty()).then_some(Search { prefix, conditions })
    })
}

/// Returns the IDs that all pages of a search have, in their order.
async fn all_pages(rows: &Rows, search: &Search, limits: (usize, usize)) -> Vec<String> {
    let scope = testkit::sample::scope("one");
    let (mut found, mut after) = (Vec::new(), None);
    for _ in 0..100 {
        let conditions = search.conditions.iter().collect();
        let kind = SearchedKind::Registration;
        let table = TableSearch { kind, search, conditions, after, lag: Duration::ZERO };
        let keys = table.find_keys(rows, &scope, limits).await.unwrap();
        assert!(keys.found.len() <= limits.0, "{keys:?}");
        found.extend(keys.found);
        let Some(next) = keys.next else { return found };
        after = Some(parse_position(&next).unwrap());
    }
    panic!("the pages do not end: {found:?}");
}

proptest! {
    /// For pages (a limit below the budget) and for counts (one as large), with ranges that are cut anywhere.
    #[test]
    fn pages_find_each_record_once(
        rows in rows(), search in search(), limit in 1..4usize, examined in 1..5usize, counts: bool,
    ) {
        let limits = if counts { (examined, examined) } else { (limit, examined) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut found = runtime.block_on(all_pages(&rows, &search, limits));
        found.sort_unstable();
        let is_met = |record: &&SearchRecord| {
            search.prefix.as_ref().is_none_or(|prefix| prefix.is_prefix_of(&record.id))
                && search.holds_for(&record.terms)
        };
        let mut expected: Vec<_> = rows.0.iter().filter(is_met).map(|record| record.id.clone()).collect();
        expected.sort_unstable();
        prop_assert_eq!(found, expected);
    }
}
