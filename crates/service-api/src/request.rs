//! A call: a request whose caller has the right to make it, and the parts of the request that handlers use.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use certpath::Crl;
use http::{Method, Uri, header, request::Parts};
use http_body_util::BodyExt;
use model::{Actor, IdError, IfMatch, Instance, RegistrationId, ResourceKey, Timestamp};
use percent_encoding::percent_decode_str;
use provisioning::{Provisioning, ports::PageRequest, resource::ResourceCondition};
use wire::service::{
    Collection, DEFAULT_PAGE_ITEMS, MAX_PAGE_ITEMS, ServiceApiVersion, page_limit, parse_if_match,
};

use crate::{
    ServiceApi,
    access::{self, CalledHost, Granted, Management, Operator},
    error::Failure,
    management::resource_id,
    route::{self, Route, Target},
};

/// The maximum length of a request body with a revocation list: the longest list in base64, with line breaks.
pub const MAX_LIST_BODY_BYTES: usize = Crl::MAX_BYTES / 2 * 3;

/// The maximum length of the body of an import: a hundred enrollments of 10 KB.
pub(crate) const MAX_IMPORT_BODY_BYTES: usize = 1024 * 1024;

/// The number of bytes beyond the limit that are read and discarded, so that the client receives the reply instead of a
/// broken connection.
const MAX_DISCARDED_BYTES: usize = 1024 * 1024;

/// The query parameter with the version of the API.
pub(crate) const API_VERSION: &str = "api-version";

/// The time for a body to arrive. A phone on a bad line sends 96 KB in a few seconds.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// A call. It has no `Debug`, because it holds a token and maybe keys.
pub(crate) struct Call<S = Arc<Instance>> {
    api: ServiceApi,
    granted: Granted<S>,
    /// The values of the parameters in the path, percent-decoded, in order.
    parameters: Vec<String>,
    head: Parts,
    body: Bytes,
}

impl Call {
    /// Returns the instance that the call is for.
    pub(crate) fn instance(&self) -> &Instance {
        self.granted.subject()
    }

    /// Returns how many of the calls that the instance permits at once are used up; `None` without a limit.
    pub(crate) fn operations_used(&self) -> Option<u32> {
        self.api.operations.used(self.instance())
    }

    /// Returns how many of the registrations that the instance may begin at once are used up; `None` without a limit.
    pub(crate) fn registrations_used(&self) -> Option<u32> {
        self.api.runs.used_rate(self.instance())
    }

    /// Wakes the assignment run of a registration that the call changed.
    pub(crate) fn wake(&self, id: &RegistrationId) {
        self.api.runs.wake(&self.instance().id_scope, id);
    }

    /// Returns the path of the resource, if the path of the call has one.
    pub(crate) fn resource_path(&self) -> String {
        match route::is_management_path(self.head.uri.path()) {
            true => resource_id(self.instance()),
            false => String::new(),
        }
    }
}

impl Call<CalledHost> {
    /// Returns the settings of the management API.
    pub(crate) fn management(&self) -> &Management {
        &self.api.access.management
    }

    /// Finds a resource on which the caller has any right.
    pub(crate) async fn visible(&self, key: &ResourceKey) -> Result<Option<Arc<Instance>>, Failure> {
        access::visible(&self.api, self.granted.operator(), key).await
    }

    /// Returns the address of a path at the host of the management API if it has one, or else at that of the call.
    pub(crate) fn address_of(&self, path: &str) -> String {
        let own = self.head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = own.or_else(|| self.head.uri.host()).unwrap_or_default();
        let port = host.rsplit_once(':').map_or("", |(_, port)| port);
        let host = match &self.api.access.management.host {
            Some(management) if port.is_empty() => management.to_string(),
            Some(management) => format!("{management}:{port}"),
            None => host.to_owned(),
        };
        format!("https://{host}{path}")
    }
}

impl<S> Call<S> {
    /// Reads the body of a request whose caller has the right to make it.
    pub(crate) async fn read(
        api: &ServiceApi,
        granted: Granted<S>,
        target: Target,
        (head, body): (Parts, Body),
    ) -> Result<Call<S>, Failure> {
        reject_unknown_conditions(&head, target.route)?;
        let body = read_body(&head, body, target.route).await?;
        Ok(Call { api: api.clone(), granted, parameters: target.parameters, head, body })
    }

    /// Returns the verbs of the service.
    pub(crate) fn verbs(&self) -> &Provisioning {
        &self.api.provisioning
    }

    /// Returns the caller.
    pub(crate) fn operator(&self) -> &Operator {
        self.granted.operator()
    }

    /// Returns the caller for the change log.
    pub(crate) fn actor(&self) -> &Actor {
        &self.granted.operator().actor
    }

    /// Returns the current time.
    pub(crate) fn now(&self) -> Timestamp {
        self.api.clock.now()
    }

    /// Returns the values of the parameters in the path, in order.
    pub(crate) fn parameters(&self) -> &[String] {
        &self.parameters
    }

    /// Parses the last ID in the path.
    pub(crate) fn id<T>(&self, parse: impl FnOnce(&str) -> Result<T, IdError>) -> Result<T, Failure> {
        parse(self.raw_id()).map_err(|error| Failure::Argument(format!("the path: {error}")))
    }

    /// Returns the last ID in the path.
    pub(crate) fn raw_id(&self) -> &str {
        self.parameters.last().map_or("", String::as_str)
    }

    /// Returns the body; empty if there is none.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Parses the header `If-Match`. An empty value counts as absent, because some clients cannot omit the header.
    pub(crate) fn if_match(&self) -> Result<Option<IfMatch>, Failure> {
        let is_empty = |text: &str| text.trim_matches(|c: char| c == '"' || c.is_whitespace()).is_empty();
        let header = self.header(header::IF_MATCH.as_str())?.filter(|text| !is_empty(text));
        let parsed = header.map(parse_if_match).transpose();
        parsed.map_err(|error| Failure::Argument(format!("if-match: {error}")))
    }

    /// Returns what the call expects of the resource that it writes: `If-Match`, or `If-None-Match: *` for a new one.
    pub(crate) fn resource_condition(&self) -> Result<ResourceCondition, Failure> {
        let refuse = |problem: &str| Err(Failure::Argument(format!("if-none-match: {problem}")));
        match (self.header(header::IF_NONE_MATCH.as_str())?, self.if_match()?) {
            (None, None) => Ok(ResourceCondition::None),
            (None, Some(version)) => Ok(ResourceCondition::Matches(version)),
            (Some("*"), None) => Ok(ResourceCondition::IsNew),
            (Some("*"), Some(_)) => refuse("excludes if-match"),
            (Some(_), _) => refuse("must be *"),
        }
    }

    /// Parses the paging headers.
    pub(crate) fn page(&self, collection: Collection) -> Result<PageRequest, Failure> {
        let token = self.header("x-ms-continuation")?.filter(|token| !token.is_empty());
        let after = token.map(|token| collection.parse_continuation(token)).transpose()?;
        Ok(PageRequest { after, limit: page_limit(self.header("x-ms-max-item-count")?)? })
    }

    /// Returns the value of a query parameter, percent-decoded.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        parameter(&self.head.uri, name)
    }

    /// Parses a query parameter. `expected` completes the sentence "NAME must be …".
    pub(crate) fn parsed<T>(
        &self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let Some(text) = self.parameter(name) else { return Ok(None) };
        let refused = || Failure::Argument(format!("{name} must be {expected}, not {text:?}"));
        parse(&text).map(Some).ok_or_else(refused)
    }

    /// Parses a query parameter with an instant.
    pub(crate) fn instant(&self, name: &str) -> Result<Option<Timestamp>, Failure> {
        self.parsed(name, "an instant such as 2026-11-23T08:00:00Z", |text| Timestamp::parse(text).ok())
    }

    /// Parses a query parameter that is one of these names.
    pub(crate) fn one_of<'n, T>(
        &self,
        name: &str,
        names: impl Iterator<Item = &'n str>,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        self.parsed(name, &format!("one of {}", names.collect::<Vec<_>>().join(", ")), parse)
    }

    /// Parses the query parameter `after`, a position.
    pub(crate) fn after<T>(&self, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Failure> {
        self.parsed("after", "the position that a reply ended with", parse)
    }

    /// Parses the query parameter `limit`, a number of items.
    pub(crate) fn limit(&self) -> Result<usize, Failure> {
        let number = |text: &str| text.parse().ok().filter(|limit| (1..=MAX_PAGE_ITEMS).contains(limit));
        let limit = self.parsed("limit", &format!("a number from 1 to {MAX_PAGE_ITEMS}"), number)?;
        Ok(limit.unwrap_or(DEFAULT_PAGE_ITEMS))
    }

    fn header(&self, name: &str) -> Result<Option<&str>, Failure> {
        let text = self.head.headers.get(name).map(|value| value.to_str());
        text.transpose().map_err(|_| Failure::Argument(format!("the header {name} is not ASCII")))
    }
}

/// Parses the query parameter `api-version`.
pub(crate) fn api_version(head: &Parts) -> Result<ServiceApiVersion, Failure> {
    let text = parameter(&head.uri, API_VERSION).ok_or(Failure::ApiVersion(None))?;
    ServiceApiVersion::parse(&text).ok_or(Failure::ApiVersion(Some(text)))
}

/// Returns the value of a query parameter, percent-decoded.
pub(crate) fn parameter(uri: &Uri, name: &str) -> Option<String> {
    let mut pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}

/// Fails if a search has a condition that it does not know, or one twice: it would return what does not meet them all. Searches are
/// the GET routes with parameters, which the hosted service does not have.
fn reject_unknown_conditions(head: &Parts, route: &Route) -> Result<(), Failure> {
    if head.method != Method::GET || route.query.is_empty() {
        return Ok(());
    }
    let known = || route.query.iter().map(|parameter| parameter.name).chain([API_VERSION]);
    let mut seen = Vec::new();
    for pair in head.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        let Some(name) = known().find(|known| known.eq_ignore_ascii_case(name)) else {
            let known = known().collect::<Vec<_>>().join(", ");
            return Err(Failure::Argument(format!("unknown query parameter {name:?}; known are {known}")));
        };
        if seen.contains(&name) {
            return Err(Failure::Argument(format!("the query parameter {name} is repeated")));
        }
        seen.push(name);
    }
    Ok(())
}

/// Reads a body. Some clients declare JSON without sending a body, and others send JSON without declaring it; only a body
/// that is declared as another type is refused.
async fn read_body(head: &Parts, body: Body, route: &Route) -> Result<Bytes, Failure> {
    let collected = tokio::time::timeout(BODY_DEADLINE, collect(body, route.max_body_bytes));
    let body = collected.await.map_err(|_| Failure::SlowBody)??;
    if body.is_empty() || is_json(head) { Ok(body) } else { Err(Failure::MediaType) }
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
