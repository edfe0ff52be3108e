//! Checks which rights the key of a link has, without changing anything.

use http::Method;
use provisioning::ports::{HubError, HubRight};
use serde_json::json;

use super::{
    RestConnector,
    answer::{Answer, Problem},
    client::Request,
    request,
};

impl RestConnector {
    /// Returns the rights that the key lacks: see [`provisioning::ports::HubConnector::lacking`].
    pub(super) async fn rights_lacking(&self) -> Result<Vec<HubRight>, HubError> {
        let body = json!({ "deviceId": PROBE });
        let write = Request { etag: Some(NO_ETAG), ..request(Method::PUT, DEVICE, &body) };
        let probes = [
            (HubRight::RegistryRead, Request::new(Method::GET, DEVICE)),
            (HubRight::RegistryWrite, write),
            (HubRight::ServiceConnect, Request::new(Method::GET, TWIN)),
        ];
        let mut lacking = Vec::new();
        for (right, probe) in probes {
            match self.client.probe(probe, Answer::of).await? {
                // Any answer about the device shows that the key has the right.
                Ok(_) => {}
                Err(Problem::Denied(..)) => lacking.push(right),
                Err(problem) => return Err(problem.to_error(self.client.link())),
            }
        }
        Ok(lacking)
    }
}

/// The device ID of the probes. A device of that ID need not exist, and stays as it is if it does: it is written only on
/// condition of a version that it cannot have.
const PROBE: &str = "muster-link-check";
const DEVICE: &str = "/devices/muster-link-check";
const TWIN: &str = "/twins/muster-link-check";

/// Base64 of "-1"; versions count upwards from 0.
const NO_ETAG: &str = "LTE=";
