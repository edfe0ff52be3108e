//! The operator's calls about enrollments, of single devices and of groups alike.

use std::{fmt, num::NonZeroUsize};

use http::Method;
use serde_json::{Value, json};
use wire::{sas::encode_component, service::EnrollmentShape};

use crate::listing::Listing;
use crate::operator::{OperatorError, Request, ServiceClient};

/// Whom an enrollment lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnrollmentKind {
    /// The device of one registration ID.
    Individual,
    /// All devices that prove to be of a group.
    Group,
}

impl fmt::Display for EnrollmentKind {
    /// As in "an …".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EnrollmentKind::Individual => "individual enrollment",
            EnrollmentKind::Group => "enrollment group",
        })
    }
}

impl EnrollmentKind {
    /// What its name is called in JSON.
    pub fn id_member(self) -> &'static str {
        match self {
            EnrollmentKind::Individual => "registrationId",
            EnrollmentKind::Group => "enrollmentGroupId",
        }
    }

    /// Which members it has.
    pub fn shape(self) -> EnrollmentShape {
        match self {
            EnrollmentKind::Individual => EnrollmentShape::Individual,
            EnrollmentKind::Group => EnrollmentShape::Group,
        }
    }

    fn collection(self) -> &'static str {
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
    /// Writes an enrollment; the reply shows its keys. One that is there is replaced only if `if_match` is its etag or `*`.
    pub async fn put_enrollment(
        &mut self,
        (kind, id): (EnrollmentKind, &str),
        enrollment: &Value,
        if_match: Option<&str>,
    ) -> Result<Value, OperatorError> {
        let path = kind.path(id);
        let request = Request { if_match, body: Some(enrollment), ..Request::new(Method::PUT, &path) };
        self.operator().ask(request).await
    }

    /// Reads an enrollment, without its keys.
    pub async fn read_enrollment(&mut self, kind: EnrollmentKind, id: &str) -> Result<Value, OperatorError> {
        self.operator().ask(Request::new(Method::GET, &kind.path(id))).await
    }

    /// Reads what an enrollment's devices prove themselves by, with the keys.
    pub async fn attestation(&mut self, kind: EnrollmentKind, id: &str) -> Result<Value, OperatorError> {
        let path = format!("{}/attestationmechanism", kind.path(id));
        self.operator().ask(Request::new(Method::POST, &path)).await
    }

    /// Replaces symmetric keys of an enrollment by new ones: `primary`, `secondary` or `both`. The reply shows them.
    pub async fn regenerate_keys(
        &mut self,
        kind: EnrollmentKind,
        id: &str,
        keys: &str,
    ) -> Result<Value, OperatorError> {
        let (path, body) = (format!("{}/keys/regenerate", kind.path(id)), json!({"keys": keys}));
        self.operator().ask(Request { body: Some(&body), ..Request::new(Method::POST, &path) }).await
    }

    /// Lists enrollments of one kind: all, or the first ones.
    pub async fn enrollments(
        &mut self,
        kind: EnrollmentKind,
        limit: Option<NonZeroUsize>,
    ) -> Result<Listing, OperatorError> {
        let (path, query) = (format!("{}/query", kind.collection()), json!({"query": "SELECT *"}));
        self.all_pages(Request { body: Some(&query), ..Request::new(Method::POST, &path) }, limit).await
    }

    /// Deletes an enrollment.
    pub async fn delete_enrollment(&mut self, kind: EnrollmentKind, id: &str) -> Result<(), OperatorError> {
        self.operator().ask(Request::new(Method::DELETE, &kind.path(id))).await.map(drop)
    }
}
