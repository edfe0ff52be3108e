//! Searches among enrollments and registrations by reading them one after another, as a listing by index returns them.

use model::{IdPrefix, Search, Searchable};

use crate::ports::{Page, PageRequest};

/// The number of records that one request examines at most: 10 to 20 ms.
const EXAMINED: usize = 1000;

/// The number of records that are examined at once, unless a page has more.
const EXAMINED_AT_ONCE: usize = 100;

/// The examination of a listing, in portions: the records that meet a search become a page. It may have few or none although
/// more follow.
pub(super) struct Scan<'a, T> {
    search: &'a Search,
    limit: usize,
    at_once: usize,
    examined: usize,
    found: Page<T>,
    is_done: bool,
}

impl<'a, T: Searchable> Scan<'a, T> {
    /// Begins a page.
    pub(super) fn new(search: &'a Search, page: PageRequest) -> Scan<'a, T> {
        let PageRequest { after, limit } = page;
        let next = after.or_else(|| search.prefix.as_ref().map(IdPrefix::just_before));
        let at_once = if search.conditions.is_empty() { limit } else { limit.max(EXAMINED_AT_ONCE) };
        Scan { search, limit, at_once, examined: 0, found: Page { next, ..Page::default() }, is_done: false }
    }

    /// Returns the next portion of the listing to read; `None` once the page is complete.
    pub(super) fn next_portion(&self) -> Option<PageRequest> {
        let request = || PageRequest { after: self.found.next.clone(), limit: self.at_once };
        (!self.is_done).then(request)
    }

    /// Examines a portion.
    pub(super) fn examine(&mut self, portion: Page<T>) {
        let is_beyond =
            |last: &T| self.search.prefix.as_ref().is_some_and(|prefix| !prefix.is_prefix_of(&last.key()));
        let is_end = portion.items.last().is_some_and(is_beyond);
        self.examined += self.at_once;
        self.found.items.extend(portion.items.into_iter().filter(|record| self.search.matches(record)));
        self.found.damaged.extend(portion.damaged);
        self.found.next = portion.next.filter(|_| !is_end);
        let is_full = self.found.items.len() >= self.limit;
        self.is_done = self.found.next.is_none() || is_full || self.examined + self.at_once > EXAMINED;
    }

    /// Returns the page.
    pub(super) fn into_page(mut self) -> Page<T> {
        if self.found.items.len() > self.limit {
            self.found.items.truncate(self.limit);
            self.found.next = self.found.items.last().map(|record| record.key().into_owned());
        }
        self.found
    }
}

#[cfg(test)]
mod tests {
    use model::{Registration, RegistrationSearch, StatusKind};
    use testkit::sample;

    use super::*;

    fn registrations(count: usize) -> Vec<Registration> {
        let failed = |at: usize| sample::statuses("any").into_iter().nth(at).map(|(_, status)| status);
        let one = |at: usize| {
            let registration = sample::registration(&format!("dev-{at:05}"));
            // Every 500th one has another status than the others.
            match failed(0).filter(|_| at % 500 == 499) {
                Some(status) => Registration { status, ..registration },
                None => registration,
            }
        };
        (0..count).map(one).collect()
    }

    fn portion(all: &[Registration], request: PageRequest) -> Page<Registration> {
        let after = request.after.unwrap_or_default();
        let rest: Vec<_> = all.iter().filter(|it| *it.key() > *after).collect();
        let items: Vec<_> = rest.iter().take(request.limit).copied().cloned().collect();
        let next = items.last().filter(|_| rest.len() > items.len()).map(|it| it.key().into_owned());
        Page { items, next, damaged: Vec::new() }
    }

    /// Whatever the limit, all pages together have what meets the search once, and no page examines more than its bound.
    #[test]
    fn pages_have_all_that_meets_the_search_and_examine_few() {
        let all = registrations(2600);
        let status = all[499].status.kind();
        assert_ne!(status, StatusKind::Assigned);
        for (prefix, limit) in
            [(None, 1), (None, 7), (Some("dev-00"), 300), (Some("dev-009"), 1000), (Some("x"), 5)]
        {
            let prefix = prefix.and_then(IdPrefix::parse);
            let search = RegistrationSearch { prefix, status: Some(status), ..RegistrationSearch::default() };
            let search = Search::from(&search);
            let expected: Vec<_> = all.iter().filter(|it| search.matches(*it)).cloned().collect();
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let mut scan = Scan::new(&search, PageRequest { after, limit });
                let mut examined = 0;
                while let Some(request) = scan.next_portion() {
                    let portion = portion(&all, request);
                    examined += portion.items.len();
                    scan.examine(portion);
                }
                let page = scan.into_page();
                assert!(examined <= EXAMINED && page.items.len() <= limit, "{examined}");
                found.extend(page.items);
                match page.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
            assert_eq!(found, expected, "{:?} {limit}", search.prefix);
        }
    }
}
