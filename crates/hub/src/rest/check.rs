//! Whether the key of a link may do what is needed, found out without changing anything.

use std::fmt;

use http::{Method, StatusCode};
use provisioning::ports::HubError;
use serde_json::json;

use super::{RestConnector, answer::Answer, line::Question, question};

/// What the policy of a link must allow, by Azure's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkRight {
    /// To read device identities.
    RegistryRead,
    /// To write device identities.
    RegistryWrite,
    /// To read and write twins.
    ServiceConnect,
}

impl fmt::Display for LinkRight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl RestConnector {
    /// Which rights the link's key lacks; all of them when it is not the policy's key. An error when the hub cannot be
    /// asked, or is none.
    pub async fn lacking(&self) -> Result<Vec<LinkRight>, HubError> {
        let body = json!({ "deviceId": PROBE });
        let write = Question { etag: Some(NO_ETAG), ..question(Method::PUT, DEVICE, &body) };
        let probes = [
            (LinkRight::RegistryRead, Question::new(Method::GET, DEVICE)),
            (LinkRight::RegistryWrite, write),
            (LinkRight::ServiceConnect, Question::new(Method::GET, TWIN)),
        ];
        let mut lacking = Vec::new();
        for (right, probe) in probes {
            let response = self.line.exchange(probe).await?;
            if matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                lacking.push(right);
            } else {
                // Whatever is said about the device, whoever says it may.
                Answer::of(&response).map_err(|problem| problem.of(self.line.link()))?;
            }
        }
        Ok(lacking)
    }
}

/// A device that need not exist. Should it, it stays as it is: it is written only on the condition of a version that it
/// cannot have.
const PROBE: &str = "muster-link-check";
const DEVICE: &str = "/devices/muster-link-check";
const TWIN: &str = "/twins/muster-link-check";

/// Base64 of "-1"; versions count upwards from 0.
const NO_ETAG: &str = "LTE=";
