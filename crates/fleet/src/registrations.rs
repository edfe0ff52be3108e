//! The operator's calls about registrations: those under way, why devices are where they are, and what is cleaned up.

use std::num::NonZeroUsize;

use http::Method;
use model::{Place, RegistrationId, StatusKind};
use serde_json::Value;
use wire::sas::encode_component;

use crate::operator::{OperatorError, Request, ServiceClient};

/// The first items of a collection.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// As the service shows them.
    pub items: Vec<Value>,
    /// Whether the service has more than was asked for.
    pub more: bool,
}

impl ServiceClient {
    /// Lists registrations of one status, at most so many.
    pub async fn registrations(
        &mut self,
        status: StatusKind,
        top: NonZeroUsize,
    ) -> Result<Listing, OperatorError> {
        self.all_pages(&format!("/registrations?status={}", status.name()), top).await
    }

    /// Reads a registration and what led to it: `{…, explanation: [sentence], decisions: […]}`.
    pub async fn explain_registration(&mut self, id: &RegistrationId) -> Result<Value, OperatorError> {
        self.operator().ask(Request::new(Method::GET, &path(id, "/explanation"))).await
    }

    /// Calls an assignment off that is under way; the answer is the registration as it is now.
    pub async fn cancel_registration(&mut self, id: &RegistrationId) -> Result<Value, OperatorError> {
        self.operator().ask(Request::new(Method::POST, &path(id, "/cancel"))).await
    }

    /// Deletes a registration.
    pub async fn delete_registration(&mut self, id: &RegistrationId) -> Result<(), OperatorError> {
        self.operator().ask(Request::new(Method::DELETE, &path(id, ""))).await.map(drop)
    }

    /// Lists what is still to be removed from hubs, at most so much.
    pub async fn cleanups(&mut self, top: NonZeroUsize) -> Result<Listing, OperatorError> {
        self.all_pages("/cleanups", top).await
    }

    /// Gives a clean-up up: what is in that place stays there.
    pub async fn forget_cleanup(&mut self, place: &Place) -> Result<(), OperatorError> {
        let id = format!("{}/{}", place.hub, place.device_id);
        let path = format!("/cleanups/{}", encode_component(&id));
        self.operator().ask(Request::new(Method::DELETE, &path)).await.map(drop)
    }

    /// Reads page after page until the collection ends, or so many items are there.
    async fn all_pages(&mut self, path: &str, top: NonZeroUsize) -> Result<Listing, OperatorError> {
        let top = top.get();
        let mut listing = Listing { items: Vec::new(), more: true };
        let mut continuation = None;
        while listing.more && listing.items.len() < top {
            let limit = PAGE_ITEMS.min(top - listing.items.len());
            let page = self.page(path, limit, continuation.as_deref()).await?;
            listing.items.extend(page.items);
            (listing.more, continuation) = (page.continuation.is_some(), page.continuation);
        }
        Ok(listing)
    }

    async fn page(
        &mut self,
        path: &str,
        limit: usize,
        continuation: Option<&str>,
    ) -> Result<Page, OperatorError> {
        let limit = limit.to_string();
        let headers = [(MAX_ITEM_COUNT, limit.as_str()), (CONTINUATION, continuation.unwrap_or_default())];
        let request = Request { headers: &headers, ..Request::new(Method::GET, path) };
        let (headers, answer) = self.operator().ask_with_headers(request).await?;
        let Value::Array(items) = answer else {
            return Err(OperatorError::Malformed("a page that is no list".to_owned()));
        };
        let continuation = headers.get(CONTINUATION).map(|token| token.to_str().map(str::to_owned));
        let continuation = continuation.transpose();
        let continuation = continuation.map_err(|error| OperatorError::Malformed(error.to_string()))?;
        Ok(Page { items, continuation })
    }
}

struct Page {
    items: Vec<Value>,
    /// What leads to the next page, if there is one.
    continuation: Option<String>,
}

fn path(id: &RegistrationId, what: &str) -> String {
    format!("/registrations/{}{what}", encode_component(id.as_str()))
}

/// A response may be 1 MiB long, so each may take 20 KB.
const PAGE_ITEMS: usize = 50;
const MAX_ITEM_COUNT: &str = "x-ms-max-item-count";
const CONTINUATION: &str = "x-ms-continuation";
