//! Collections that the service shows page by page.

use std::num::NonZeroUsize;

use serde_json::Value;

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
    /// Reads page after page until the collection ends, or this many items are there.
    pub(crate) async fn all_pages(
        &mut self,
        asked: Request<'_>,
        limit: Option<NonZeroUsize>,
    ) -> Result<Listing, OperatorError> {
        let limit = limit.map_or(usize::MAX, NonZeroUsize::get);
        let mut listing = Listing { items: Vec::new(), more: true };
        let mut continuation = None;
        while listing.more && listing.items.len() < limit {
            let size = PAGE_ITEMS.min(limit - listing.items.len());
            let page = self.page(&asked, size, continuation.as_deref()).await?;
            listing.items.extend(page.items);
            (listing.more, continuation) = (page.continuation.is_some(), page.continuation);
        }
        Ok(listing)
    }

    async fn page(
        &mut self,
        asked: &Request<'_>,
        limit: usize,
        continuation: Option<&str>,
    ) -> Result<Page, OperatorError> {
        let limit = limit.to_string();
        let headers = [(MAX_ITEM_COUNT, limit.as_str()), (CONTINUATION, continuation.unwrap_or_default())];
        let request = Request { headers: &headers, ..asked.clone() };
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

/// A response may be 1 MiB long, so each may take 20 KB.
const PAGE_ITEMS: usize = 50;
const MAX_ITEM_COUNT: &str = "x-ms-max-item-count";
const CONTINUATION: &str = "x-ms-continuation";
