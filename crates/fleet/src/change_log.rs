//! Calls of the service API about the change log.

use http::Method;
use model::{LogKind, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use wire::sas::encode_component;

use crate::operator::{OperatorError, Request, ServiceClient};

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
        let given = parameters.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let given: Vec<_> =
            given.map(|(name, value)| format!("{name}={}", encode_component(&value))).collect();
        let path = format!("/log?{}", given.join("&"));
        let reply = self.operator().send(Request::new(Method::GET, &path)).await?;
        serde_json::from_value(reply).map_err(|error| OperatorError::Malformed(error.to_string()))
    }
}
