//! Whether the key of a link may do what is needed, found out without changing anything.

use http::Method;
use provisioning::ports::{HubError, HubRight};
use serde_json::json;

use super::{
    RestConnector,
    answer::{Answer, Problem},
    client::Question,
    question,
};

impl RestConnector {
    /// See [`provisioning::ports::HubConnector::lacking`].
    pub(super) async fn rights_lacking(&self) -> Result<Vec<HubRight>, HubError> {
        let body = json!({ "deviceId": PROBE });
        let write = Question { etag: Some(NO_ETAG), ..question(Method::PUT, DEVICE, &body) };
        let probes = [
            (HubRight::RegistryRead, Question::new(Method::GET, DEVICE)),
            (HubRight::RegistryWrite, write),
            (HubRight::ServiceConnect, Question::new(Method::GET, TWIN)),
        ];
        let mut lacking = Vec::new();
        for (right, probe) in probes {
            match self.line.probe(probe, Answer::of).await? {
                // Whatever is said about the device, whoever says it may.
                Ok(_) => {}
                Err(Problem::Denied(..)) => lacking.push(right),
                Err(problem) => return Err(problem.of(self.line.link())),
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
