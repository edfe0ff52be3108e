//! Calls of the service API about registrations, the decisions that led to them, and cleanups.

use std::num::NonZeroUsize;

use http::Method;
use model::{HubDeviceRef, RefusalReason, RegistrationId, RegistrationSearch, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use wire::{sas::encode_component, service::registration_search_query};

use crate::{
    listing::{Continuation, Listing, Page},
    operator::{OperatorError, Request, ServiceClient, parsed, with_query},
};

/// The number of attempts that a request examines, unless they are large.
const ATTEMPTS_PER_PAGE: usize = 200;

/// A search among refused attempts. An absent member is no condition.
#[derive(Debug, Clone, Default)]
pub struct AttemptSearch {
    /// The registration ID.
    pub registration_id: Option<RegistrationId>,
    /// Not older than this.
    pub since: Option<Timestamp>,
    /// Not newer than this.
    pub until: Option<Timestamp>,
    /// The reason.
    pub reason: Option<RefusalReason>,
}

impl AttemptSearch {
    fn path(&self, after: Option<&str>, page: usize) -> String {
        let AttemptSearch { registration_id, since, until, reason } = self;
        let parameters = [
            ("limit", Some(page.to_string())),
            ("key", registration_id.as_ref().map(ToString::to_string)),
            ("since", since.map(|since| since.to_string())),
            ("until", until.map(|until| until.to_string())),
            ("reason", reason.map(|reason| reason.name().to_owned())),
            ("after", after.map(str::to_owned)),
        ];
        with_query("/attempts", parameters)
    }
}

#[derive(Deserialize)]
struct AttemptPage {
    attempts: Vec<Value>,
    next: Option<String>,
}

impl ServiceClient {
    /// Lists the first `limit` registrations that meet a search, or all of them.
    pub async fn registrations(
        &mut self,
        search: &RegistrationSearch,
        limit: Option<NonZeroUsize>,
    ) -> Result<Listing, OperatorError> {
        let path = format!("/registrations?{}", registration_search_query(search));
        self.all_pages(Request::new(Method::GET, &path), limit).await
    }

    /// Counts the registrations that meet a search.
    pub async fn count_registrations(&mut self, search: &RegistrationSearch) -> Result<u64, OperatorError> {
        self.count(&format!("/registrationCount?{}", registration_search_query(search))).await
    }

    /// Reads a page of the registrations that meet a search.
    pub async fn registration_page(
        &mut self,
        search: &RegistrationSearch,
        continuation: Option<&Continuation>,
    ) -> Result<Page, OperatorError> {
        let path = format!("/registrations?{}", registration_search_query(search));
        self.page(&Request::new(Method::GET, &path), usize::MAX, continuation).await
    }

    /// Reads a registration with the decisions that led to it: `{…, explanation: [sentence], decisions: […]}`.
    pub async fn explain_registration(&mut self, id: &RegistrationId) -> Result<Value, OperatorError> {
        self.operator().send(Request::new(Method::GET, &path(id, "/explanation"))).await
    }

    /// Reads the refused attempts of all devices that meet a search, newest first, until `limit` are found.
    pub async fn search_attempts(
        &mut self,
        search: &AttemptSearch,
        limit: NonZeroUsize,
    ) -> Result<Listing, OperatorError> {
        let mut listing = Listing { items: Vec::new(), more: true };
        let (mut after, mut size) = (None, ATTEMPTS_PER_PAGE);
        while listing.more && listing.items.len() < limit.get() {
            let read = async |client: &mut Self, size: usize| {
                let path = search.path(after.as_deref(), size);
                parsed::<AttemptPage>(client.operator().send(Request::new(Method::GET, &path)).await?)
            };
            // A device that presents a long chain leaves large attempts.
            let (page, fitting) = self.read_fitting(size, read).await?;
            size = fitting;
            listing.items.extend(page.attempts);
            (listing.more, after) = (page.next.is_some(), page.next);
        }
        listing.more |= listing.items.len() > limit.get();
        listing.items.truncate(limit.get());
        Ok(listing)
    }

    /// Cancels an unfinished assignment, and returns the registration afterwards.
    pub async fn cancel_registration(&mut self, id: &RegistrationId) -> Result<Value, OperatorError> {
        self.operator().send(Request::new(Method::POST, &path(id, "/cancel"))).await
    }

    /// Deletes a registration.
    pub async fn delete_registration(&mut self, id: &RegistrationId) -> Result<(), OperatorError> {
        self.operator().send(Request::new(Method::DELETE, &path(id, ""))).await.map(drop)
    }

    /// Lists the first `limit` cleanups at hubs, or all of them.
    pub async fn cleanups(&mut self, limit: Option<NonZeroUsize>) -> Result<Listing, OperatorError> {
        self.all_pages(Request::new(Method::GET, "/cleanups"), limit).await
    }

    /// Releases the cleanups that are held because the service's database was restored or copied.
    pub async fn confirm_cleanups(&mut self) -> Result<(), OperatorError> {
        self.operator().send(Request::new(Method::POST, "/cleanups/confirm")).await.map(drop)
    }

    /// Abandons a cleanup: the device remains at that hub.
    pub async fn forget_cleanup(&mut self, device: &HubDeviceRef) -> Result<(), OperatorError> {
        let id = format!("{}/{}", device.hub, device.device_id);
        let path = format!("/cleanups/{}", encode_component(&id));
        self.operator().send(Request::new(Method::DELETE, &path)).await.map(drop)
    }
}

fn path(id: &RegistrationId, rest: &str) -> String {
    format!("/registrations/{}{rest}", encode_component(id.as_str()))
}
