//! Calls of the service API about the change log.

use http::Method;
use model::{LogKind, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::operator::{OperatorError, Request, ServiceClient, parsed, with_query};

/// The changes to read. A member that is absent admits all.
#[derive(Debug, Clone, Default)]
pub struct LogFilter {
    /// Not older than this.
    pub since: Option<Timestamp>,
    /// Of this kind of record.
    pub kind: Option<LogKind>,
    /// Of the record with this key, in any case.
    pub key: Option<String>,
    /// By the access policy, the subject of a token, the device or the job with this name, in any case.
    pub actor: Option<String>,
    /// After this position, which an earlier page ended with.
    pub after: Option<String>,
}

/// A part of the change log.
#[derive(Debug, Clone, Deserialize)]
pub struct LogPage {
    /// The changes in the form of the service API, oldest first.
    pub entries: Vec<Value>,
    /// The position at which the next page begins.
    pub next: String,
    /// Whether there are more changes to read now. They may follow an empty page.
    pub more: bool,
}

impl ServiceClient {
    /// Reads at most `limit` changes from the change log.
    pub async fn change_log(&mut self, filter: &LogFilter, limit: usize) -> Result<LogPage, OperatorError> {
        let parameters = [
            ("since", filter.since.map(|since| since.to_string())),
            ("kind", filter.kind.map(|kind| kind.name().to_owned())),
            ("key", filter.key.clone()),
            ("actor", filter.actor.clone()),
            ("after", filter.after.clone()),
            ("limit", Some(limit.to_string())),
        ];
        let path = with_query("/log", parameters);
        parsed(self.operator().send(Request::new(Method::GET, &path)).await?)
    }
}
