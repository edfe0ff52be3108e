//! Calls of the service API that import and export enrollments whole.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    enrollments::EnrollmentKind,
    listing::{Continuation, Page},
    operator::{OperatorError, Request, ServiceClient, parsed},
};

/// What to do with the enrollments of an import.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Replaces enrollments that exist with other settings.
    pub replace: bool,
    /// Generates the keys of new enrollments that have none.
    pub generate_keys: bool,
    /// Changes nothing.
    pub dry_run: bool,
}

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ImportReply {
    /// The number of enrollments that were created.
    pub created: u64,
    /// The number of enrollments that were replaced.
    pub replaced: u64,
    /// The number of enrollments that were as they should be.
    pub unchanged: u64,
    /// The items that failed.
    pub errors: Vec<ImportError>,
}

/// An item of an import that failed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportError {
    /// Which item, from 0.
    pub index: usize,
    /// The ID of the enrollment.
    #[serde(alias = "registrationId", alias = "enrollmentGroupId")]
    pub id: String,
    /// The error code.
    pub error_code: u32,
    /// The message.
    pub error_status: String,
}

impl ServiceClient {
    /// The maximum number of enrollments in an import.
    pub const IMPORT_LIMIT: usize = 100;

    /// The maximum number of bytes of their JSON, which leaves room for what is around it.
    pub const IMPORT_BYTES: usize = 1000 * 1024;

    /// Imports at most [`ServiceClient::IMPORT_LIMIT`] enrollments of one kind. It may be repeated.
    pub async fn import_enrollments(
        &mut self,
        kind: EnrollmentKind,
        enrollments: &[&Value],
        ImportOptions { replace, generate_keys, dry_run }: ImportOptions,
    ) -> Result<ImportReply, OperatorError> {
        let path = format!("{}/import", kind.collection());
        let body = json!({
            kind.list_member(): enrollments,
            "replace": replace,
            "generateKeys": generate_keys,
            "dryRun": dry_run,
        });
        let reply = self.operator().send(Request { body: Some(&body), ..Request::new(Method::POST, &path) });
        parsed(reply.await?)
    }

    /// Reads a page of enrollments of one kind, with their keys and certificates.
    pub async fn export_enrollments(
        &mut self,
        kind: EnrollmentKind,
        continuation: Option<&Continuation>,
    ) -> Result<Page, OperatorError> {
        let path = format!("{}/export", kind.collection());
        self.page(&Request::new(Method::POST, &path), usize::MAX, continuation).await
    }
}
