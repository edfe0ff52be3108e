//! Listings of the service API, which it returns in pages.

use std::num::NonZeroUsize;

use serde_json::Value;

use crate::operator::{OperatorError, Request, ServiceClient};

/// The number of items requested per page. Responses are limited to 1 MiB, which allows 20 KB per item; of larger ones fewer are
/// requested.
const PAGE_ITEMS: usize = 50;
const MAX_ITEM_COUNT: &str = "x-ms-max-item-count";
const CONTINUATION: &str = "x-ms-continuation";

/// The first items of a collection.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// The items in the form of the service API.
    pub items: Vec<Value>,
    /// Whether the collection has more items.
    pub more: bool,
}

impl ServiceClient {
    /// Reads pages until the collection ends or `limit` items are read.
    pub(crate) async fn all_pages(
        &mut self,
        request: Request<'_>,
        limit: Option<NonZeroUsize>,
    ) -> Result<Listing, OperatorError> {
        let limit = limit.map_or(usize::MAX, NonZeroUsize::get);
        let mut listing = Listing { items: Vec::new(), more: true };
        let mut continuation = None;
        while listing.more && listing.items.len() < limit {
            let size = PAGE_ITEMS.min(limit - listing.items.len());
            let page = self.page_of(&request, size, continuation.as_deref()).await?;
            listing.items.extend(page.items);
            (listing.more, continuation) = (page.continuation.is_some(), page.continuation);
        }
        Ok(listing)
    }

    /// Reads a page of the usual size.
    pub(crate) async fn page(
        &mut self,
        request: &Request<'_>,
        continuation: Option<&str>,
    ) -> Result<Page, OperatorError> {
        self.page_of(request, PAGE_ITEMS, continuation).await
    }

    /// Reads a page of up to this number of items, or of fewer where they are large.
    async fn page_of(
        &mut self,
        request: &Request<'_>,
        mut limit: usize,
        continuation: Option<&str>,
    ) -> Result<Page, OperatorError> {
        loop {
            match self.whole_page_of(request, limit, continuation).await {
                Err(error) if error.is_too_long() && limit > 1 => limit /= 2,
                page => return page,
            }
        }
    }

    async fn whole_page_of(
        &mut self,
        request: &Request<'_>,
        limit: usize,
        continuation: Option<&str>,
    ) -> Result<Page, OperatorError> {
        let limit = limit.to_string();
        let headers = [(MAX_ITEM_COUNT, limit.as_str()), (CONTINUATION, continuation.unwrap_or_default())];
        let request = Request { headers: &headers, ..request.clone() };
        let (headers, reply) = self.operator().send_with_headers(request).await?;
        let Value::Array(items) = reply else {
            return Err(OperatorError::Malformed("a page that is not an array".to_owned()));
        };
        let continuation = headers.get(CONTINUATION).map(|token| token.to_str().map(str::to_owned));
        let continuation = continuation.transpose();
        let continuation = continuation.map_err(|error| OperatorError::Malformed(error.to_string()))?;
        Ok(Page { items, continuation })
    }
}

/// A page of a collection.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The items in the form of the service API.
    pub items: Vec<Value>,
    /// The token of the next page, if there is one.
    pub continuation: Option<String>,
}
