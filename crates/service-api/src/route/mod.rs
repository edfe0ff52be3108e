//! Routes: the operations of the endpoint by method and path, and the facts about each.
//!
//! [`table`] declares each route once. Dispatch, rights, the audit log, the limits of bodies, the OpenAPI document
//! ([`crate::openapi`]) and the tests that walk all routes follow from it.

pub(crate) mod management;
mod parameters;
mod table;

use std::pin::Pin;

use axum::response::Response;
use http::Method;
use model::Right;
use percent_encoding::percent_decode_str;
use wire::MAX_BODY_BYTES;

use crate::{access::CalledHost, error::Failure, request::Call};

/// A row of the table.
pub(crate) struct Route {
    pub(crate) verb: Verb,
    /// The path: literals match in any case, and `{name}` matches any segment.
    pub(crate) path: &'static str,
    /// The name of the operation: Azure's `operationId`, where Azure has the operation.
    pub(crate) name: &'static str,
    /// A description of the operation: one sentence without its period.
    pub(crate) summary: &'static str,
    /// The rights, any of which allows it.
    pub(crate) rights: &'static [Right],
    pub(crate) handler: Handler,
    /// The body of a request.
    pub(crate) request: RequestBody,
    pub(crate) reply: Reply,
    /// The query parameters besides `api-version`.
    pub(crate) query: &'static [QueryParameter],
    pub(crate) condition: Condition,
    /// The maximum length of the request body, in bytes.
    pub(crate) max_body_bytes: usize,
    /// Whether the operation changes nothing and returns no keys, although it is not a GET.
    reads: bool,
    /// Whether the operation continues from a position that the service may have dropped.
    pub(crate) continues: bool,
}

/// The function that answers the calls of a route.
#[derive(Clone, Copy)]
pub(crate) enum Handler {
    /// Answers for one instance: that of the host name or, if the path has a resource, that one.
    Instance(InstanceHandler),
    /// Answers for resources, which need not exist yet.
    Management(ManagementHandler),
}

/// A future of a handler.
type Answering<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// A function that answers for one instance.
pub(crate) type InstanceHandler = for<'a> fn(&'a Call) -> Answering<'a>;

/// A function that answers for resources.
pub(crate) type ManagementHandler = for<'a> fn(&'a Call<CalledHost>) -> Answering<'a>;

/// The answer to a call.
pub(crate) type Answer = Result<Response, Failure>;

/// The methods that routes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Put,
    Post,
    Patch,
    Delete,
}

/// The body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestBody {
    /// A body is ignored.
    Ignored,
    /// A body of this schema, which clients of Azure send and the service ignores.
    Optional(&'static str),
    /// A body of this schema.
    Required(&'static str),
}

/// The body of a successful reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// 200 with a body of this schema.
    Json(&'static str),
    /// 200 with an array of items of this schema, in pages.
    Page(&'static str),
    /// 204 without a body.
    Empty,
    /// 201 with a body of this schema if the resource is new, otherwise 200.
    Created(&'static str),
    /// 202 if the work goes on in the background, 204 if there is nothing to do.
    Accepted,
}

/// Whether a request has the header `If-Match`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// The header is ignored.
    Ignored,
    /// The header is evaluated if it is present.
    Optional,
    /// The header is required.
    Required,
}

/// A query parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueryParameter {
    pub(crate) name: &'static str,
    pub(crate) kind: ParameterKind,
    pub(crate) description: &'static str,
}

/// The kinds of query parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ParameterKind {
    /// Any text.
    Text,
    /// An instant, as in RFC 3339.
    Time,
    /// A day, such as 2026-11-23.
    Day,
    /// A text that matches this regular expression.
    Pattern(&'static str),
    /// A number from 1 to this one.
    UpTo(usize),
    /// One of the names that the function returns.
    OneOf(fn() -> Vec<&'static str>),
}

impl Verb {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Put => "PUT",
            Verb::Post => "POST",
            Verb::Patch => "PATCH",
            Verb::Delete => "DELETE",
        }
    }
}

/// Builders of rows, for the table.
impl Route {
    const fn new(
        verb: Verb,
        path: &'static str,
        name: &'static str,
        rights: &'static [Right],
        handler: Handler,
    ) -> Route {
        Route {
            verb,
            path,
            name,
            summary: "",
            rights,
            handler,
            request: RequestBody::Ignored,
            reply: Reply::Empty,
            query: &[],
            condition: Condition::Ignored,
            max_body_bytes: MAX_BODY_BYTES,
            reads: false,
            continues: false,
        }
    }

    const fn summary(self, summary: &'static str) -> Route {
        Route { summary, ..self }
    }

    const fn takes(self, schema: &'static str) -> Route {
        Route { request: RequestBody::Required(schema), ..self }
    }

    const fn takes_optionally(self, schema: &'static str) -> Route {
        Route { request: RequestBody::Optional(schema), ..self }
    }

    const fn replies(self, schema: &'static str) -> Route {
        Route { reply: Reply::Json(schema), ..self }
    }

    const fn replies_pages_of(self, schema: &'static str) -> Route {
        Route { reply: Reply::Page(schema), ..self }
    }

    const fn replies_created(self, schema: &'static str) -> Route {
        Route { reply: Reply::Created(schema), ..self }
    }

    const fn accepts(self) -> Route {
        Route { reply: Reply::Accepted, ..self }
    }

    const fn query(self, query: &'static [QueryParameter]) -> Route {
        Route { query, ..self }
    }

    const fn conditional(self) -> Route {
        Route { condition: Condition::Optional, ..self }
    }

    const fn only_conditional(self) -> Route {
        Route { condition: Condition::Required, ..self }
    }

    const fn reads(self) -> Route {
        Route { reads: true, ..self }
    }

    const fn continues(self) -> Route {
        Route { continues: true, ..self }
    }

    const fn max_body_bytes(self, max_body_bytes: usize) -> Route {
        Route { max_body_bytes, ..self }
    }
}

impl Route {
    /// Returns whether a successful call belongs into the audit log: it changes something, or returns keys.
    pub(crate) fn is_audited(&self) -> bool {
        self.verb != Verb::Get && !self.reads
    }

    /// Whether this is a route of the management API, which has its own form of errors.
    pub(crate) fn is_management(&self) -> bool {
        is_management_path(self.path)
    }

    /// Whether a call counts for the operations per minute: those of the service API do, but not the reports about this very limit.
    /// Those of the management API do not, as in Azure.
    pub(crate) fn is_operation(&self) -> bool {
        !self.is_management() && !["/usage", "/quotas"].contains(&self.path)
    }

    /// Returns the names of the parameters in the path, in order.
    pub(crate) fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(parameter_name)
    }

    fn fits(&self, segments: &[&str]) -> bool {
        let mut patterns = segments_of(self.path);
        segments.iter().all(|segment| patterns.next().is_some_and(|pattern| matches(pattern, segment)))
            && patterns.next().is_none()
    }

    /// Returns the values of the parameters in the path, percent-decoded.
    fn values(&self, segments: &[&str]) -> Result<Vec<String>, Failure> {
        let named =
            segments_of(self.path).zip(segments).filter(|(pattern, _)| parameter_name(pattern).is_some());
        let decoded = named.map(|(_, segment)| match percent_decode_str(segment).decode_utf8() {
            Ok(value) => Ok(value.into_owned()),
            Err(_) => Err(Failure::Argument("the ID in the path is not UTF-8".into())),
        });
        decoded.collect()
    }
}

/// A route, and the values of the parameters in its path.
pub(crate) struct Target {
    pub(crate) route: &'static Route,
    pub(crate) parameters: Vec<String>,
}

/// Returns every route of the table, in its order.
pub(crate) fn all() -> impl Iterator<Item = &'static Route> {
    table::ROUTES.iter().chain(management::ROUTES)
}

/// Returns every route as its method and its path with `{name}` in it, for tests that must not miss one.
pub fn routes() -> impl Iterator<Item = (Method, String)> {
    let method = |verb| match verb {
        Verb::Get => Method::GET,
        Verb::Put => Method::PUT,
        Verb::Post => Method::POST,
        Verb::Patch => Method::PATCH,
        Verb::Delete => Method::DELETE,
    };
    all().map(move |route| (method(route.verb), route.path.to_owned()))
}

/// Returns whether a path belongs to this endpoint: its first segment is one of ours, in any case.
pub fn is_service_path(path: &str) -> bool {
    let first = segments_of(path).next();
    first.is_some_and(|first| is_ours(first) || is_document(path))
}

/// Returns whether a path is one of the Resource Manager API.
pub(crate) fn is_management_path(path: &str) -> bool {
    let first = segments_of(path).next().unwrap_or_default();
    management::FIRST_SEGMENTS.iter().any(|ours| first.eq_ignore_ascii_case(ours))
}

/// Returns whether a path is that of the OpenAPI document.
pub(crate) fn is_document(path: &str) -> bool {
    path == crate::openapi::PATH
}

/// Finds the route of a request.
pub(crate) fn parse(method: &Method, path: &str) -> Result<Target, Failure> {
    let segments: Vec<&str> = segments_of(path).collect();
    let fitting: Vec<&'static Route> = all().filter(|route| route.fits(&segments)).collect();
    if let Some(route) = fitting.iter().find(|route| route.verb.as_str() == method.as_str()) {
        return Ok(Target { route, parameters: route.values(&segments)? });
    }
    // A collection without the ID that the method needs is documented as 405, not as 404.
    let is_collection =
        matches!(segments[..], [collection] if is_ours(collection) && !is_management_path(path));
    if fitting.is_empty() && !is_collection {
        return Err(Failure::NoRoute);
    }
    let methods: Vec<&str> = fitting.iter().map(|route| route.verb.as_str()).collect();
    Err(Failure::Method { allowed: methods.join(", ") })
}

/// Returns the segments of a path, without the empty ones that a leading and a trailing slash make.
fn segments_of(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.strip_suffix('/').unwrap_or(path).split('/')
}

fn matches(pattern: &str, segment: &str) -> bool {
    parameter_name(pattern).is_some() || pattern.eq_ignore_ascii_case(segment)
}

/// Returns the name in `{name}`.
fn parameter_name(pattern: &str) -> Option<&str> {
    pattern.strip_prefix('{')?.strip_suffix('}')
}

fn is_ours(segment: &str) -> bool {
    all().filter_map(|route| segments_of(route.path).next()).any(|first| first.eq_ignore_ascii_case(segment))
}

#[cfg(test)]
mod tests;
