//! What a request carries besides its address: version, conditions, paging, body.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use certpath::Crl;
use http::{header, request::Parts};
use http_body_util::BodyExt;
use model::{IdError, IfMatch};
use percent_encoding::percent_decode_str;
use provisioning::ports::PageRequest;
use wire::service::{Collection, ServiceApiVersion, page_limit, parse_if_match};

use crate::{error::Failure, route::Route};

/// The longest body taken (message size quota of the hosted service: 96 KB).
pub const MAX_BODY_BYTES: usize = 96 * 1024;

/// The longest body taken where it may hold a revocation list: base64 of the longest list, in lines.
pub const MAX_LIST_BODY_BYTES: usize = Crl::MAX_BYTES / 2 * 3;

/// How much of a body that is too long is read and thrown away, so that the client gets to read the answer instead of
/// a broken connection.
const MAX_DISCARDED_BYTES: usize = 1024 * 1024;

/// How long a body may take to arrive. A phone on a bad line sends 96 KB in a few seconds.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// A request whose caller may make it. Not printable: it holds a token and perhaps keys.
pub(crate) struct Call {
    parameters: Vec<String>,
    head: Parts,
    body: Bytes,
}

impl Call {
    pub(crate) fn new(parameters: Vec<String>, head: Parts, body: Bytes) -> Self {
        Call { parameters, head, body }
    }

    /// The ID in the path.
    pub(crate) fn id<T>(&self, parse: impl FnOnce(&str) -> Result<T, IdError>) -> Result<T, Failure> {
        parse(self.raw_id()).map_err(|error| Failure::Argument(format!("the path: {error}")))
    }

    /// The ID in the path as it stands there, percent-decoded.
    pub(crate) fn raw_id(&self) -> &str {
        self.parameters.first().map_or("", String::as_str)
    }

    /// The body; empty when there is none.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// The condition in `If-Match`. An empty one is none: there are clients that cannot leave the header out.
    pub(crate) fn if_match(&self) -> Result<Option<IfMatch>, Failure> {
        let header = self.header(header::IF_MATCH.as_str())?;
        let header =
            header.filter(|text| !text.trim_matches(|c: char| c == '"' || c.is_whitespace()).is_empty());
        header
            .map(parse_if_match)
            .transpose()
            .map_err(|error| Failure::Argument(format!("if-match: {error}")))
    }

    /// The page that the paging headers ask for.
    pub(crate) fn page(&self, collection: Collection) -> Result<PageRequest, Failure> {
        let token = self.header("x-ms-continuation")?.filter(|token| !token.is_empty());
        let after = token.map(|token| collection.parse_continuation(token)).transpose()?;
        Ok(PageRequest { after, limit: page_limit(self.header("x-ms-max-item-count")?)? })
    }

    /// A query parameter, percent-decoded.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        parameter(&self.head, name)
    }

    fn header(&self, name: &str) -> Result<Option<&str>, Failure> {
        let text = self.head.headers.get(name).map(|value| value.to_str());
        text.transpose().map_err(|_| Failure::Argument(format!("the header {name} is not ASCII")))
    }
}

/// The version of the API that a request is written in.
pub(crate) fn api_version(head: &Parts) -> Result<ServiceApiVersion, Failure> {
    let text = parameter(head, "api-version").ok_or(Failure::ApiVersion(None))?;
    ServiceApiVersion::parse(&text).ok_or(Failure::ApiVersion(Some(text)))
}

fn parameter(head: &Parts, name: &str) -> Option<String> {
    let pairs = head.uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    let found = pairs.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(percent_decode_str(found.1).decode_utf8_lossy().into_owned())
}

/// Reads the body. Clients declare JSON on requests without a body and leave it out on others, so only another
/// declared type on a body that is there is refused.
pub(crate) async fn read_body(head: &Parts, body: Body, route: &Route) -> Result<Bytes, Failure> {
    let body = tokio::time::timeout(BODY_DEADLINE, collect(body, route.max_body_bytes))
        .await
        .map_err(|_| Failure::SlowBody)??;
    if !body.is_empty() && !is_json(head) {
        return Err(Failure::MediaType);
    }
    Ok(body)
}

async fn collect(mut body: Body, limit: usize) -> Result<Bytes, Failure> {
    let mut collected = BytesMut::new();
    let mut length = 0usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::Argument(format!("the body was cut off: {error}")))?;
        let Ok(chunk) = frame.into_data() else { continue };
        length = length.saturating_add(chunk.len());
        if length <= limit {
            collected.extend_from_slice(&chunk);
        } else if length > limit + MAX_DISCARDED_BYTES {
            break;
        }
    }
    if length > limit { Err(Failure::TooLarge(limit)) } else { Ok(collected.freeze()) }
}

fn is_json(head: &Parts) -> bool {
    let Some(declared) = head.headers.get(header::CONTENT_TYPE) else { return true };
    let essence = declared.to_str().unwrap_or("").split(';').next().unwrap_or("").trim();
    essence.is_empty() || essence.eq_ignore_ascii_case("application/json")
}
