//! Listings of the service API, which it returns in pages.

use std::num::NonZeroUsize;

use http::{HeaderMap, Method};
use serde::Deserialize;
use serde_json::Value;

use crate::operator::{OperatorError, Request, ServiceClient, parsed};

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
            let page = self.page(&request, limit - listing.items.len(), continuation.as_ref()).await?;
            listing.items.extend(page.items);
            (listing.more, continuation) = (page.continuation.is_some(), page.continuation);
        }
        Ok(listing)
    }

    /// Reads a page of up to `limit` items, or of fewer where they are large.
    pub(crate) async fn page(
        &mut self,
        request: &Request<'_>,
        limit: usize,
        continuation: Option<&Continuation>,
    ) -> Result<Page, OperatorError> {
        let (token, size) = continuation.map_or(("", PAGE_ITEMS), |it| (it.token.as_str(), it.size));
        let read = async |client: &mut Self, size: usize| client.page_of(request, size, token).await;
        let ((items, next), size) = self.read_fitting(size.min(limit), read).await?;
        Ok(Page { items, continuation: next.map(|token| Continuation { token, size }) })
    }

    /// Reads a page of this size, or of a smaller one if the reply is too long. Returns it with the size that fits.
    pub(crate) async fn read_fitting<T>(
        &mut self,
        mut size: usize,
        read: impl AsyncFn(&mut Self, usize) -> Result<T, OperatorError>,
    ) -> Result<(T, usize), OperatorError> {
        loop {
            match read(self, size).await {
                Err(error) if error.is_too_long() && size > 1 => size /= 2,
                page => return Ok((page?, size)),
            }
        }
    }

    /// Reads a page of this size, and the token of the next one, if there is one.
    async fn page_of(
        &mut self,
        request: &Request<'_>,
        size: usize,
        token: &str,
    ) -> Result<(Vec<Value>, Option<String>), OperatorError> {
        let size = size.to_string();
        let headers = [(MAX_ITEM_COUNT, size.as_str()), (CONTINUATION, token)];
        let request = Request { headers: &headers, ..request.clone() };
        let (headers, reply) = self.operator().send_with_headers(request).await?;
        let Value::Array(items) = reply else {
            return Err(OperatorError::Malformed("a page that is not an array".to_owned()));
        };
        Ok((items, next_token(&headers)?))
    }

    /// Returns the sum of a count, which continues like a listing.
    pub(crate) async fn count(&mut self, path: &str) -> Result<u64, OperatorError> {
        let (mut sum, mut token) = (0, String::new());
        loop {
            let headers = [(CONTINUATION, token.as_str())];
            let request = Request { headers: &headers, ..Request::new(Method::GET, path) };
            let (headers, reply) = self.operator().send_with_headers(request).await?;
            let RecordCount { count } = parsed(reply)?;
            sum += count;
            match next_token(&headers)? {
                Some(next) => token = next,
                None => return Ok(sum),
            }
        }
    }
}

/// A part of a count.
#[derive(Deserialize)]
struct RecordCount {
    count: u64,
}

fn next_token(headers: &HeaderMap) -> Result<Option<String>, OperatorError> {
    let next = headers.get(CONTINUATION).map(|token| token.to_str().map(str::to_owned)).transpose();
    next.map_err(|error| OperatorError::Malformed(error.to_string()))
}

/// A page of a collection.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The items in the form of the service API.
    pub items: Vec<Value>,
    /// Where the next page begins, if there is one.
    pub continuation: Option<Continuation>,
}

/// Where a page of a collection begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Continuation {
    token: String,
    /// The number of items that fitted into the page before.
    size: usize,
}
