//! Lists and counts what meets a search. Each successful call is counted as one operation.

use futures_util::future::join_all;
use model::{
    EnrollmentSearch, Instance, OperationKind, Registration, RegistrationId, RegistrationSearch, Search,
    SearchedKind, StatusKind,
};

use super::{SearchCount, SearchMethod, SearchPage, scan::Scan, table};
use crate::{
    Error, Provisioning,
    enroll::Enrollment,
    ports::{Page, PageRequest},
};

/// The records that a request examines that counts without the table.
const COUNTED_BY_SCAN: usize = 1000;

impl Provisioning {
    /// Returns a page of the enrollments that meet a search.
    pub async fn list_enrollments<E: Enrollment>(
        &self,
        instance: &Instance,
        search: &EnrollmentSearch,
        page: PageRequest,
    ) -> Result<SearchPage<E>, Error> {
        let found = self.enrollment_page(instance, &search.into(), page).await?;
        self.count(instance, OperationKind::EnrollmentQuery).await?;
        Ok(found)
    }

    /// Returns a page of the registrations that meet a search.
    pub async fn list_registrations(
        &self,
        instance: &Instance,
        search: &RegistrationSearch,
        page: PageRequest,
    ) -> Result<SearchPage<Registration>, Error> {
        let found = self.registration_page(instance, search, page).await?;
        self.count(instance, OperationKind::RegistrationQuery).await?;
        Ok(found)
    }

    /// Counts the enrollments that meet a search, from a position on. A count by the table is of the time until which that follows
    /// the change log.
    pub async fn count_enrollments<E: Enrollment>(
        &self,
        instance: &Instance,
        search: &EnrollmentSearch,
        after: Option<String>,
    ) -> Result<SearchCount, Error> {
        let (search, page) = (Search::from(search), PageRequest { after, limit: COUNTED_BY_SCAN });
        let counted = self.count_by_table(instance, E::SEARCHED, &search, &page).await?;
        let counted = match counted {
            Some(counted) => counted,
            None => SearchCount::of(self.enrollment_page::<E>(instance, &search, page).await?),
        };
        self.count(instance, OperationKind::EnrollmentQuery).await?;
        Ok(counted)
    }

    /// The same for registrations.
    pub async fn count_registrations(
        &self,
        instance: &Instance,
        search: &RegistrationSearch,
        after: Option<String>,
    ) -> Result<SearchCount, Error> {
        let (all, page) = (Search::from(search), PageRequest { after, limit: COUNTED_BY_SCAN });
        let kind = Some(SearchedKind::Registration);
        let counted = match self.count_by_table(instance, kind, &all, &page).await? {
            Some(counted) => counted,
            None => SearchCount::of(self.registration_page(instance, search, page).await?),
        };
        self.count(instance, OperationKind::RegistrationQuery).await?;
        Ok(counted)
    }

    /// Counts by the terms alone; `None` if the table does not answer the search.
    async fn count_by_table(
        &self,
        instance: &Instance,
        kind: Option<SearchedKind>,
        search: &Search,
        page: &PageRequest,
    ) -> Result<Option<SearchCount>, Error> {
        let (scope, Some(kind)) = (&instance.id_scope, kind) else { return Ok(None) };
        let Some(table) = self.table_search(scope, kind, search, page).await? else { return Ok(None) };
        if !table.is_complete() {
            return if table.is_continued() { Err(table::gone()) } else { Ok(None) };
        }
        let keys = table.find_keys(&*self.store, scope, (table::COUNTED, table::COUNTED)).await?;
        let method = SearchMethod::Table(table.lag);
        Ok(Some(SearchCount { count: keys.found.len(), next: keys.next, method }))
    }

    async fn enrollment_page<E: Enrollment>(
        &self,
        instance: &Instance,
        search: &Search,
        request: PageRequest,
    ) -> Result<SearchPage<E>, Error> {
        let (store, scope) = (self.store.as_ref(), &instance.id_scope);
        let table = match E::SEARCHED {
            Some(kind) => self.table_search(scope, kind, search, &request).await?,
            None => None,
        };
        let Some(table) = table else {
            let mut scan = Scan::new(search, request);
            while let Some(portion) = scan.next_portion() {
                scan.examine(E::list(store, scope, portion).await?);
            }
            let is_by_index = search.conditions.is_empty();
            return Ok(SearchPage {
                page: scan.into_page(),
                method: SearchMethod::without_table(is_by_index),
            });
        };
        let keys = table.find_keys(&*self.store, scope, (request.limit, table::EXAMINED)).await?;
        let ids: Vec<E::Id> = keys.found.iter().filter_map(|key| E::parse_key(key)).collect();
        let mut page = Page { next: keys.next, ..Page::default() };
        for loaded in join_all(ids.iter().map(|id| E::load(store, scope, id))).await {
            table::add(&mut page, search, loaded)?;
        }
        Ok(SearchPage { page, method: SearchMethod::Table(table.lag) })
    }

    async fn registration_page(
        &self,
        instance: &Instance,
        search: &RegistrationSearch,
        request: PageRequest,
    ) -> Result<SearchPage<Registration>, Error> {
        let (scope, all) = (&instance.id_scope, Search::from(search));
        let is_by_index = is_by_index(search, &all);
        let table = match is_by_index {
            true => None,
            false => self.table_search(scope, SearchedKind::Registration, &all, &request).await?,
        };
        let Some(table) = table else {
            let mut scan = Scan::new(&all, request);
            while let Some(portion) = scan.next_portion() {
                scan.examine(match (&search.group, search.status) {
                    (Some(group), _) => self.store.registrations_of(scope, group, portion).await?,
                    (None, Some(status)) => self.store.registrations_in(scope, status, portion).await?,
                    (None, None) => self.store.registrations(scope, portion).await?,
                });
            }
            return Ok(SearchPage {
                page: scan.into_page(),
                method: SearchMethod::without_table(is_by_index),
            });
        };
        let keys = table.find_keys(&*self.store, scope, (request.limit, table::EXAMINED)).await?;
        let ids: Vec<_> = keys.found.iter().filter_map(|key| RegistrationId::parse(key).ok()).collect();
        let mut page = Page { next: keys.next, ..Page::default() };
        for loaded in join_all(ids.iter().map(|id| self.store.registration(scope, id))).await {
            table::add(&mut page, &all, loaded)?;
        }
        Ok(SearchPage { page, method: SearchMethod::Table(table.lag) })
    }
}

impl SearchMethod {
    fn without_table(is_by_index: bool) -> SearchMethod {
        if is_by_index { SearchMethod::Index } else { SearchMethod::Scan }
    }
}

impl SearchCount {
    fn of<T>(found: SearchPage<T>) -> SearchCount {
        let SearchPage { page, method } = found;
        SearchCount { count: page.items.len(), next: page.next, method }
    }
}

/// Whether an index of the registrations has just those that meet the search.
fn is_by_index(search: &RegistrationSearch, all: &Search) -> bool {
    let has_index =
        search.group.is_some() || search.status.is_some_and(|status| status != StatusKind::Assigned);
    all.conditions.len() <= usize::from(has_index)
}
