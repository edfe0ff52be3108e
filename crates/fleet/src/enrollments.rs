//! Calls of the service API that are alike for individual enrollments and enrollment groups.

use std::{fmt, num::NonZeroUsize};

use http::Method;
use model::EnrollmentSearch;
use serde_json::{Value, json};
use wire::{
    sas::encode_component,
    service::{EnrollmentShape, enrollment_search_query},
};

use crate::{
    listing::Listing,
    operator::{OperatorError, Request, ServiceClient},
};

/// The kinds of enrollments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnrollmentKind {
    /// An individual enrollment, for the device with one registration ID.
    Individual,
    /// An enrollment group, for all devices with a key or CA of the group.
    Group,
}

impl fmt::Display for EnrollmentKind {
    /// Writes the kind as a noun phrase that follows "an".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EnrollmentKind::Individual => "individual enrollment",
            EnrollmentKind::Group => "enrollment group",
        })
    }
}

impl EnrollmentKind {
    /// Returns the name of the JSON member that holds the ID.
    pub fn id_member(self) -> &'static str {
        match self {
            EnrollmentKind::Individual => "registrationId",
            EnrollmentKind::Group => "enrollmentGroupId",
        }
    }

    /// Returns the members of this kind of enrollment.
    pub fn shape(self) -> EnrollmentShape {
        match self {
            EnrollmentKind::Individual => EnrollmentShape::Individual,
            EnrollmentKind::Group => EnrollmentShape::Group,
        }
    }

    /// Returns the name of the JSON member that holds several.
    pub(crate) fn list_member(self) -> &'static str {
        match self {
            EnrollmentKind::Individual => "enrollments",
            EnrollmentKind::Group => "enrollmentGroups",
        }
    }

    pub(crate) fn collection(self) -> &'static str {
        match self {
            EnrollmentKind::Individual => "/enrollments",
            EnrollmentKind::Group => "/enrollmentGroups",
        }
    }

    fn path(self, id: &str) -> String {
        format!("{}/{}", self.collection(), encode_component(id))
    }
}

impl ServiceClient {
    /// Creates an enrollment, or replaces an existing one if `if_match` is its etag or `*`. The reply includes its
    /// symmetric keys.
    pub async fn put_enrollment(
        &mut self,
        (kind, id): (EnrollmentKind, &str),
        enrollment: &Value,
        if_match: Option<&str>,
    ) -> Result<Value, OperatorError> {
        let path = kind.path(id);
        let request = Request { if_match, body: Some(enrollment), ..Request::new(Method::PUT, &path) };
        self.operator().send(request).await
    }

    /// Reads an enrollment, without its symmetric keys.
    pub async fn read_enrollment(&mut self, kind: EnrollmentKind, id: &str) -> Result<Value, OperatorError> {
        self.operator().send(Request::new(Method::GET, &kind.path(id))).await
    }

    /// Reads the attestation mechanism of an enrollment, including its symmetric keys.
    pub async fn attestation(&mut self, kind: EnrollmentKind, id: &str) -> Result<Value, OperatorError> {
        let path = format!("{}/attestationmechanism", kind.path(id));
        self.operator().send(Request::new(Method::POST, &path)).await
    }

    /// Replaces symmetric keys of an enrollment by new ones; `keys` is `primary`, `secondary` or `both`. The reply
    /// includes the new keys.
    pub async fn regenerate_keys(
        &mut self,
        kind: EnrollmentKind,
        id: &str,
        keys: &str,
    ) -> Result<Value, OperatorError> {
        let (path, body) = (format!("{}/keys/regenerate", kind.path(id)), json!({"keys": keys}));
        self.operator().send(Request { body: Some(&body), ..Request::new(Method::POST, &path) }).await
    }

    /// Lists the first `limit` enrollments of one kind that meet a search, or all of them.
    pub async fn enrollments(
        &mut self,
        kind: EnrollmentKind,
        search: &EnrollmentSearch,
        limit: Option<NonZeroUsize>,
    ) -> Result<Listing, OperatorError> {
        let path = format!("{}?{}", kind.collection(), enrollment_search_query(search));
        self.all_pages(Request::new(Method::GET, &path), limit).await
    }

    /// Counts the enrollments of one kind that meet a search.
    pub async fn count_enrollments(
        &mut self,
        kind: EnrollmentKind,
        search: &EnrollmentSearch,
    ) -> Result<u64, OperatorError> {
        let path = match kind {
            EnrollmentKind::Individual => "/enrollmentCount",
            EnrollmentKind::Group => "/enrollmentGroupCount",
        };
        self.count(&format!("{path}?{}", enrollment_search_query(search))).await
    }

    /// Deletes an enrollment.
    pub async fn delete_enrollment(&mut self, kind: EnrollmentKind, id: &str) -> Result<(), OperatorError> {
        self.operator().send(Request::new(Method::DELETE, &kind.path(id))).await.map(drop)
    }

    /// Deletes an enrollment if it still has this etag.
    pub async fn delete_enrollment_version(
        &mut self,
        (kind, id): (EnrollmentKind, &str),
        etag: &str,
    ) -> Result<(), OperatorError> {
        let path = kind.path(id);
        let request = Request { if_match: Some(etag), ..Request::new(Method::DELETE, &path) };
        self.operator().send(request).await.map(drop)
    }

    /// Returns the IDs and etags of the enrollments of one kind that this tool manages (`managedBy`).
    pub async fn managed_enrollments(
        &mut self,
        kind: EnrollmentKind,
        tool: &str,
    ) -> Result<Vec<(String, String)>, OperatorError> {
        let path = format!("{}?{}", kind.collection(), enrollment_search_query(&EnrollmentSearch::default()));
        let (mut found, mut continuation) = (Vec::new(), None);
        loop {
            let request = Request::new(Method::GET, &path);
            let page = self.page(&request, usize::MAX, continuation.as_ref()).await?;
            let managed = page.items.iter().filter(|it| it["managedBy"] == tool);
            found.extend(managed.filter_map(|it| {
                Some((it[kind.id_member()].as_str()?.to_owned(), it["etag"].as_str()?.to_owned()))
            }));
            continuation = page.continuation;
            if continuation.is_none() {
                return Ok(found);
            }
        }
    }
}
